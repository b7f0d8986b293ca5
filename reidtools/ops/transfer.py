"""Small tensors on their way to a GPU, for which nobody waits."""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor`, which lies on the CPU, on `device`.

    A plain copy to a GPU waits until that has done all that it was given. From pinned memory it
    takes its turn there, and the memory is kept for it until then. See
    https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
