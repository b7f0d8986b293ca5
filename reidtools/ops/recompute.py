"""Activations computed again on the way back instead of being kept (Chen et al., 2016,
arXiv:1604.06174)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def again(
    module: nn.Module, *inputs: Any, call: Callable[..., Tensor] | None = None, **more: Any
) -> Tensor:
    """``call(*inputs, **more)``, a computation of `module`, else ``module(...)``, without its
    memory.

    The second computation has the chance of the first, and its batch norms count nothing twice.
    Where no gradient is wanted it is a plain call.
    """
    call = call or module
    if not torch.is_grad_enabled():
        return call(*inputs, **more)
    contexts = partial(_contexts, module)
    # DenseNet lengthens a list that a layer was given, and HRNet writes into one: both computations
    # get a list as it is now.
    call, inputs = partial(_with_own_lists, call), _copied(inputs)
    return checkpoint(call, *inputs, use_reentrant=False, context_fn=contexts, **more)


def piece_by_piece(segments: Iterable[nn.Module]) -> None:
    """Let `segments` of a network compute their activations again, wherever they are called.

    Only what goes from one to the next is kept. State dicts and results stay as they are, and so
    do the gradients; copies of the network do as it does.
    """
    for part in segments:
        if "forward" not in vars(part):  # else it does so already
            vars(part)["forward"] = partial(again, part, call=part.forward)


def outermost(network: nn.Module, kinds: type | tuple[type, ...]) -> list[nn.Module]:
    """The parts of `network` that are of these `kinds`, without those inside of others.

    >>> two = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(nn.ReLU(), nn.Sequential()))
    >>> len(outermost(two, nn.Sequential)), len(outermost(two, (nn.Conv2d, nn.ReLU)))
    (1, 2)
    """
    found = []
    for part in network.children():
        found += [part] if isinstance(part, kinds) else outermost(part, kinds)
    return found


def _copied(inputs: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(list(value) if isinstance(value, list) else value for value in inputs)


def _with_own_lists(call: Callable[..., Tensor], *inputs: Any, **more: Any) -> Tensor:
    return call(*_copied(inputs), **more)


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
