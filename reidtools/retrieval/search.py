"""The nearest pictures of a gallery, by faiss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Hits(NamedTuple):
    """What was found for Q queries: `indices` int64 (Q, k), rows of the gallery, nearest first.

    `distances` float32 (Q, k) are theirs: 1 - cosine, from 0 (same direction) to 2. Where a gallery
    has fewer to show, the rest are -1 at an infinite distance.
    """

    indices: np.ndarray
    distances: np.ndarray


def search(query: np.ndarray, gallery: np.ndarray, topk: int = 100) -> Hits:
    """The `topk` of `gallery` (G, D) that are nearest to each of `query` (Q, D), by cosine.

    Exact: every query is compared with all of the gallery. Equal distances keep the gallery's
    order. `topk` 0, or more than G, is all of them. Lengths do not matter. Raises ValueError for
    sides that are empty, of different dimensions, or hold a vector without a direction.
    """
    import faiss

    if topk < 0:
        raise ValueError(f"topk {topk} is a number of pictures; give 1 or more, or 0 for all.")
    query, gallery = (unit(*side) for side in (("query", query), ("gallery", gallery)))
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"Query vectors have {query.shape[1]} dimensions, gallery vectors {gallery.shape[1]}; "
            "embed both with the same model."
        )
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    del gallery  # the index has a copy
    return nearest(index, query, min(topk or index.ntotal, index.ntotal))


def fused(vectors: np.ndarray) -> np.ndarray:
    """Several pictures of one person as one query: the mean of their directions, (Q, D) -> (1, D).

    Raises ValueError for vectors without a direction, and for those that cancel each other.
    """
    return unit("query", unit("query", vectors).mean(axis=0, keepdims=True, dtype=np.float64))


def unit(side: str, vectors: np.ndarray) -> np.ndarray:
    """A float32 copy of `vectors`, each of length 1; `side` is what messages call them."""
    import faiss

    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(
            f"The {side} must be vectors (pictures, dimensions), at least one; it is "
            f"{vectors.shape}. Embed some pictures first."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are told below
        unit = np.array(vectors, dtype=np.float32, order="C")
        lengths = np.sqrt(np.einsum("nd,nd->n", unit, unit))
    bad = np.flatnonzero(~((lengths > 1e-12) & np.isfinite(lengths)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(unit)} {side} vectors are zero, not finite or too large, and have "
            f"no direction (first: row {bad[0]}); check these pictures and the weights."
        )
    faiss.normalize_L2(unit)
    return unit


def nearest(index: Any, query: np.ndarray, k: int) -> Hits:
    """The `k` nearest in `index`, equal ones by index.

    Which of equal ones faiss finds, and in which order, is not defined. So it is asked for one more
    than wanted; where that one is as near as the last that is wanted, it is asked again, for more.
    """
    reach = min(k + 1, index.ntotal)
    hits = ask(index, query, reach)
    found = Hits(*(np.ascontiguousarray(part[:, :k]) for part in hits))
    rows = np.arange(len(query))
    while reach < index.ntotal:
        torn = hits.distances[:, k - 1] == hits.distances[:, -1]
        if not torn.any():
            break
        rows, reach = rows[torn], min(4 * reach, index.ntotal)
        hits = ask(index, query[rows], reach)
        found.indices[rows] = hits.indices[:, :k]
        found.distances[rows] = hits.distances[:, :k]
    return found


def nearest_shown(
    find: Callable[[np.ndarray, int], Hits],
    query: np.ndarray,
    k: int,
    most: int,
    shown: Callable[[int, np.ndarray], np.ndarray],
) -> Hits:
    """The `k` nearest that may be shown: `find` is asked for more until there are enough.

    `find(query, k)` gives hits, `most` at most; `shown(row, indices)` says which gallery rows the
    query in that row may see.
    """
    hits = Hits(np.full((len(query), k), -1), np.full((len(query), k), np.inf, np.float32))
    rows, reach = np.arange(len(query)), min(2 * k + 16, most)
    while len(rows):
        short = []
        for some in np.array_split(rows, -(-len(rows) * reach // 2**22)):  # or it would be large
            for row, *found in zip(some, *find(query[some], reach), strict=True):
                indices, distances = (part[found[0] >= 0] for part in found)
                good = shown(row, indices)
                count = min(int(good.sum()), k)
                hits.indices[row, :count] = indices[good][:k]
                hits.distances[row, :count] = distances[good][:k]
                if count < k and reach < most and len(indices) == reach:
                    short.append(row)
        rows, reach = np.array(short, np.int64), min(4 * reach, most)
    return hits


def ask(index: Any, query: np.ndarray, k: int) -> Hits:
    """The `k` nearest as faiss finds them, equal ones by index."""
    distances, indices = index.search(query, k)
    distances[indices < 0] = -np.inf  # an index that looks only in some places may find fewer
    np.subtract(1, distances, out=distances)
    np.maximum(distances, 0, out=distances)  # rounding leaves cosines above 1
    rows = max(1, 2**22 // k)  # some at a time, or the masks would be large
    for start in range(0, len(query), rows):
        _order(indices[start : start + rows], distances[start : start + rows])
    return Hits(indices, distances)


def _order(indices: np.ndarray, distances: np.ndarray) -> None:
    """Sort the `indices` of equal `distances` in place; both (Q, k), distances ascending."""
    same = distances[:, 1:] == distances[:, :-1]
    tied = np.zeros(distances.shape, bool)
    tied[:, 1:] = same
    tied[:, :-1] |= same
    rows = np.nonzero(tied)[0]
    # Runs of equal ones follow each other, so that sorting them all moves none out of its run.
    indices[tied] = indices[tied][np.lexsort((indices[tied], distances[tied], rows))]
