"""The places of matches in a ranking, counted without sorting it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from reidtools.evaluation.matches import Pairs

CELLS = 2**22  # that are looked at together


def places(distances: Tensor, pairs: Pairs) -> np.ndarray:
    """The place, from 1, of each of `pairs` in its row; of equal distances the left comes first.

    (N, M) distances -> (number of pairs,) int64. Some rows are taken at a time, so that the memory
    beyond `distances` stays small.
    """
    on_cpu = distances.device.type == "cpu"
    count, workers = (_before, torch.get_num_threads()) if on_cpu else (_before_on_device, 1)
    step = max(1, CELLS // (distances.shape[1] * workers))

    def place(start: int) -> np.ndarray:
        here = slice(pairs.ends[start], pairs.ends[min(start + step, pairs.count)])
        return count(distances[start : start + step], pairs.rows[here] - start, pairs.columns[here])

    with ThreadPoolExecutor(workers) as pool:  # NumPy works outside Python's lock
        return 1 + np.concatenate(list(pool.map(place, range(0, pairs.count, step))))


def _before(distances: Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """How many of its row come before each cell.

    Only what is nearer than a row's farthest cell is sorted: values alone, which NumPy does with
    vector instructions.
    """
    matrix = distances.numpy()
    (high, wide), values = matrix.shape, matrix[rows, columns]
    farthest = np.full(high, -np.inf, matrix.dtype)
    np.maximum.at(farthest, rows, values)
    near = np.flatnonzero(matrix <= farthest[:, None])
    ends = near.searchsorted(wide * np.arange(high + 1))
    ordered, own_ends = matrix.reshape(-1).take(near), rows.searchsorted(np.arange(high + 1))
    before = np.empty(len(values), np.int64)
    for row in range(high):
        line, mine = ordered[ends[row] : ends[row + 1]], slice(own_ends[row], own_ends[row + 1])
        line.sort()
        before[mine] = line.searchsorted(values[mine])
    after = ends[rows] + before + 1
    tied = (after < ends[rows + 1]) & (ordered.take(after, mode="clip") == values)
    for i in np.flatnonzero(tied):
        before[i] += np.count_nonzero(matrix[rows[i], : columns[i]] == values[i])
    return before


def _before_on_device(distances: Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """`_before` without a loop."""
    (high, wide), device = distances.shape, distances.device
    row, column = (torch.from_numpy(x).to(device) for x in (rows, columns))
    farthest = distances.new_full((high,), -torch.inf)
    farthest.scatter_reduce_(0, row, distances[row, column], "amax")
    near = (distances <= farthest[:, None]).flatten().nonzero().flatten()  # row by row
    by_value = distances.flatten()[near].sort(stable=True).indices
    order = by_value[(near[by_value] // wide).sort(stable=True).indices]  # row, value, column
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=device)
    starts = torch.searchsorted(near, wide * torch.arange(high, device=device))
    return (place[torch.searchsorted(near, wide * row + column)] - starts[row]).cpu().numpy()


class SingleShots:
    """CUHK03's first protocol: galleries of one picture a person, drawn `repeats` times a query."""

    def __init__(self, pids: np.ndarray, repeats: int, seed: int):
        self.generator, self.repeats = np.random.default_rng(seed), repeats
        order = np.argsort(pids, kind="stable")
        self.order = order[pids[order] != -1]
        self.people, self.starts, self.counts = np.unique(
            pids[self.order], return_index=True, return_counts=True
        )
        self.pids, self.counted, self.queries = pids, np.zeros(len(self.people) + 1), 0

    def play(self, distances: np.ndarray, hits: Pairs) -> None:
        """Count the places of the drawn matches of every row that has a match."""
        for row in np.flatnonzero(np.diff(hits.ends)):
            own = hits.columns[hits.ends[row] : hits.ends[row + 1]]
            person = np.searchsorted(self.people, self.pids[own[0]])
            chance = self.generator.random((self.repeats, len(self.people)))
            drawn = self.order[self.starts + (chance * self.counts).astype(np.int64)]
            drawn[:, person] = own[(chance[:, person] * len(own)).astype(np.int64)]
            values, mine = distances[row][drawn], drawn[:, person, None]
            limit = values[:, person, None]
            nearer = (values < limit) | ((values == limit) & (drawn < mine))
            self.counted += np.bincount(1 + nearer.sum(1), minlength=len(self.counted))
            self.queries += 1

    @property
    def cmc(self) -> np.ndarray:
        """(people,) the mean curve over repeats and queries."""
        return self.counted[1:].cumsum() / (self.repeats * self.queries)
