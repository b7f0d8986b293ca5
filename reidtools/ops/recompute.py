"""Activations computed again on the way back instead of being kept (Chen et al., 2016,
arXiv:1604.06174)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def again(module: nn.Module, *inputs: Tensor, call: Callable[..., Tensor] | None = None) -> Tensor:
    """``call(*inputs)``, a computation of `module`, else ``module(*inputs)``, without its memory.

    The second computation has the chance of the first, and its batch norms count nothing twice.
    Where no gradient is wanted it is a plain call.
    """
    call = call or module
    if not torch.is_grad_enabled():
        return call(*inputs)
    contexts = partial(_contexts, module)
    return checkpoint(call, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _without_statistics(module)


@contextmanager
def _without_statistics(model: nn.Module) -> Iterator[None]:
    """Keep batch norms from counting a batch twice: their running statistics stay as they are."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, deepcopy(norm.num_batches_tracked)) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)
