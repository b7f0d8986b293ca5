"""Weights, gradients and moments divided among processes: for towers too large for one GPU.

Fully sharded data parallel (Zhao et al., 2023, arXiv:2304.11277), as PyTorch's `fully_shard`.
"""

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reidtools import processes


def shard(step: nn.Module, tower: nn.Module) -> None:
    """Divide the weights of `step` among the processes, those of its large `tower` block by block.

    A block is gathered when it computes, and only then. Do it before there is an optimizer.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    step.to(memory_format=torch.contiguous_format)  # all that `fully_shard` can divide
    device = next(step.parameters()).device.type
    mesh = init_device_mesh(device, (processes.count(),))
    for block in blocks(tower):
        fully_shard(block, mesh=mesh)
    fully_shard(step, mesh=mesh)


def blocks(tower: nn.Module) -> list[nn.Module]:
    """The layers of a `tower` that come one after the other and are alike, such as of a ViT."""
    found: list[nn.Module] = []
    for child in tower.children():
        inside = list(child.children())
        in_a_row = isinstance(child, nn.Sequential | nn.ModuleList) and len(inside) > 1
        if in_a_row and len({type(layer) for layer in inside}) == 1:
            found += [layer for layer in inside if any(True for _ in layer.parameters())]
        else:
            found += blocks(child)
    return found


def _is_divided(value: Any) -> bool:
    """Whether `value` is a `DTensor`; without loading the second's worth of modules that knows."""
    known = sys.modules.get("torch.distributed.tensor")
    return known is not None and isinstance(value, known.DTensor)


def whole_of(value: Any) -> Any:
    """`value`, a tensor or nested dicts of them, with what is divided put together, on the CPU."""
    if _is_divided(value):
        return value.full_tensor().cpu()
    if isinstance(value, Mapping):
        return {key: whole_of(own) for key, own in value.items()}
    return value


def divided(value: Any, weight: Tensor) -> Any:
    """`value` divided as `weight` is, if it is a tensor of its shape."""
    alike = isinstance(value, Tensor) and value.shape == weight.shape
    if not (_is_divided(weight) and alike):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)


def fill(module: nn.Module, state: Mapping[str, Any]) -> None:
    """``module.load_state_dict`` with whole tensors, whether it is divided or not."""
    own = module.state_dict()
    if own.keys() == state.keys():
        state = {name: divided(value, own[name]) for name, value in state.items()}
    module.load_state_dict(state)
