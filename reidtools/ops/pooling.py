"""Pooling over space: a feature map becomes a vector."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from reidtools.registry import choose


class AveragePool(nn.Module):
    """Mean over all positions; (B, C, h, w) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


class MaxPool(nn.Module):
    """Largest value over all positions; (B, C, h, w) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax((2, 3))


class AverageMaxPool(nn.Module):
    """Mean plus largest value over all positions; (B, C, h, w) -> (B, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3)) + maps.amax((2, 3))


class GeMPool(nn.Module):
    """Generalised mean ``mean(x^p)^(1/p)``, of a `learned` exponent or not; (B, C, h, w) -> (B, C).

    p = 1 is the mean, a large p approaches the maximum (Radenovic et al., 2018, arXiv:1711.02512).
    Values below 1e-6 count as 1e-6.
    """

    def __init__(self, p: float = 3.0, learned: bool = True):
        super().__init__()
        self.p: Tensor
        exponent = torch.tensor([p])
        if learned:
            self.p = nn.Parameter(exponent)
        else:
            self.register_buffer("p", exponent, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        return generalised_mean(maps.flatten(2), self.p, -1)


def generalised_mean(x: Tensor, p: Tensor, dim: int) -> Tensor:
    """``mean(x^p)^(1/p)`` over `dim`, of logarithms, which no power takes out of range.

    Values below 1e-6 count as 1e-6.
    """
    logs = x.clamp(min=1e-6).log() * p
    return ((logs.logsumexp(dim) - math.log(x.shape[dim])) / p).exp()


POOLS = {
    "avg": AveragePool,
    "max": MaxPool,
    "avg_max": AverageMaxPool,
    "gem": GeMPool,
    "gem_fixed": partial(GeMPool, learned=False),
}


def pool_layer(name: str) -> nn.Module:
    """The pooling layer called `name`, a key of `POOLS`."""
    return choose("pooling layer", name, POOLS)()
