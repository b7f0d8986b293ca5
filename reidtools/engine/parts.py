"""Batches larger than memory: a network sees them part by part, and the losses all at once."""

import torch
from torch import Tensor, nn

from reidtools.ops.recompute import again


def in_parts(embedder: nn.Module, images: Tensor, size: int, *more: Tensor) -> Tensor:
    """``embedder.frames(images, *more)``, (N, …) -> (N, D), with activations of `size` rows at a
    time.

    Parts are equally large but for one row, and never a single row, which batch norm cannot see.
    In training each part is computed again on the way back instead of being kept, with the same
    chance; gradients are those of parts that were kept.
    """
    count = -(-len(images) // size)
    count = count if len(images) >= 2 * count else max(1, len(images) // 2)
    parts = list(zip(*(rows.tensor_split(count) for rows in (images, *more)), strict=True))
    if len(parts) == 1:
        return embedder.frames(*parts[0])
    return torch.cat([again(embedder, *part, call=embedder.frames) for part in parts])
