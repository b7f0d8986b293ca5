"""The places of matches in a ranking, counted without sorting it."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from reidtools.evaluation.matches import Pairs


def places(distances: Tensor, pairs: Pairs) -> np.ndarray:
    """The place, from 1, of each of `pairs` in its row; of equal distances the left comes first.

    (N, M) distances -> (number of pairs,) int64.
    """
    count = _count_cuda if distances.is_cuda else _count_cpu
    return 1 + count(distances, pairs)


def _count_cpu(distances: Tensor, pairs: Pairs) -> np.ndarray:
    """How many of a row come before each of these columns.

    Only what is nearer than a row's farthest match is sorted: values alone, which NumPy does with
    vector instructions.
    """
    matrix = distances.numpy()
    high, wide = matrix.shape
    values = matrix[pairs.rows, pairs.columns]
    farthest = np.full(high, -np.inf, matrix.dtype)
    np.maximum.at(farthest, pairs.rows, values)
    before = np.empty(len(values), np.int64)

    def count(start: int) -> None:
        lines = matrix[start : start + step]
        near = np.flatnonzero(lines <= farthest[start : start + step, None])
        ends = near.searchsorted(wide * np.arange(len(lines) + 1))
        ordered = lines.reshape(-1).take(near)
        own_ends = pairs.ends[start : start + step + 1]
        for line, own in zip(pairwise(ends.tolist()), pairwise(own_ends.tolist()), strict=True):
            here, mine = ordered[slice(*line)], slice(*own)
            here.sort()
            before[mine] = here.searchsorted(values[mine])
        mine = slice(own_ends[0], own_ends[-1])
        rows = pairs.rows[mine] - start
        after = 1 + ends[rows] + before[mine]
        tied = (after < ends[rows + 1]) & (ordered.take(after, mode="clip") == values[mine])
        for i in own_ends[0] + np.flatnonzero(tied):
            row, column = pairs.rows[i], pairs.columns[i]
            before[i] += np.count_nonzero(matrix[row, :column] == values[i])

    step = max(1, 2**22 // wide)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy works outside Python's lock
        list(pool.map(count, range(0, high, step)))
    return before


def _count_cuda(distances: Tensor, pairs: Pairs) -> np.ndarray:
    """`_count_cpu` with the rows of a chunk taken together."""
    (high, wide), device = distances.shape, distances.device
    rows, columns = (torch.from_numpy(x).to(device) for x in (pairs.rows, pairs.columns))
    farthest = distances.new_full((high,), -torch.inf)
    farthest.scatter_reduce_(0, rows, distances[rows, columns], "amax")
    near = (distances <= farthest[:, None]).flatten().nonzero().flatten()  # row by row
    by_value = distances.flatten()[near].sort(stable=True).indices
    order = by_value[(near[by_value] // wide).sort(stable=True).indices]  # row, value, column
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=device)
    starts = torch.searchsorted(near, wide * torch.arange(high, device=device))
    return (place[torch.searchsorted(near, wide * rows + columns)] - starts[rows]).cpu().numpy()


class SingleShots:
    """CUHK03's first protocol: galleries of one picture a person, drawn `repeats` times a query."""

    def __init__(self, pids: np.ndarray, repeats: int, seed: int):
        self.generator, self.repeats = np.random.default_rng(seed), repeats
        self.order = np.argsort(pids, kind="stable")[np.count_nonzero(pids == -1) :]
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
