"""Which gallery pictures are hits for a query, and which are junk."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reidtools.evaluation.vectors import Vectors
from reidtools.ops.protocol import ignores_own_camera


def spans(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers ``start, start + 1 …`` of every span, `counts` of them, end to end."""
    return np.repeat(starts - (counts.cumsum() - counts), counts) + np.arange(counts.sum())


@dataclass(frozen=True)
class Pairs:
    """Cells of a matrix of `count` rows: `rows` ascending and, within a row, `columns` ascending.

    ``columns[ends[i] : ends[i + 1]]`` are those of row i.
    """

    rows: np.ndarray
    columns: np.ndarray
    count: int

    @cached_property
    def ends(self) -> np.ndarray:
        """(count + 1,)"""
        return np.searchsorted(self.rows, np.arange(self.count + 1))


class Matches:
    """Finds the gallery pictures of every query's person, without a query x gallery mask.

    `junk_columns` are the gallery's pictures of pid -1: junk for every query.
    """

    def __init__(self, query: Vectors, gallery: Vectors, camera_filter: str):
        self._filters = ignores_own_camera(camera_filter)
        self._query_pids, self._query_camids = query.pids.numpy(), query.camids.numpy()
        self._camids = gallery.camids.numpy()
        pids = gallery.pids.numpy()
        self._order = np.argsort(pids, kind="stable")
        self._pids = pids[self._order]
        self.junk_columns = np.flatnonzero(pids == -1)
        if not np.isin(self._query_pids[self._query_pids != -1], pids).any():
            raise ValueError(
                "No query has a match in the gallery: they have no pid in common. Check that both "
                "belong to one dataset and are numbered alike."
            )

    def of(self, rows: slice) -> tuple[Pairs, Pairs]:
        """Hits and junk of the queries in `rows`, whose first is row 0 of the pairs.

        Junk here is the query's own person in its own camera, where that is left out.
        """
        pids = self._query_pids[rows]
        starts = np.searchsorted(self._pids, pids)
        counts = np.searchsorted(self._pids, pids, "right") - starts
        counts[pids == -1] = 0
        row = np.repeat(np.arange(len(pids)), counts)
        column = self._order[spans(starts, counts)]
        own = self._query_camids[rows][row] == self._camids[column]
        own &= self._filters
        hits, junk = (Pairs(row[keep], column[keep], len(pids)) for keep in (~own, own))
        return hits, junk
