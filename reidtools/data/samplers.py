"""Which pictures meet in a batch: a sampler is a list of index lists, drawn anew every epoch."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from reidtools.registry import SAMPLERS


class EpochSampler:
    """What samplers share: `_draw` makes an epoch's batches from a generator of (seed, epoch).

    They are drawn when they are first asked for, since some samplers need a model for it.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to `epoch`; the same seed and epoch always give the same batches."""
        self.epoch = epoch
        self._batches: list[list[int]] | None = None

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._drawn())

    def __len__(self) -> int:
        return len(self._drawn())

    def _drawn(self) -> list[list[int]]:
        if self._batches is None:
            self._batches = self._draw(np.random.default_rng((self.seed, self.epoch)))
        return self._batches

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        raise NotImplementedError


def members_of(pids: Sequence[int]) -> dict[int, list[int]]:
    """The indices of every person's pictures, people by first appearance.

    Fewer than two people are a `ValueError`.
    """
    members = defaultdict(list)
    for index, pid in enumerate(pids):
        members[int(pid)].append(index)
    if len(members) < 2:
        raise ValueError(
            "The training set has one person, and there is nobody to tell it from; add others."
        )
    return dict(members)


def people_in(batch_size: int, num_instance: int) -> int:
    """How many people a batch shows with `num_instance` pictures each; `ValueError` below two."""
    if num_instance < 1 or batch_size % num_instance:
        raise ValueError(
            f"A batch of {batch_size} cannot hold {num_instance} pictures of each person; make "
            "SOLVER.IMS_PER_BATCH a multiple of DATALOADER.SAMPLER.NUM_INSTANCE."
        )
    if batch_size // num_instance < 2:
        raise ValueError(
            f"A batch of {batch_size} with {num_instance} pictures of each person shows one "
            "person, and there is nobody to tell it from; raise SOLVER.IMS_PER_BATCH."
        )
    return batch_size // num_instance


@SAMPLERS
class RandomIdentitySampler(EpochSampler):
    """P x K batches: P distinct people with K = `num_instance` pictures each (Hermans et al., 2017,
    arXiv:1703.07737).

    A person's pictures are shuffled and cut into groups of K; fewer than K are filled up with
    repeats. An epoch has as many full batches as the groups allow, the same number every epoch, and
    people come in proportion to the groups they have left: so its end looks like its start, where
    drawing all people alike would leave the same few for the last batches. No picture comes twice
    in an epoch unless its person has fewer than K. With fewer people than P a batch shows all of
    them, and is that much smaller.
    """

    def __init__(self, pids: Sequence[int], batch_size: int, seed: int, *, num_instance: int = 4):
        people, self.num_instance = people_in(batch_size, num_instance), num_instance
        self.members = members_of(pids)
        self.people = min(people, len(self.members))
        super().__init__(seed)

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        groups = {pid: self._groups(own, rng) for pid, own in self.members.items()}
        counts = np.array([len(g) for g in groups.values()])
        length = counts.sum() // self.people
        while np.minimum(counts, length).sum() < self.people * length:
            length -= 1
        pids, batches = list(groups), []
        for left in range(length, 0, -1):
            # Drawn without replacement, with the groups left as weights: the P earliest of
            # exponential waiting times. Whoever has a group for every batch left must come now.
            waits = rng.exponential(size=len(pids)) / np.maximum(counts, 1)
            waits[counts == 0] = np.inf
            waits[counts >= left] *= 1e-12
            chosen = np.argsort(waits)[: self.people]
            rng.shuffle(chosen)
            batches.append([i for c in chosen for i in groups[pids[c]].pop()])
            counts[chosen] -= 1
        return batches

    def _groups(self, own: list[int], rng: np.random.Generator) -> list[list[int]]:
        """Shuffled groups of K; fewer than K pictures give one group with repeats."""
        k = self.num_instance
        order = rng.permutation(own).tolist()
        if len(order) < k:
            return [order + rng.choice(own, k - len(order)).tolist()]
        return [order[i : i + k] for i in range(0, len(order) - k + 1, k)]


@SAMPLERS
class RandomSampler(EpochSampler):
    """All pictures in random order, whoever is on them.

    drop_last: leave out an incomplete last batch; else every picture comes once an epoch.
    """

    def __init__(self, pids: Sequence[int], batch_size: int, seed: int, *, drop_last: bool = True):
        self.count, self.batch_size, self.drop_last = len(pids), batch_size, drop_last
        super().__init__(seed)

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        order = rng.permutation(self.count).tolist()
        size = min(self.batch_size, self.count)
        end = self.count - size + 1 if self.drop_last else self.count
        return [order[i : i + size] for i in range(0, end, size)]
