"""faiss indexes of unit vectors: made, tuned, measured, and taken apart again."""

import logging
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from reidtools.registry import choose, options

LOGGER = logging.getLogger("reidtools")
KINDS = {  # and their options
    "flat": (),
    "ivf": ("nlist", "nprobe", "recall"),
    "hnsw": ("m", "ef_construction", "ef_search", "recall"),
}
LEAST = {"nlist": 0, "nprobe": 0, "m": 2, "ef_construction": 1, "ef_search": 0}
GPU_MOST = 2048  # neighbours that faiss finds at once on a GPU
SAMPLE, NEAREST = 200, 10  # recall is measured with so many vectors, of so many neighbours


def make(
    vectors: np.ndarray,
    kind: str,
    *,
    nlist: int = 0,
    nprobe: int = 0,
    m: int = 32,
    ef_construction: int = 64,
    ef_search: int = 0,
    recall: float = 0.95,
) -> tuple[Any, float]:
    """An index of the unit `vectors` (N, D) by inner product, and its measured recall@10.

    ``"flat"`` compares a query with all of them: exact. ``"ivf"`` puts them into `nlist` cells (0:
    about 2 * sqrt(N)) and looks into the `nprobe` nearest. ``"hnsw"`` (Malkov and Yashunin, 2016,
    arXiv:1603.09320) walks a graph of `m` neighbours each, built with `ef_construction` and
    searched with `ef_search` candidates. `nprobe` and `ef_search` 0 are the smallest power of two
    that reaches `recall`. What may be given is told by `check_options`.
    """
    if kind == "flat":
        return _flat(vectors), 1.0
    index = _cells(vectors, nlist) if kind == "ivf" else _graph(vectors, m, ef_construction)
    truth = truth_of(vectors)
    asked = nprobe if kind == "ivf" else ef_search
    most = index.nlist if kind == "ivf" else 4096
    if asked:
        _look(index, kind, min(asked, most))
        return index, measure(index, truth)
    effort, found = (1 if kind == "ivf" else 16), 0.0
    while True:
        _look(index, kind, effort)
        found = measure(index, truth)
        if found >= recall or effort >= most:
            return index, found
        effort = min(2 * effort, most)


def check_options(kind: str, given: Mapping[str, Any]) -> None:
    """Raise an error unless `make` can make an index of this `kind` with the options `given`.

    An unknown kind or option is a LookupError, an option that another kind has, or a value out of
    range, a ValueError.
    """
    own = choose("kind of gallery", kind, KINDS)
    for name, value in given.items():
        choose("option of a gallery", name, options(make))
        if name not in own:
            others = " or ".join(other for other, has in KINDS.items() if name in has)
            raise ValueError(f"A {kind} gallery has no {name}; leave it out, or choose {others}.")
        if name == "recall":
            fits, wanted = isinstance(value, Real) and 0 < value <= 1, "a share above 0, up to 1"
        else:
            fits = isinstance(value, Integral) and value >= LEAST[name]
            wanted = f"a whole number from {LEAST[name]} on"
        if not fits:
            raise ValueError(
                f"{name} {value!r} is not {wanted}; give one, or leave it out for what usually "
                "fits."
            )


def _flat(vectors: np.ndarray) -> Any:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _cells(vectors: np.ndarray, nlist: int) -> Any:
    import faiss

    count, dim = vectors.shape
    # Below 39 vectors a cell, faiss says, centres mean little.
    cells = min(nlist, count) or max(1, min(round(2 * count**0.5), count // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = 64  # four times as quick as faiss's 256, and as good here
    index.train(vectors)
    index.add(vectors)
    return index


def _graph(vectors: np.ndarray, m: int, ef_construction: int) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = ef_construction
    index.add(vectors)
    return index


def _look(index: Any, kind: str, effort: int) -> None:
    if kind == "ivf":
        index.nprobe = effort
    else:
        index.hnsw.efSearch = effort


def settings(index: Any, kind: str) -> dict[str, int]:
    """What an index was made with, under the names of the options of `make`."""
    if kind == "ivf":
        return {"nlist": index.nlist, "nprobe": index.nprobe}
    if kind == "hnsw":
        hnsw = index.hnsw
        made = {"m": hnsw.nb_neighbors(1), "ef_construction": hnsw.efConstruction}
        return made | {"ef_search": hnsw.efSearch}
    return {}


class Truth(NamedTuple):
    """A sample of vectors by their `rows` (S,), and how near the 10th nearest of each is (S, 1)."""

    rows: np.ndarray
    sample: np.ndarray
    tenth: np.ndarray


def truth_of(vectors: np.ndarray) -> Truth:
    """By comparing a sample with all of the unit `vectors` (N, D)."""
    import faiss

    count = len(vectors)
    rows = np.unique(np.linspace(0, count - 1, SAMPLE).astype(np.int64))
    sample = np.ascontiguousarray(vectors[rows])
    k = min(NEAREST + 1, count)  # one of them is the vector itself
    found, _ = faiss.knn(sample, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return Truth(rows, sample, found[:, -1:])


def measure(index: Any, truth: Truth) -> float:
    """The share of the 10 truly nearest that `index` finds, for a sample of its own vectors.

    A vector does not count as its own neighbour; another one as near as the tenth is as good.
    """
    k = min(NEAREST, index.ntotal - 1)
    if not k:
        return 1.0
    found, indices = index.search(truth.sample, k + 1)
    good = (indices >= 0) & (indices != truth.rows[:, None]) & (found >= truth.tenth - 1e-6)
    return float(np.minimum(good.sum(axis=1), k).mean() / k)


def vectors_of(index: Any, kind: str) -> np.ndarray:
    """The vectors (N, D) in an index, in the order they were added; of a flat one a view.

    The view lives as long as the index.
    """
    import faiss

    count, dim = index.ntotal, index.d
    if kind == "ivf":
        out = np.empty((count, dim), np.float32)
        for cell in range(index.nlist):
            size = index.invlists.list_size(cell)
            if size:
                ids = faiss.rev_swig_ptr(index.invlists.get_ids(cell), size)
                codes = faiss.rev_swig_ptr(index.invlists.get_codes(cell), size * dim * 4)
                out[ids] = codes.view(np.float32).reshape(size, dim)
        return out
    flat = index if kind == "flat" else faiss.downcast_index(index.storage)
    return faiss.rev_swig_ptr(flat.get_xb(), count * dim).reshape(count, dim)


def grown(index: Any, kind: str, more: np.ndarray) -> Any:
    """A copy of `index` with the unit vectors `more` (M, D) behind its own.

    The copy is needed: faiss ends the process where a mapped index is added to.
    """
    import faiss

    if kind == "flat":
        copy = _flat(vectors_of(index, kind))
    else:
        copy = faiss.deserialize_index(faiss.serialize_index(index))
    copy.add(more)
    return copy


class Searcher:
    """An index that is searched on the GPU where faiss has one and can; else where it lies."""

    def __init__(self, index: Any, kind: str):
        import faiss

        self.ntotal, self._index, self._gpu = index.ntotal, index, None
        if kind != "hnsw" and faiss.get_num_gpus() > 0:
            try:
                self._gpu = faiss.index_cpu_to_all_gpus(index, ngpu=1)
            except (RuntimeError, MemoryError) as error:
                reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
                LOGGER.warning(
                    "The GPU does not take %d vectors, so the CPU searches them (%s).",
                    index.ntotal,
                    reason,
                )

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Inner products (Q, k), descending, and rows (Q, k), -1 where there are no more."""
        on_gpu = self._gpu is not None and k <= GPU_MOST
        return (self._gpu if on_gpu else self._index).search(query, k)
