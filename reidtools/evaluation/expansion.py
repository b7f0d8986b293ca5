"""Features moved towards their neighbours before they are ranked: query expansion and NFC.

Both look at features only. Names play no part, so junk (pid -1) is a picture like any other here;
the readers of datasets leave it out. No N x N matrix is made and no copy of the features but the
result; a search takes the time of its matrix product.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from reidtools.evaluation.progress import watched
from reidtools.evaluation.vectors import Vectors, check_comparable
from reidtools.ops.distances import chunks, nearest
from reidtools.registry import choose

SCOPES = {"joint": True, "gallery": False}


@torch.no_grad()
def expand(
    query: Vectors,
    gallery: Vectors,
    *,
    k: int = 5,
    alpha: float = 3.0,
    times: int = 1,
    scope: str = "joint",
    memory_mb: int = 256,
) -> tuple[Vectors, Vectors]:
    """Alpha query expansion of both sides (Radenović et al., arXiv:1711.02512).

    Every feature becomes the mean of ``cosine ** alpha * feature`` over its `k` nearest by cosine,
    itself among them, `times` times over; it is not normalised afterwards. `alpha` 0 is the plain
    mean (Chum et al., Total Recall, ICCV 2007).

    With `scope` ``"joint"`` the nearest come from query and gallery together, as in FastReID, so
    that a query's result depends on the other queries. With ``"gallery"`` they come from the
    gallery alone (a query: itself and its `k` - 1 nearest), as for one query in practice.

    A whole `alpha` weighs a negative cosine by its power, as FastReID does; for any other `alpha`,
    where that power is no number, such a neighbour weighs nothing. Of fewer than `k` pictures all
    are taken. Raises ValueError for vectors that cannot be compared by cosine and for an option
    below its range, LookupError for another scope.
    """
    joint = choose("scope", scope, SCOPES)
    _at_least("k", k, 1)
    _at_least("times", times, 1)
    _at_least("alpha", alpha, 0)
    check_comparable(query, gallery, "cosine")
    q, g = query.vectors, gallery.vectors
    for _ in range(times):
        if joint:
            sides = (q, g)
            q, g = (_expand(side, sides, k, alpha, memory_mb) for side in sides)
        else:
            q = _expand(q, (g,), k - 1, alpha, memory_mb, outsider=True)
            g = _expand(g, (g,), k, alpha, memory_mb)
    return replace(query, vectors=q), replace(gallery, vectors=g)


@torch.no_grad()
def centralize(
    vectors: Vectors, *, k1: int = 2, k2: int = 2, normalize: bool = True, memory_mb: int = 256
) -> Vectors:
    """Neighbour feature centralisation, NFC (Yuan et al., Pose2ID, CVPR 2025, arXiv:2503.00938).

    Every feature gets its mutual neighbours added, see `mutual_sum`; queries and gallery are
    centralised one after the other, each among themselves. With `normalize` features have length 1
    before and after, as in Pose2ID's demo; without it, this is the bare sum of its library.
    """
    summed = mutual_sum(vectors.vectors, k1=k1, k2=k2, normalize=normalize, memory_mb=memory_mb)
    if normalize:
        summed /= torch.linalg.vector_norm(summed, dim=1, keepdim=True).clamp_(min=1e-12)
    return replace(vectors, vectors=summed)


@torch.no_grad()
def mutual_sum(
    features: Tensor,
    *,
    k1: int = 2,
    k2: int = 2,
    normalize: bool = False,
    memory_mb: int = 256,
) -> Tensor:
    """``f_i`` plus all ``f_j`` that are mutual neighbours of i; (N, D) -> (N, D).

    See `mutual_neighbours`. With `normalize` the features are L2-normalised first (the sums are not
    normalised); the features given stay as they are. A single feature is its own sum.
    """
    # Cosine distances order like squared Euclidean ones of normalised features, without a copy.
    metric = "cosine" if normalize else "squared_euclidean"
    columns, mutual = mutual_neighbours(features, k1=k1, k2=k2, metric=metric, memory_mb=memory_mb)
    own = torch.arange(len(features), device=features.device)[:, None]
    columns = torch.cat([own, columns], 1)
    weights = torch.cat([torch.ones_like(own), mutual], 1).to(features.dtype)
    if normalize:
        weights /= torch.linalg.vector_norm(features, dim=1).clamp_(min=1e-12)[columns]
    return _weighted_sums((features,), columns, weights, memory_mb)


@torch.no_grad()
def mutual_neighbours(
    features: Tensor,
    *,
    k1: int = 2,
    k2: int = 2,
    metric: str = "squared_euclidean",
    memory_mb: int = 256,
) -> tuple[Tensor, Tensor]:
    """The `k1` nearest others of every feature, and which of them have it among their first `k2`.

    (N, D) -> columns (N, min(k1, N - 1)), nearest first, and as many booleans. A `k2` above `k1`
    acts like `k1`, as in Pose2ID. Raises ValueError for a `k1` or `k2` below 1.
    """
    _at_least("k1", k1, 1)
    _at_least("k2", k2, 1)
    k1 = min(k1, len(features) - 1)
    own = torch.arange(len(features), device=features.device)[:, None]
    if k1 < 1:
        return own[:, :0], own[:, :0].bool()
    found = []
    parts = chunks(features, features, metric, memory_mb)
    for rows, distances in watched(parts, len(features), "Mutual neighbours"):
        distances.diagonal(rows.start).fill_(torch.inf)  # nobody is a neighbour of itself
        found.append(nearest(distances, k1)[1])
    columns = torch.cat(found)
    firsts = columns[:, :k2]
    # Neighbour by neighbour: (N, k1, k2) at once is much for large k.
    mutual = [(firsts[columns[:, j]] == own).any(1) for j in range(k1)]
    return columns, torch.stack(mutual, 1)


def _expand(
    features: Tensor,
    sides: Sequence[Tensor],
    k: int,
    alpha: float,
    memory_mb: int,
    *,
    outsider: bool = False,
) -> Tensor:
    """The weighted mean of the `k` nearest in `sides`; an `outsider` is none of them and added."""
    if not k:
        return features
    similarities, columns = _most_similar(features, sides, k, memory_mb)
    if not float(alpha).is_integer():
        similarities.clamp_(min=0)
    sums = _weighted_sums(sides, columns, similarities**alpha, memory_mb)
    if outsider:
        sums += features  # its similarity to itself is 1
    return sums.div_(columns.shape[1] + outsider)


def _most_similar(
    features: Tensor, sides: Sequence[Tensor], k: int, memory_mb: int
) -> tuple[Tensor, Tensor]:
    """The `k` highest cosines of each row and their places in the `sides` laid end to end."""
    values, columns, start = [], [], 0
    for side in sides:
        parts = watched(chunks(features, side, "cosine", memory_mb), len(features), "Expanding")
        found = [nearest(part, k) for _, part in parts]
        values.append(torch.cat([value for value, _ in found]))
        columns.append(torch.cat([column for _, column in found]) + start)
        start += len(side)
    distances, order = torch.cat(values, 1).sort(dim=1, stable=True)
    return 1 - distances[:, :k], torch.cat(columns, 1).gather(1, order[:, :k])


def _weighted_sums(
    sides: Sequence[Tensor], columns: Tensor, weights: Tensor, memory_mb: int
) -> Tensor:
    """``sum_j weights[i, j] * feature columns[i, j]`` of the `sides` laid end to end.

    (N, k) twice -> (N, D). The sides are read where they lie.
    """
    dim, size = sides[0].shape[1], sides[0].element_size()
    sums = sides[0].new_zeros(len(columns), dim)
    # On some devices and dtypes embedding_bag gathers all it adds, so it gets a few rows at a time.
    step = max(1, memory_mb * 2**20 // (size * dim * columns.shape[1]))
    start = 0
    for side in sides:
        inside = (start <= columns) & (columns < start + len(side))
        places, shares = (columns - start) * inside, weights * inside
        for first in range(0, len(columns), step):
            rows = slice(first, first + step)
            sums[rows] += F.embedding_bag(
                places[rows], side, mode="sum", per_sample_weights=shares[rows]
            )
        start += len(side)
    return sums


def _at_least(name: str, value: float, low: int) -> None:
    if not value >= low:
        raise ValueError(f"{name} is {value}; it must be at least {low}.")
