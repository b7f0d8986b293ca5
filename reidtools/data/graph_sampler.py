"""Graph sampling: people who are hard to tell apart meet in a batch."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from reidtools.data.samplers import EpochSampler, members_of, people_in
from reidtools.ops.distances import chunks, nearest
from reidtools.registry import SAMPLERS, facts, options

FeaturesOf = Callable[[list[int]], Tensor]


@SAMPLERS
class GraphSampler(EpochSampler):
    """Graph sampling on image features (Liao & Shao, CVPR 2022, arXiv:2104.01546), for any recipe.

    The graph: of each of the C people one picture is drawn, and
    ``image_features(indices: list[int]) -> (C, D)`` gives what the model makes of them now. Every
    person is joined to the P - 1 people nearest by cosine distance, P being batch_size /
    num_instance (all others, if there are fewer).

    An epoch: C batches in random order, one for each person, with that person, who comes first, and
    the P - 1 neighbours, K pictures each. A person's pictures are shuffled and dealt, and shuffled
    anew when all were dealt, so that over an epoch they come equally often, give or take one. No
    picture comes twice in a batch unless its person has fewer than K.

    num_instance: K, the pictures of a person in a batch.
    begin: the first epoch, counted from 0, with a graph.
    every: how many epochs a graph lasts before it is built again.
    first: the sampler of the epochs before `begin`, by name; it has its own defaults but
        num_instance. Its epochs may have another length.

    All is drawn from the seed and the epoch (that of the graph, for the pictures in it), and only
    when batches are asked for, not by ``set_epoch`` or ``len``. A run resumed between two rebuilds
    has no graph yet and builds it at once, so with the features of that moment.

    Raises `ValueError` for options that contradict each other, `LookupError` for an unknown name in
    `first`.
    """

    def __init__(
        self,
        pids: Sequence[int],
        batch_size: int,
        seed: int,
        image_features: FeaturesOf,
        *,
        num_instance: int = 4,
        begin: int = 0,
        every: int = 1,
        first: str = "RandomIdentitySampler",
    ):
        people, self.num_instance = people_in(batch_size, num_instance), num_instance
        if begin < 0:
            raise ValueError(f"begin is {begin}; choose the first epoch with a graph, 0 or later.")
        if every < 1:
            raise ValueError(f"every is {every}; let a graph last for 1 epoch or more.")
        members = members_of(pids)
        self.members = list(members.values())  # person c of the graph -> indices
        self.people = min(people, len(self.members))
        self.features_of, self.begin, self.every = image_features, begin, every
        self.first = _plain_sampler(first, pids, batch_size, seed, num_instance)
        # (C, P): a person, then its neighbours, nearest first; without rows until one is built
        self.graph = np.empty((0, self.people), np.int64)
        self._built = -1  # the epoch whose graph that is
        super().__init__(seed)

    def set_epoch(self, epoch: int) -> None:
        """Go to `epoch`, without drawing anything yet."""
        super().set_epoch(epoch)
        self.first.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.members) if self.epoch >= self.begin else len(self.first)

    def _draw(self, rng: np.random.Generator) -> list[list[int]]:
        if self.epoch < self.begin:
            return list(self.first)
        due = self.epoch - (self.epoch - self.begin) % self.every
        if self._built != due:
            # Its own generator: an epoch's batches must not depend on when the graph was built.
            self.graph = self._neighbours(np.random.default_rng((self.seed, due, 1)))
            self._built = due
        decks = [_Deck(own, rng) for own in self.members]
        return [
            [index for person in row for index in decks[person].deal(self.num_instance)]
            for row in rng.permutation(self.graph).tolist()
        ]

    def _neighbours(self, rng: np.random.Generator) -> np.ndarray:
        drawn = [own[rng.integers(len(own))] for own in self.members]
        features = self.features_of(drawn).detach().float()  # (C, D)
        if features.ndim != 2 or len(features) != len(drawn):
            raise ValueError(
                f"Features of {len(drawn)} pictures are of shape {tuple(features.shape)}; "
                "give one row for each picture."
            )
        if not features.isfinite().all():
            raise ValueError(
                "The features that people are compared by are not finite; lower SOLVER.BASE_LR, "
                "or train without half precision."
            )
        graph = np.empty((len(drawn), self.people), np.int64)
        graph[:, 0] = np.arange(len(drawn))
        for rows, distances in chunks(features, features, "cosine"):
            distances[:, rows].fill_diagonal_(float("inf"))  # nobody is its own neighbour
            graph[rows, 1:] = nearest(distances, self.people - 1)[1].cpu().numpy()
        return graph


@SAMPLERS
class TextGraphSampler(GraphSampler):
    """Graph sampling (arXiv:2104.01546) on text features, for CLIP-ReID (arXiv:2211.13977).

    ``text_features(indices: list[int]) -> (C, D)`` gives the features of a text about each picture:
    its caption, or the learned prompt of its person. All else, and the options num_instance, begin,
    every and first, as for `GraphSampler`.
    """

    def __init__(
        self,
        pids: Sequence[int],
        batch_size: int,
        seed: int,
        text_features: FeaturesOf,
        *,
        num_instance: int = 4,
        begin: int = 0,
        every: int = 1,
        first: str = "RandomIdentitySampler",
    ):
        super().__init__(
            pids,
            batch_size,
            seed,
            text_features,
            num_instance=num_instance,
            begin=begin,
            every=every,
            first=first,
        )


class _Deck:
    """A person's pictures as shuffled cards, dealt to the last before they are shuffled again."""

    def __init__(self, own: list[int], rng: np.random.Generator):
        self.own, self.rng = own, rng
        self.cards: list[int] = []

    def deal(self, count: int) -> list[int]:
        """The next `count` cards; none twice unless there are fewer."""
        hand: list[int] = []
        while len(hand) < count:
            if not self.cards:
                # What is in the hand already goes to the bottom of the new deck.
                self.cards = sorted(self.rng.permutation(self.own).tolist(), key=hand.count)
            wanted = count - len(hand)
            hand += self.cards[:wanted]
            self.cards = self.cards[wanted:]
        return hand


def _plain_sampler(
    name: str, pids: Sequence[int], batch_size: int, seed: int, num_instance: int
) -> EpochSampler:
    """The sampler called `name`, which must need no features."""
    maker = SAMPLERS[name]
    known = {"pids": pids, "batch_size": batch_size, "seed": seed}
    if lacking := set(facts(maker)) - set(known):
        raise ValueError(
            f"first is {name}, which needs {', '.join(sorted(lacking))} besides pids; choose a "
            "sampler that does without, such as RandomIdentitySampler."
        )
    shared = {"num_instance": num_instance} if "num_instance" in options(maker) else {}
    return SAMPLERS.build(name, known, shared)
