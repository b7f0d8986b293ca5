"""Pairwise distances: the only place where one vector is compared with another."""

import math
from collections.abc import Iterator

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


def arccos(a: Tensor, b: Tensor) -> Tensor:
    """The angle between a_i and b_j in radians; (N, D), (M, D) -> (N, M).

    Cosines are kept 1e-5 away from -1 and 1, where the gradient is infinite (as in CLIP-ReID).
    """
    return (1 - cosine(a, b)).clamp(-1 + 1e-5, 1 - 1e-5).arccos()


DISTANCES = {
    "arccos": arccos,
    "cosine": cosine,
    "euclidean": euclidean,
    "squared_euclidean": squared_euclidean,
}


# These compare directions only; a vector without one is far from everything.
ANGULAR = ("arccos", "cosine")


def pairwise(a: Tensor, b: Tensor, metric: str = "euclidean") -> Tensor:
    """Distances of every row of `a` to every row of `b`; (N, D), (M, D) -> (N, M).

    `metric` is one of `DISTANCES`; another one is a `LookupError`.
    """
    return choose("metric", metric, DISTANCES)(a, b)


def paired(a: Tensor, b: Tensor, metric: str = "euclidean") -> Tensor:
    """Distances of every row of `a` to the same row of `b`; (N, D), (N, D) -> (N,)."""
    return torch.vmap(lambda x, y: pairwise(x[None], y[None], metric)[0, 0])(a, b)


@torch.no_grad()
def chunks(
    a: Tensor, b: Tensor, metric: str = "euclidean", memory_mb: int = 256
) -> Iterator[tuple[slice, Tensor]]:
    """`pairwise` without its memory: ``(rows, distances of a[rows] to all of b)``, chunk by chunk.

    A chunk (n, M) lies in one buffer of at most `memory_mb` MiB that the next chunk overwrites;
    the caller may write into it. No copy of `b` is made. Without gradients.
    """
    choose("metric", metric, DISTANCES)
    fits = max(1, memory_mb * 2**20 // (a.element_size() * max(1, len(b))))
    count = math.ceil(len(a) / math.ceil(len(a) / fits)) if len(a) else 1  # chunks of one size
    buffer = a.new_empty(min(count, len(a)), len(b))
    angular = metric in ANGULAR
    # In blocks, so that no second b is made on the way.
    squares = torch.cat([block.square().sum(1) for block in b.split(4096)])
    scales, one = -1 / squares.sqrt().clamp(min=1e-12), a.new_ones(())
    for start in range(0, len(a), count):
        rows = slice(start, min(start + count, len(a)))
        part = a[rows]
        out = buffer[: len(part)]
        if angular:
            torch.mm(F.normalize(part), b.T, out=out)
            torch.addcmul(one, out, scales, out=out)
            if metric == "arccos":
                out.neg_().add_(1).clamp_(-1 + 1e-5, 1 - 1e-5).arccos_()
        else:
            torch.mm(part * -2, b.T, out=out)
            out.add_(squares).add_(part.square().sum(1, keepdim=True)).clamp_(min=0)
            if metric == "euclidean":
                out.clamp_(min=1e-12).sqrt_()
        yield rows, out


def nearest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` smallest of every row, ascending, equal ones by column: values and columns (N, k).

    (N, M) -> (N, min(k, M)) twice. No row is sorted whole, unless equal values at the k-th place
    make it necessary.
    """
    wide = distances.shape[1]
    k = min(k, wide)
    values, columns = distances.topk(min(k + 1, wide), dim=1, largest=False)
    if k < wide:  # which of several equal ones topk takes is not defined
        torn = (values[:, k - 1] == values[:, k]).nonzero().flatten()
        for row in torn.tolist():
            columns[row, :k] = distances[row].argsort(stable=True)[:k]
        columns = columns[:, :k]
    columns = columns.sort(dim=1).values
    values, order = distances.gather(1, columns).sort(dim=1, stable=True)
    return values, columns.gather(1, order)
