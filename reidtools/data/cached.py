"""Batches of what was computed once for every sample, in place of pictures."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from reidtools.data.samplers import Part


class CachedBatches:
    """As `Batches`, of facts that are known: tensors (N, …), or tuples of them, by name.

    `sampler` yields lists of indices into them; a batch has these rows of each.
    """

    choice = None  # tracklets have been joined

    def __init__(self, facts: Mapping[str, Any], paths: Sequence[str], sampler: Any):
        self.facts, self.paths, self.sampler = facts, paths, sampler
        self.device = facts["pids"].device
        self._begin = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int, begin: int = 0) -> None:
        """Let the sampler draw the batches of `epoch`, of which the first `begin` are not shown."""
        self.sampler.set_epoch(epoch)
        self._begin = begin

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for indices in islice(self.sampler, self._begin, None):
            rows = torch.tensor(indices, device=self.device)
            batch = {name: _rows(value, rows) for name, value in self.facts.items()}
            if isinstance(indices, Part):
                batch["parts"] = indices.parts
            yield {**batch, "paths": [self.paths[i] for i in indices]}


def _rows(value: Tensor | tuple[Tensor, ...], rows: Tensor) -> Any:
    if isinstance(value, tuple):
        return tuple(tensor[rows] for tensor in value)
    return value[rows]
