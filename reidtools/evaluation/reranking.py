"""k-reciprocal re-ranking (Zhong et al., CVPR 2017, arXiv:1701.08398), sparse from end to end.

With A the distances among all N = Q + G pictures, and o(i, j) = A(i, j) / max_j A(i, j):

- R(i, k): the j among the nearest k + 1 of i (i itself included) that have i among theirs;
- R*(i): R(i, k1), joined by every R(j, k1/2) of its members that overlaps it by more than 2/3;
- V(i): the weights exp(-o(i, j)) over j in R*(i), summing to 1, then averaged over the k2 nearest
  of i;
- S = sum_j min(V(q, j), V(g, j)); the Jaccard distance is 1 - S / (2 - S);
- what ranks is (1 - lambda) Jaccard + lambda o.

V has some tens of numbers a row, and only Jaccard distances of queries to the gallery are made.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidtools.evaluation.matches import spans
from reidtools.evaluation.progress import watched
from reidtools.evaluation.ranking import Ranking, rank
from reidtools.evaluation.vectors import Vectors
from reidtools.ops.distances import ANGULAR, chunks, nearest, paired, triangle
from reidtools.registry import choose

VARIANTS = ("original", "fastreid", "torchreid")


def rerank(
    query: Vectors,
    gallery: Vectors,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_: float = 0.3,
    variant: str = "original",
    **ranking: Any,
) -> Ranking:
    """`rank` with k-reciprocal distances; `ranking` are further options of `rank`.

    `variant` ``"original"`` is the paper's on squared Euclidean distances (of unit vectors where
    the metric is cosine), as in the authors' code and CLIP-ReID's. ``"fastreid"`` is FastReID's
    evaluator: k1 neighbours including the picture itself, weights exp(-A) with A not divided by its
    maximum, and lambda times the plain distance. ``"torchreid"`` is torchreid's engine, which
    squares distances that are squared already. Their figures cannot be compared with each other.

    Features alone decide who is whose neighbour, junk (pid -1) included. k1, k2 and lambda_ are
    often 20, 6, 0.3 for Market-1501 and 50, 15, 0.3 for transformers.
    """
    if k1 < 1 or k2 < 1 or not 0 <= lambda_ <= 1:
        raise ValueError(
            f"Re-ranking with k1 {k1}, k2 {k2}, lambda {lambda_} makes no sense: k1 and k2 are at "
            "least 1, lambda is from 0 to 1."
        )
    choose("variant of re-ranking", variant, dict.fromkeys(VARIANTS))
    distances = partial(reciprocal, k1=k1, k2=k2, lambda_=lambda_, variant=variant)
    return rank(query, gallery, distances, **ranking)


def reciprocal(
    query: Tensor,
    gallery: Tensor,
    metric: str,
    memory_mb: int,
    *,
    k1: int,
    k2: int,
    lambda_: float,
    variant: str,
) -> Iterator[tuple[slice, Tensor]]:
    """Re-ranked distances of `query` (Q, D) to `gallery` (G, D), chunk by chunk as `chunks` does.

    Beyond the vectors it needs a second copy of them, one buffer of `memory_mb` MiB and some
    kilobytes a picture.
    """
    angular = metric in ANGULAR
    metric = "cosine" if angular else "squared_euclidean"
    fastreid = variant == "fastreid"

    def squared(plain: Tensor) -> Tensor:
        """A of the module's text; for unit vectors |a - b|^2 = 2 (1 - cos)."""
        if variant == "torchreid":
            return plain.square_()
        return plain.mul_(2) if angular else plain

    def scaled(plain: Tensor, most: Tensor) -> Tensor:
        """o of the module's text, or what a variant has in its place."""
        return squared(plain) if fastreid else squared(plain).div_(most)

    everyone, split = torch.cat([query, gallery]), len(query)
    width = min(k1 if fastreid else max(k1 + 1, k2), len(everyone))
    most, values, near = _neighbours(everyone, metric, memory_mb, width)
    most = squared(most).clamp_(min=1e-12)  # all alike: 0 / 0 is to be 0
    members = _expanded(near, k1)
    rows, columns = members.nonzero()
    known = _look_up(near, values, rows, columns)
    unknown = known.isnan().nonzero().flatten().numpy()
    for some in np.array_split(unknown, 1 + len(unknown) // 4096):
        a, b = (everyone[torch.from_numpy(x[some])] for x in (rows, columns))
        known[some] = paired(a, b, metric).to(known)
    members.data = scaled(known, most[torch.from_numpy(rows)]).double().numpy()
    weights = _mean_of_nearest(_softmax(members), near[:, :k2])
    jaccard = _Jaccard(weights[:split], weights[split:])
    del values, members, known, everyone
    for rows, plain in chunks(query, gallery, metric, memory_mb // 2):
        jaccard_part = torch.from_numpy(jaccard.of(rows)).to(plain)
        original = plain if fastreid else scaled(plain, most[rows][:, None].to(plain))
        yield rows, torch.lerp(jaccard_part, original, lambda_, out=plain)


def _neighbours(
    everyone: Tensor, metric: str, memory_mb: int, width: int
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Of every picture the farthest distance (N,) and the nearest `width`: distances, places.

    Every distance is computed once, and counts for both of its pictures.
    """
    count, device = len(everyone), everyone.device
    most = everyone.new_zeros(count)
    values = everyone.new_full((count, width), torch.inf)
    columns = torch.zeros(count, width, dtype=torch.int32, device=device)

    def see(rows: slice, part: Tensor, first: int) -> None:
        """Take in the distances of `rows` to the pictures from `first` on, none seen before."""
        found, places = nearest(part, width)
        places = (places + first).to(columns)
        found, places = torch.cat([values[rows], found], 1), torch.cat([columns[rows], places], 1)
        values[rows], order = nearest(found, width)
        columns[rows] = places.gather(1, order)
        most[rows] = torch.maximum(most[rows], part.amax(1))

    for rows, part in watched(triangle(everyone, metric, memory_mb // 2), count, "Neighbours"):
        see(rows, part, rows.start)
        if rows.stop < count:
            see(slice(rows.stop, count), part[:, len(part) :].T.contiguous(), rows.start)
    own = torch.arange(count, dtype=torch.int32, device=device)
    lost = (columns != own[:, None]).all(1)  # among more than `width` equal pictures
    columns[lost, -1] = own[lost]
    return most.cpu(), values.cpu(), columns.cpu().numpy()


def _expanded(near: np.ndarray, k1: int):
    """R*(i) of every picture, as a sparse matrix (N, N) that has an entry at (i, j in R*(i))."""
    from scipy.sparse import vstack

    half = round(k1 / 2)  # to the even number, as NumPy rounds
    wide, narrow = (_mutual(near[:, : k + 1]) for k in (k1, half))
    sizes, turned = np.diff(narrow.indptr), narrow.T.tocsr()
    blocks = []
    for start in range(0, len(near), 4096):
        own = wide[start : start + 4096]
        overlap = (own @ turned).multiply(own).tocsr()  # of R(i) with R(j, k1/2), j in R(i)
        overlap.data = (overlap.data > 2 / 3 * sizes[overlap.indices]).astype(np.int32)
        blocks.append(own + overlap @ narrow)
    joined = vstack(blocks, format="csr")
    joined.eliminate_zeros()
    joined.sort_indices()
    return joined


def _mutual(near: np.ndarray):
    """The neighbours in `near` (N, k) that have each other, as a sparse 0/1 matrix (N, N)."""
    from scipy.sparse import csr_array

    count, width = near.shape
    keep = np.empty((count, width), bool)
    for start in range(0, count, 4096):
        rows = np.arange(start, min(start + 4096, count), dtype=near.dtype)
        keep[rows] = (near[near[rows]] == rows[:, None, None]).any(2)
    ends = np.concatenate([[0], keep.sum(1).cumsum()])
    return csr_array((np.ones(ends[-1], np.int32), near[keep], ends), shape=(count, count))


def _look_up(near: np.ndarray, values: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """The distances of (rows, columns), NaN for pairs that are not among the neighbours."""
    count, width = near.shape
    keys = (np.arange(count, dtype=np.int64)[:, None] * count + near).reshape(-1)
    order = keys.argsort()
    wanted = rows.astype(np.int64) * count + columns
    place = order[np.searchsorted(keys, wanted, sorter=order).clip(max=count * width - 1)]
    found = values.flatten()[torch.from_numpy(place)]
    return found.masked_fill(torch.from_numpy(keys[place] != wanted), torch.nan)


def _softmax(distances):
    """exp(-distance), every row of the sparse matrix summing to 1."""
    starts, counts = distances.indptr[:-1], np.diff(distances.indptr)
    least = np.minimum.reduceat(distances.data, starts)  # so that no row is all zeros
    weights = np.exp(np.repeat(least, counts) - distances.data)
    distances.data = weights / np.repeat(np.add.reduceat(weights, starts), counts)
    return distances


def _mean_of_nearest(weights, near: np.ndarray):
    """The mean of `weights` over the pictures `near` (N, k2) each one."""
    from scipy.sparse import csr_array

    count, width = near.shape
    if width == 1:
        return weights
    ends = np.arange(0, count * width + 1, width)
    mean = csr_array((np.full(count * width, 1 / width), near.reshape(-1), ends), weights.shape)
    return mean @ weights


class _Jaccard:
    """Jaccard distances of weights: sparse (Q, N) of the queries, (G, N) of the gallery."""

    def __init__(self, query, gallery):
        self.query, self.gallery = query, gallery.tocsc()

    def of(self, rows: slice) -> np.ndarray:
        """(n, G) for the queries in `rows`."""
        found = np.empty((rows.stop - rows.start, self.gallery.shape[0]), np.float32)

        def fill(some: range) -> None:
            for row in some:
                shared = self._shared(rows.start + row)
                found[row] = np.maximum(1 - shared / (2 - shared), 0)

        workers = torch.get_num_threads()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, [range(i, len(found), workers) for i in range(workers)]))
        return found

    def _shared(self, row: int) -> np.ndarray:
        """S of one query with the whole gallery: only people who share a neighbour are visited."""
        here = slice(self.query.indptr[row], self.query.indptr[row + 1])
        columns, weights = self.query.indices[here], self.query.data[here]
        starts = self.gallery.indptr[columns]
        counts = self.gallery.indptr[columns + 1] - starts
        cells = spans(starts, counts)
        least = np.minimum(self.gallery.data[cells], np.repeat(weights, counts))
        return np.bincount(self.gallery.indices[cells], least, minlength=self.gallery.shape[0])
