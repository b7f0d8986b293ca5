"""Batch norms folded into the convolutions before them: the same numbers, one pass fewer."""

import copy
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
Pair = tuple[str, str]  # the names of a convolution, or a linear layer, and of its norm


@torch.inference_mode(False)
@torch.no_grad()
def folded(network: nn.Module, *inputs: Tensor) -> nn.Module | None:
    """A copy of `network` for inference, without the batch norms that stand behind a convolution.

    Which they are is seen while the copy looks at the first of each of `inputs`: a norm that is
    given what a convolution, or a linear layer, made. One that is used twice keeps its norm, and so
    does one whose output another module sees as well. What a function makes of such an output
    besides cannot be seen, so compare both networks once. None where there is no such norm;
    `network` stays as it is.
    """
    if not any(type(part) in NORMS for part in network.modules()):
        return None  # and no copy of a large one is made
    quick = copy.deepcopy(network).eval()
    found = _pairs(quick, *(given[:1].clone() for given in inputs))
    for convolution, norm in found:
        _fold(quick.get_submodule(convolution), quick.get_submodule(norm))
        parent, _, name = norm.rpartition(".")
        setattr(quick.get_submodule(parent), name, nn.Identity())
    return quick if found else None


def _pairs(network: nn.Module, *inputs: Tensor) -> list[Pair]:
    """Every norm behind a convolution, in the order in which `network` comes to them."""
    # With the tensors: as long as they live, their ids are nobody else's.
    outputs: dict[int, tuple[str, Tensor, int]] = {}
    uses, readers = Counter[str](), Counter[int]()
    pairs: list[tuple[Pair, int]] = []

    def look(name: str) -> Callable[..., None]:
        def see(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            uses[name] += 1
            if (place := id(given[0])) in outputs:
                readers[place] += 1
                maker, _, version = outputs[place]
                # Of another version it is where a function wrote into it, as relu_ does.
                if type(module) in NORMS and given[0]._version == version:
                    pairs.append(((maker, name), place))
            if type(module) in CONVOLUTIONS:
                outputs[id(made)] = name, made, made._version

        return see

    kinds = (*CONVOLUTIONS, *NORMS)
    leaves = [(name, part) for name, part in network.named_modules() if type(part) in kinds]
    hooks = [part.register_forward_hook(look(name)) for name, part in leaves]
    try:
        network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        pair
        for pair, place in pairs
        if readers[place] == uses[pair[0]] == uses[pair[1]] == 1
        and network.get_submodule(pair[1]).running_mean is not None
    ]


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    """Let `layer` do what `norm` does to its output: y * scale + shift, a channel at a time.

    >>> layer, norm = nn.Linear(1, 1), nn.BatchNorm1d(1, eps=0)
    >>> for tensor, value in zip((layer.weight, layer.bias, norm.running_mean), (3, 1, 5)):
    ...     _ = nn.init.constant_(tensor, value)
    >>> _ = norm.running_var.fill_(4)  # ((3 x + 1) - 5) / 2 = 1.5 x - 2
    >>> _fold(layer, norm)
    >>> layer.weight.item(), layer.bias.item()
    (1.5, -2.0)
    """
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = (shift if layer.bias is None else shift + layer.bias.double()) * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.ndim - 1))
    for name, value in {"weight": weight.to(layer.weight), "bias": shift.to(layer.weight)}.items():
        setattr(layer, name, nn.Parameter(value, requires_grad=False))
