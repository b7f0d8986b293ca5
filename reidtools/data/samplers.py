"""Which pictures meet in a batch: a sampler is a list of index lists, drawn anew every epoch."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from reidtools import processes
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


def places_of(values: Sequence[int]) -> dict[int, list[int]]:
    """Where each of the `values` stands, in order of first appearance."""
    places = defaultdict(list)
    for index, value in enumerate(values):
        places[int(value)].append(index)
    return dict(places)


def members_of(pids: Sequence[int]) -> dict[int, list[int]]:
    """The indices of every person's pictures, people by first appearance.

    Fewer than two people are a `ValueError`.
    """
    members = places_of(pids)
    if len(members) < 2:
        raise ValueError(
            "The training set has one person, and there is nobody to tell it from; add others."
        )
    return members


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


class GroupSampler(EpochSampler):
    """Batches of `together` groups of `each` pictures, every group of another of the `members`.

    What these are, people, cameras or datasets, is for the samplers made of it to say.

    Pictures of one are shuffled and cut into groups; fewer than `each` are filled up with repeats.
    An epoch has as many full batches as the groups allow, the same number every epoch, and members
    come in proportion to the groups they have left: so its end looks like its start, where drawing
    all alike would leave the same few for the last batches. With fewer members than `together` a
    batch shows all of them, and is that much smaller.
    """

    def __init__(self, members: Mapping[int, list[int]], together: int, each: int, seed: int):
        self.members, self.each = dict(members), each
        self.together = min(together, len(self.members))
        super().__init__(seed)

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        groups = {member: self._groups(own, rng) for member, own in self.members.items()}
        counts = np.array([len(g) for g in groups.values()])
        length = counts.sum() // self.together
        while np.minimum(counts, length).sum() < self.together * length:
            length -= 1
        members, batches = list(groups), []
        for left in range(length, 0, -1):
            # Drawn without replacement, with the groups left as weights: the earliest of
            # exponential waiting times. Whoever has a group for every batch left must come now.
            waits = rng.exponential(size=len(members)) / np.maximum(counts, 1)
            waits[counts == 0] = np.inf
            waits[counts >= left] *= 1e-12
            chosen = np.argsort(waits)[: self.together]
            rng.shuffle(chosen)
            batches.append([i for c in chosen for i in groups[members[c]].pop()])
            counts[chosen] -= 1
        return batches

    def _groups(self, own: list[int], rng: np.random.Generator) -> list[list[int]]:
        """Shuffled groups; fewer pictures than a group has give one with repeats."""
        order = rng.permutation(own).tolist()
        if len(order) < self.each:
            return [order + rng.choice(own, self.each - len(order)).tolist()]
        return [order[i : i + self.each] for i in range(0, len(order) - self.each + 1, self.each)]


class Part(list[int]):
    """The indices of one process's part of a batch; `parts` are the lengths of all parts."""

    def __init__(self, indices: Sequence[int], parts: Sequence[int]):
        super().__init__(indices)
        self.parts = tuple(parts)


class SharedSampler:
    """What this one of several processes sees of the batches of `sampler`: a `Part` of each.

    So together they see the batches that one process would. People stay whole: a batch is cut
    between groups of `each` pictures in a row, as long as there is one for each process. Parts are
    as equal as that allows. A batch that is too small to give each process two pictures shows its
    own again.
    """

    def __init__(self, sampler: EpochSampler, each: int = 1):
        self.sampler, self.each = sampler, each

    def set_epoch(self, epoch: int) -> None:
        """Go to `epoch`."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Part]:
        drawn = list(self.sampler)
        # Some are drawn by what a model says, which two processors may not say to the last bit.
        return map(self._cut, processes.from_first(lambda: drawn))

    def _cut(self, batch: list[int]) -> Part:
        count, rank = processes.count(), processes.rank()
        if len(batch) < 2 * count:
            batch = (batch * 2 * count)[: 2 * count]
        whole = len(batch) % self.each == 0 and len(batch) >= self.each * count
        each = self.each if whole else 1
        ends = [len(batch) // each * place // count * each for place in range(count + 1)]
        parts = [end - begin for begin, end in pairwise(ends)]
        return Part(batch[ends[rank] : ends[rank + 1]], parts)


@SAMPLERS
class RandomIdentitySampler(GroupSampler):
    """P x K batches: P distinct people with K = `num_instance` pictures each (Hermans et al., 2017,
    arXiv:1703.07737).

    No picture comes twice in an epoch unless its person has fewer than K. People with many pictures
    come more often; for the rest see `GroupSampler`.
    """

    def __init__(self, pids: Sequence[int], batch_size: int, seed: int, *, num_instance: int = 4):
        people = people_in(batch_size, num_instance)
        super().__init__(members_of(pids), people, num_instance, seed)


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
