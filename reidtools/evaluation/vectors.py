"""Embeddings with the names that belong to them, and the one function that computes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Vectors:
    """`vectors` float (N, D), one row a picture, with its `pids` (N,), `camids` (N,) and `paths`.

    Raises ValueError when the lengths differ or a vector has a value that is not finite.
    """

    vectors: Tensor
    pids: Tensor
    camids: Tensor
    paths: list[str] | None = None

    def __post_init__(self):
        lengths = {name: len(value) for name, value in vars(self).items() if value is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Vectors and their names must be equally many; these are {lengths}.")
        bad = (~torch.isfinite(self.vectors).all(1)).nonzero().flatten().tolist()
        if bad:
            names = ", ".join(self.paths[i] if self.paths else f"row {i}" for i in bad[:5])
            raise ValueError(
                f"{len(bad)} of {len(self)} vectors have values that are no numbers (first: "
                f"{names}); check the weights and these pictures."
            )

    def __len__(self) -> int:
        return len(self.vectors)


@torch.inference_mode()
def embed(
    model: nn.Module, batches: Iterable[dict[str, Any]], amp: torch.dtype | None = None
) -> Vectors:
    """The `Vectors` of all pictures in `batches`, in order, on the CPU.

    `model(images)` gives (features, embeddings); the embeddings are what is compared. The model is
    put into evaluation mode for the time of the call. `amp` is the dtype of autocast, or None.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    rows, paths = [], []
    try:
        for batch in batches:
            with torch.autocast(device.type, amp, enabled=amp is not None):
                _, embeddings = model(batch["images"])
            rows.append((embeddings.float().cpu(), batch["pids"].cpu(), batch["camids"].cpu()))
            paths += batch["paths"]
    finally:
        model.train(training)
    if not rows:
        raise ValueError("There are no pictures to embed; look at the folder and its file names.")
    vectors, pids, camids = (torch.cat(column) for column in zip(*rows, strict=True))
    return Vectors(vectors, pids, camids, paths)
