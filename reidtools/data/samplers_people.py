"""Samplers that weigh people: all alike, by training set, or against the number of pictures."""

from collections.abc import Sequence

import numpy as np

from reidtools.data.samplers import EpochSampler, members_of, people_in, places_of
from reidtools.registry import SAMPLERS


def pick(own: Sequence[int] | np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """`count` of `own` by chance; none comes again before all have come."""
    rounds = -(-count // len(own))
    return np.concatenate([rng.permutation(own) for _ in range(rounds)])[:count].tolist()


@SAMPLERS
class BalancedIdentitySampler(EpochSampler):
    """P x K batches in which all people come equally often, seen by several cameras (FastReID's).

    In a pass every person comes once, in random order; those left over when P no longer remain sit
    it out. A person shows one picture by chance and K - 1, K = `num_instance`, of the others that
    another camera took; where one camera took all, of the others. Where they are fewer than K - 1
    they come again, and a single picture comes K times. (FastReID draws K - 1 or fewer with
    replacement, so that the same may come again while another never does.)

    An epoch has len(pids) // batch_size batches, as in FastReID, for which passes follow one
    another across epochs. With fewer people than P a batch shows all of them.
    https://github.com/JDAI-CV/fast-reid
    """

    def __init__(
        self,
        pids: Sequence[int],
        camids: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        num_instance: int = 4,
    ):
        people, self.num_instance = people_in(batch_size, num_instance), num_instance
        self.members, self.camids = list(members_of(pids).values()), np.asarray(camids)
        self.people = min(people, len(self.members))
        self.length = max(1, len(pids) // (self.people * num_instance))
        super().__init__(seed)

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        each = len(self.members) // self.people  # batches of a pass
        first, last = self.epoch * self.length, (self.epoch + 1) * self.length
        passes = range(first // each, -(-last // each))
        batches = [batch for number in passes for batch in self._pass(number)]
        start = first - passes.start * each
        return batches[start : start + self.length]

    def _pass(self, number: int) -> list[list[int]]:
        # Its own generator, since two epochs may share a pass.
        rng = np.random.default_rng((self.seed, number, 2))
        order = rng.permutation(len(self.members)).tolist()
        blocks = [self._block(np.asarray(self.members[person]), rng) for person in order]
        ends = range(self.people, len(blocks) + 1, self.people)
        return [[i for block in blocks[end - self.people : end] for i in block] for end in ends]

    def _block(self, own: np.ndarray, rng: np.random.Generator) -> list[int]:
        """K pictures of one person."""
        first = rng.integers(len(own))
        others = own[self.camids[own] != self.camids[own[first]]]
        others = others if len(others) else np.delete(own, first)
        others = others if len(others) else own
        return [int(own[first]), *pick(others, self.num_instance - 1, rng)]


@SAMPLERS
class SetReWeightSampler(EpochSampler):
    """P x K batches with fixed shares of several training sets (FastReID's).

    Of the P people of a batch each set of DATASETS.NAMES brings a share in proportion to its number
    in `set_weight`, in that order: ``[3, 1]`` and P = 16 are 12 people of the first and 4 of the
    second. Empty is equal shares. Within a set people are drawn by how many pictures they have, and
    K = `num_instance` pictures of each; none comes twice in a batch unless its person has fewer.
    Batches are independent, and an epoch has len(pids) // batch_size of them, as in FastReID.

    (FastReID takes cameras for sets, and waits for a batch size that its own check excludes.)
    https://github.com/JDAI-CV/fast-reid
    """

    def __init__(
        self,
        pids: Sequence[int],
        sources: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        num_instance: int = 4,
        set_weight: Sequence[float] = (),
    ):
        people, self.num_instance = people_in(batch_size, num_instance), num_instance
        members = members_of(pids)
        by_set = places_of([sources[own[0]] for own in members.values()])
        everyone = list(members.values())
        self.sets = [[everyone[place] for place in by_set[source]] for source in sorted(by_set)]
        self.shares = self._shares(people, list(set_weight) or [1] * len(self.sets))
        self.length = max(1, len(pids) // batch_size)
        super().__init__(seed)

    def _shares(self, people: int, weights: list[float]) -> list[int]:
        """How many people of each set a batch of `people` shows."""
        count = len(self.sets)
        if count < 2:
            raise ValueError(
                "SetReWeightSampler weighs several training sets, and there is one; name more in "
                "DATASETS.NAMES, or set DATALOADER.SAMPLER.NAME RandomIdentitySampler."
            )
        if len(weights) != count or not all(w > 0 for w in weights):
            raise ValueError(
                f"SET_WEIGHT is {weights}, and there are {count} training sets; give "
                "DATALOADER.SAMPLER.SET_WEIGHT a positive number for each of DATASETS.NAMES, or "
                "leave it empty for equal shares."
            )
        shares = [people * weight / sum(weights) for weight in weights]
        if any(abs(share - round(share)) > 1e-6 for share in shares):
            raise ValueError(
                f"SET_WEIGHT {weights} divides the {people} people of a batch into "
                f"{', '.join(f'{share:.3g}' for share in shares)}, which are not whole; choose "
                "weights whose sum divides SOLVER.IMS_PER_BATCH / NUM_INSTANCE."
            )
        for place, (own, share) in enumerate(zip(self.sets, shares, strict=True)):
            if len(own) < round(share):
                raise ValueError(
                    f"The training set number {place + 1} has {len(own)} people, and a batch takes "
                    f"{round(share)} of it; lower its SET_WEIGHT or SOLVER.IMS_PER_BATCH."
                )
        return [round(share) for share in shares]

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        counts = [np.array([len(own) for own in people]) for people in self.sets]
        batches: list[list[int]] = []
        for _ in range(self.length):
            batches.append([])
            for people, count, share in zip(self.sets, counts, self.shares, strict=True):
                for person in rng.choice(len(people), share, replace=False, p=count / count.sum()):
                    batches[-1] += pick(people[person], self.num_instance, rng)
        return batches


@SAMPLERS
class ImbalancedDatasetSampler(EpochSampler):
    """Single pictures, each drawn with a chance of 1 / the number of pictures of its person.

    So people come equally often, however many pictures they have. Pictures are drawn with
    replacement; an epoch has len(pids) // batch_size batches. For losses that need no pairs.
    https://github.com/ufoym/imbalanced-dataset-sampler, also in FastReID.
    """

    def __init__(self, pids: Sequence[int], batch_size: int, seed: int):
        members = members_of(pids)
        self.chances = np.array([1 / (len(members) * len(members[int(pid)])) for pid in pids])
        self.batch_size = min(batch_size, len(pids))
        super().__init__(seed)

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        length, count = len(self.chances) // self.batch_size, len(self.chances)
        return rng.choice(count, (length, self.batch_size), p=self.chances).tolist()
