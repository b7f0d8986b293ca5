"""Batches larger than memory: a network sees them part by part, and the losses all at once."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def in_parts(embedder: nn.Module, images: Tensor, size: int) -> Tensor:
    """``embedder.frames(images)``, (N, …) -> (N, D), with activations of `size` rows at a time.

    Parts are equally large but for one row, and never a single row, which batch norm cannot see.
    In training each part is computed again on the way back instead of being kept (Chen et al.,
    2016, arXiv:1604.06174), with the same chance; gradients are those of parts that were kept.
    """
    count = -(-len(images) // size)
    parts = images.tensor_split(count if len(images) >= 2 * count else max(1, len(images) // 2))
    if not torch.is_grad_enabled() or len(parts) == 1:
        return torch.cat([embedder.frames(part) for part in parts])

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _without_statistics(embedder)

    again = partial(checkpoint, embedder.frames, use_reentrant=False, context_fn=contexts)
    return torch.cat([again(part) for part in parts])


@contextmanager
def _without_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a part twice: their running statistics stay as they are."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, deepcopy(norm.num_batches_tracked)) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if count is not None:
                norm.num_batches_tracked.copy_(count)
