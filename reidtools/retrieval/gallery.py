"""A gallery one can keep: vectors, paths, people and cameras in a directory, searched by faiss."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reidtools.evaluation.vectors import Vectors
from reidtools.retrieval import indexes, store
from reidtools.retrieval.model import check_same
from reidtools.retrieval.people import JUNK
from reidtools.retrieval.search import Hits, ask, nearest, nearest_shown, unit


class Gallery:
    """Unit vectors of pictures, with their `paths`, `pids` and `camids` (N,), to be searched.

    `about` tells the model: ``weights`` (its name), ``fingerprint``, ``size`` of pictures, ``flip``
    …; vectors of another one are refused. `kind` is ``flat`` (exact), ``ivf`` or ``hnsw``, and
    `recall` its measured recall@10. `names` are people whose names are no numbers: pid -> name.
    Make one with `build` or `open`; `save` keeps it.
    """

    def __init__(self, parts: store.Parts, folder: Path | None = None):
        facts = parts.facts
        self.about: dict[str, Any] = dict(facts["about"])
        self.kind: str = facts["kind"]
        self.recall: float = facts["recall"]
        self.names = {int(pid): name for pid, name in facts["names"].items()}
        self.options: dict[str, Any] = dict(facts["options"])
        self.generation: int = facts.get("generation", 0)
        self.folder = folder
        self._hold(parts.index, parts.paths, parts.people)

    def _hold(self, index: Any, paths: np.ndarray, people: np.ndarray) -> None:
        self._index, self._paths, self._people = index, paths, people
        self._searcher: indexes.Searcher | None = None

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        about: Mapping[str, Any],
        names: Mapping[int, str] | None = None,
        *,
        kind: str = "flat",
        **options: Any,
    ) -> "Gallery":
        """A gallery of `vectors`, each brought to length 1. `options` are those of `indexes.make`.

        Raises ValueError where there are none, one has no direction, or two have one path, and
        what `indexes.check_options` raises.
        """
        indexes.check_options(kind, options)
        rows, paths, people = _rows(vectors)
        index, recall = indexes.make(rows, kind, **options)
        facts = {"about": dict(about), "kind": kind, "recall": recall, "options": options}
        return cls(store.Parts(index, paths, people, facts | {"names": dict(names or {})}))

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = False) -> "Gallery":
        """The gallery in `folder`, mapped into memory; `verify` reads and checks all of it.

        A missing one is a FileNotFoundError, a torn one a ValueError.
        """
        return cls(store.read(Path(folder), verify=verify), Path(folder))

    def save(self, folder: str | Path = "", *, replace: bool = False) -> Path:
        """Write the gallery into `folder`, or where it was opened; all or nothing.

        One that is there already is only replaced if it is the one that was opened, unchanged
        since, or with `replace`. Raises OSError where another process writes or has written it, or
        the disk is full; ValueError where there is another.
        """
        if not (folder or self.folder):
            raise ValueError("This gallery has no folder yet; name one to save it in.")
        home = Path(folder or self.folder)
        own = self.folder is not None and home.resolve() == self.folder.resolve()
        expected = None if replace else self.generation if own else 0
        facts = {
            "kind": self.kind,
            "count": len(self),
            "dim": self.dim,
            "recall": self.recall,
            "options": self.options,
            "about": self.about,
            "names": {str(pid): name for pid, name in self.names.items()},
        }
        parts = store.Parts(self._index, self._paths, self._people, facts)
        self.generation = store.write(home, parts, expected)
        self.folder = home
        return home

    def __len__(self) -> int:
        return self._index.ntotal

    def __str__(self) -> str:
        made = indexes.settings(self._index, self.kind)
        how = ", ".join([self.kind, *(f"{name} {value}" for name, value in made.items())])
        told = "exact" if self.kind == "flat" else f"recall@10 {self.recall:.4f}"
        return f"{len(self)} pictures, {self.dim} dimensions, {how}: {told}"

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._index.d

    @property
    def paths(self) -> list[str]:
        """All paths; a list of N, made anew."""
        return [_text(path) for path in self._paths.tolist()]

    @property
    def pids(self) -> np.ndarray:
        """(N,) int64; -1 is junk, or nobody known."""
        return np.asarray(self._people[:, 0])

    @property
    def camids(self) -> np.ndarray:
        """(N,) int64; -1 is unknown."""
        return np.asarray(self._people[:, 1])

    def path(self, row: int) -> str:
        """The path of one picture."""
        return _text(self._paths[row].item())

    def person(self, row: int) -> str:
        """Who is seen in a picture: a number, a name, or ``""`` for nobody known."""
        pid = int(self._people[row, 0])
        return "" if pid == JUNK else self.names.get(pid, str(pid))

    def vectors(self) -> Vectors:
        """A copy of everything, for `reidtools.evaluation`."""
        rows = np.array(indexes.vectors_of(self._index, self.kind))
        return Vectors(rows, self.pids.copy(), self.camids.copy(), self.paths)

    def check_model(self, dim: int, about: Mapping[str, Any]) -> None:
        """Raise ValueError for vectors of another length or model; it names both."""
        where = f"The gallery in {self.folder}" if self.folder else "This gallery"
        check_same(where, (self.dim, self.about), (dim, about))

    def add(self, vectors: Vectors, about: Mapping[str, Any]) -> None:
        """Put `vectors` behind the others; `save` keeps them.

        Raises ValueError, and changes nothing, for vectors of another model, and for paths that
        are there already.
        """
        self.check_model(vectors.vectors.shape[1], about)
        rows, paths, people = _rows(vectors)
        there = np.flatnonzero(np.isin(paths, self._paths))
        if len(there):
            raise ValueError(
                f"{len(there)} of {len(paths)} pictures are in the gallery already, such as "
                f"{_text(paths[there[0]])}; leave them out, or remove them first."
            )
        index = indexes.grown(self._index, self.kind, rows)
        if self.kind != "flat":
            everything = indexes.vectors_of(index, self.kind)
            self.recall = indexes.measure(index, indexes.truth_of(everything))
        self._hold(index, np.append(self._paths, paths), np.vstack([self._people, people]))

    def remove(self, paths: Collection[str | Path]) -> None:
        """Take pictures out; `save` makes it last. An index that is not flat is built again.

        Raises ValueError, and changes nothing, for a path that is not there, and where nothing
        would be left.
        """
        goes = np.array([_raw(path) for path in paths], dtype="S")
        missing = np.flatnonzero(~np.isin(goes, self._paths))
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {len(goes)} pictures are not in the gallery, such as "
                f"{_text(goes[missing[0]])}; name them as the gallery does."
            )
        keep = np.flatnonzero(~np.isin(self._paths, goes))
        if not len(keep):
            raise ValueError("Nothing would be left in the gallery; delete its folder instead.")
        rows = indexes.vectors_of(self._index, self.kind)[keep]
        index, self.recall = indexes.make(rows, self.kind, **self.options)
        self._hold(index, self._paths[keep], self._people[keep])

    def search(
        self,
        query: np.ndarray,
        topk: int = 10,
        *,
        hide_cameras: Sequence[Collection[int]] | None = None,
        hide_junk: bool = False,
    ) -> Hits:
        """The `topk` (0: all) nearest to each of `query` (Q, D); lengths do not matter.

        A flat gallery answers exactly, and equal distances keep its order. With `hide_cameras`
        pictures from these cameras are not shown (one collection for each query), with `hide_junk`
        none of pid -1; further ones take their places. Where there are no more, the rest of `Hits`
        is -1.
        """
        if topk < 0:
            raise ValueError(f"topk {topk} is a number of pictures; give 1 or more, or 0 for all.")
        query = unit("query", query)
        if query.shape[1] != self.dim:
            self.check_model(query.shape[1], {})
        k = min(topk or len(self), len(self))
        if hide_cameras is not None and len(hide_cameras) != len(query):
            raise ValueError(
                f"{len(query)} queries and {len(hide_cameras)} collections of cameras to hide; "
                "give each query its own, an empty one for none."
            )
        if hide_cameras is None and not hide_junk:
            return self._found(query, k)
        cameras = [list(own) for own in hide_cameras or [()] * len(query)]

        def shown(row: int, indices: np.ndarray) -> np.ndarray:
            pids, camids = self._people[indices].T
            good = ~np.isin(camids, cameras[row])
            return good & (pids != JUNK) if hide_junk else good

        return nearest_shown(self._found, query, k, len(self), shown)

    def _found(self, query: np.ndarray, k: int) -> Hits:
        self._searcher = self._searcher or indexes.Searcher(self._index, self.kind)
        return (nearest if self.kind == "flat" else ask)(self._searcher, query, k)


def _rows(vectors: Vectors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors (N, D), paths (N,) as bytes and (pid, camid) (N, 2) of `vectors`."""
    rows = unit("gallery", vectors.vectors.detach().cpu().numpy())
    if vectors.paths is None:
        raise ValueError("A gallery needs a path for each vector; give Vectors their paths.")
    raw = [_raw(path) for path in vectors.paths]
    if len(set(raw)) < len(raw):
        seen: set[bytes] = set()
        double = next(path for path in raw if path in seen or seen.add(path))
        raise ValueError(f"The picture {_text(double)} is given twice; name every picture once.")
    people = np.stack([vectors.pids.numpy(), vectors.camids.numpy()], axis=1)
    return rows, np.array(raw, dtype="S"), people


def _raw(path: str | Path) -> bytes:
    """UTF-8; names that are none keep their bytes."""
    return str(path).encode(errors="surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
