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
    others = _lengths(b, metric)
    buffer, parts = _parts(a, len(b), memory_mb)
    for rows in parts:
        out = buffer[: rows.stop - rows.start]
        _fill(out, a[rows], b, others, metric)
        yield rows, out


@torch.no_grad()
def triangle(
    a: Tensor, metric: str = "euclidean", memory_mb: int = 256
) -> Iterator[tuple[slice, Tensor]]:
    """The upper half of the distances of `a` to itself, in half the time.

    As `chunks`, but of a[rows] to ``a[rows.start:]``: (n, N - rows.start).
    """
    others = _lengths(a, metric)
    buffer, parts = _parts(a, len(a), memory_mb)
    for rows in parts:
        wide = len(a) - rows.start
        out = buffer.flatten()[: (rows.stop - rows.start) * wide].view(-1, wide)
        _fill(out, a[rows], a[rows.start :], others[rows.start :], metric)
        yield rows, out


def _parts(a: Tensor, wide: int, memory_mb: int) -> tuple[Tensor, list[slice]]:
    """A buffer (n, wide) of at most `memory_mb` MiB, and the rows of `a` it takes at a time."""
    fits = max(1, memory_mb * 2**20 // (a.element_size() * max(1, wide)))
    count = math.ceil(len(a) / math.ceil(len(a) / fits)) if len(a) else 1  # parts of one size
    starts = range(0, len(a), count)
    return a.new_empty(count, wide), [slice(i, min(i + count, len(a))) for i in starts]


def _lengths(b: Tensor, metric: str) -> Tensor:
    """What `_fill` has to know of b (M, D): -1 / |b| for angular metrics, else |b|^2; (M,)."""
    choose("metric", metric, DISTANCES)
    squares, scratch = b.new_empty(len(b)), b.new_empty(256, b.shape[1])
    # In blocks, through one scratch: fresh ones would leave holes in memory as large as b.
    for sums, block in zip(squares.split(256), b.split(256), strict=True):
        torch.sum(torch.mul(block, block, out=scratch[: len(block)]), 1, out=sums)
    return squares.clamp_(min=1e-24).rsqrt_().neg_() if metric in ANGULAR else squares


def _fill(out: Tensor, a: Tensor, b: Tensor, others: Tensor, metric: str) -> None:
    """Put the distances of a (n, D) to b (M, D) into `out` (n, M)."""
    angular, one = metric in ANGULAR, a.new_ones(())
    squares = a.square().sum(1, keepdim=True)
    a = F.normalize(a) if angular else -2 * a
    if len(a) > 1:
        torch.mm(a, b.T, out=out)
    else:  # the product of one row rounds equal columns differently, which would break ties
        out.copy_(torch.mm(a.expand(2, -1), b.T)[:1])
    # On a CPU a few rows at a time are finished, while they are in its cache.
    few = max(1, 2**19 // max(1, len(b))) if out.device.type == "cpu" else max(1, len(a))
    for products, own in zip(out.split(few), squares.split(few), strict=True):
        if angular:
            torch.addcmul(one, products, others, out=products).clamp_(min=0)
        else:
            products.add_(others).add_(own).clamp_(min=0)
        if metric == "arccos":
            products.neg_().add_(1).clamp_(-1 + 1e-5, 1 - 1e-5).arccos_()
        elif metric == "euclidean":
            products.clamp_(min=1e-12).sqrt_()


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
