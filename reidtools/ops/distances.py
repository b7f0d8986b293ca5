"""Pairwise distances: the only place where one vector is compared with another."""

import torch
from torch import Tensor
from torch.nn import functional as F

from reidtools.registry import choose


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """``|a_i - b_j|^2``; (N, D), (M, D) -> (N, M). Tiny negatives left by rounding become 0."""
    squares = a.pow(2).sum(1)[:, None] + b.pow(2).sum(1)[None]  # (N, M)
    return torch.addmm(squares, a, b.T, alpha=-2).clamp(min=0)


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """``|a_i - b_j|``; (N, D), (M, D) -> (N, M). At least 1e-6: the gradient stays finite at 0."""
    return squared_euclidean(a, b).clamp(min=1e-12).sqrt()


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """``1 - cos(a_i, b_j)``, from 0 (same direction) to 2; (N, D), (M, D) -> (N, M)."""
    return 1 - F.normalize(a) @ F.normalize(b).T


DISTANCES = {"euclidean": euclidean, "squared_euclidean": squared_euclidean, "cosine": cosine}


def pairwise(a: Tensor, b: Tensor, metric: str = "euclidean") -> Tensor:
    """Distances of every row of `a` to every row of `b`; (N, D), (M, D) -> (N, M).

    `metric` is ``euclidean``, ``squared_euclidean`` or ``cosine``; another one is a `LookupError`.
    """
    return choose("metric", metric, DISTANCES)(a, b)
