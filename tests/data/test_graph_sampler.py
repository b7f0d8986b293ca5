"""Graph sampling: who meets whom by a naive loop, when a graph is built, how pictures are dealt."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from reidtools.data.graph_sampler import GraphSampler, TextGraphSampler
from reidtools.data.samplers import RandomIdentitySampler, RandomSampler
from reidtools.ops.distances import chunks

PEOPLE, EACH = 40, 6
PIDS = [100 + person for person in range(PEOPLE) for _ in range(EACH)]  # labels need not begin at 0
FEATURES = torch.randn(PEOPLE, 8, generator=torch.Generator().manual_seed(0))


class Model:
    """Gives each picture the vector of its person, and counts how often it is asked."""

    def __init__(self, pids=PIDS, vectors=FEATURES):
        self.people, self.vectors = np.unique(pids, return_inverse=True)[1], vectors
        self.asked = []

    def __call__(self, indices):
        self.asked.append(indices)
        return self.vectors[torch.as_tensor(self.people[indices])]


def graph_sampler(model=None, seed=0, **options):
    return GraphSampler(PIDS, 64, seed, model or Model(), **options)


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def people_of(batch, pids=PIDS, each=4):
    """The people of a batch in order, each checked to have `each` pictures in a row."""
    people = [pids[index] for index in batch[::each]]
    assert [pids[index] for index in batch] == np.repeat(people, each).tolist()
    return people


def nearest_by_loop(person, count, vectors=FEATURES):
    """The `count` others with the greatest cosine to `person`, nearest first."""
    cosines = {}
    for other in range(len(vectors)):
        if other != person:
            a, b = vectors[person].double(), vectors[other].double()
            cosines[other] = float(a @ b / (a.norm() * b.norm()))
    return sorted(cosines, key=cosines.get, reverse=True)[:count]


def test_every_person_meets_the_nearest_others():
    sampler = graph_sampler()
    batches = list(sampler)
    assert len(batches) == len(sampler) == PEOPLE
    assert all(len(batch) == 64 for batch in batches)
    firsts = []
    for batch in batches:
        anchor, *others = [pid - 100 for pid in people_of(batch)]
        assert others == nearest_by_loop(anchor, 15)
        firsts.append(anchor)
    assert sorted(firsts) == list(range(PEOPLE)) != firsts  # all of them, shuffled


def test_a_graph_whose_distances_do_not_fit_in_memory_at_once_is_the_same(monkeypatch):
    whole = list(graph_sampler())
    row_by_row = partial(chunks, memory_mb=0)
    assert len(list(row_by_row(FEATURES, FEATURES, "cosine"))) == PEOPLE
    monkeypatch.setattr("reidtools.data.graph_sampler.chunks", row_by_row)
    assert list(graph_sampler()) == whole


def test_a_picture_of_each_person_is_asked_for_and_not_always_the_same():
    model = Model()
    sampler = graph_sampler(model)
    for epoch in range(3):
        epoch_of(sampler, epoch)
    assert [[PIDS[i] for i in asked] for asked in model.asked] == [sorted(set(PIDS))] * 3
    assert len({tuple(asked) for asked in model.asked}) == 3


def test_a_graph_is_built_when_batches_are_asked_for_and_once_an_epoch():
    model = Model()
    sampler = graph_sampler(model)
    sampler.set_epoch(1)
    assert len(sampler) == PEOPLE and not model.asked
    assert list(sampler) == list(sampler) and len(model.asked) == 1


def test_before_begin_another_sampler_draws():
    model = Model()
    sampler = graph_sampler(model, begin=2, num_instance=2)
    plain = RandomIdentitySampler(PIDS, 64, 0, num_instance=2)
    for epoch in range(2):
        assert epoch_of(sampler, epoch) == epoch_of(plain, epoch)
        assert len(sampler) == len(plain) == 3  # 40 people x 3 groups of 2 / 32 people a batch
    assert not model.asked
    assert len(epoch_of(sampler, 2)) == len(sampler) == PEOPLE and len(model.asked) == 1


def test_the_first_sampler_is_built_with_the_options_it_has():
    sampler = graph_sampler(begin=1, first="RandomSampler")
    assert list(sampler) == list(RandomSampler(PIDS, 64, 0))


def test_a_graph_lasts_for_every_epochs_counted_from_begin():
    model = Model()
    sampler = graph_sampler(model, begin=2, every=3)
    built = []
    for epoch in range(9):
        before = len(model.asked)
        epoch_of(sampler, epoch)
        built += [epoch] * (len(model.asked) - before)
    assert built == [2, 5, 8]


def test_between_rebuilds_neighbours_stay_and_the_rest_is_drawn_anew():
    model = Model()
    sampler = graph_sampler(model, every=2)
    first = epoch_of(sampler, 0)
    model.vectors = FEATURES.flip(0)  # the model has learned, but the graph is still that of before
    second = epoch_of(sampler, 1)
    assert first != second
    neighbours = sorted(people_of(batch) for batch in first)
    assert neighbours == sorted(people_of(batch) for batch in second)
    third = epoch_of(sampler, 2)
    assert neighbours != sorted(people_of(batch) for batch in third)


def test_a_resumed_run_builds_its_graph_at_once_and_goes_on_as_it_would_have():
    """Features that depend on the picture: the resumed run must ask for the same pictures."""
    vectors = torch.randn(len(PIDS), 8, generator=torch.Generator().manual_seed(1))
    whole, resumed = (graph_sampler(lambda drawn: vectors[drawn], every=4) for _ in range(2))
    epochs = [epoch_of(whole, epoch) for epoch in range(8)]
    assert [epoch_of(resumed, epoch) for epoch in range(6, 8)] == epochs[6:]


def test_seed_and_epoch_decide():
    assert epoch_of(graph_sampler(seed=3), 5) == epoch_of(graph_sampler(seed=3), 5)
    assert epoch_of(graph_sampler(seed=3), 5) != epoch_of(graph_sampler(seed=4), 5)
    assert epoch_of(graph_sampler(seed=3), 5) != epoch_of(graph_sampler(seed=3), 6)


def test_over_an_epoch_a_person_s_pictures_come_equally_often():
    """People have 4 to 9 pictures: of 5, the second draw of 4 takes the last and 3 others."""
    pids = [person for person in range(20) for _ in range(4 + person % 6)]
    vectors = FEATURES[:20]
    for seed in range(10):
        batches = list(GraphSampler(pids, 32, seed, Model(pids, vectors)))
        uses = Counter(index for batch in batches for index in batch)
        for person in range(20):
            own = [uses[index] for index, pid in enumerate(pids) if pid == person]
            assert max(own) - min(own) <= 1 and sum(own) % 4 == 0
        assert all(len(set(batch)) == 32 for batch in batches)  # no picture twice


def test_few_pictures_are_repeated():
    pids = [0, 1, 1, 2, 2, 2]
    for batch in GraphSampler(pids, 12, 0, Model(pids, torch.eye(3))):
        assert Counter(pids[index] for index in batch) == {0: 4, 1: 4, 2: 4}
        uses = Counter(batch)
        assert uses[0] == 4 and uses[1] == uses[2] == 2 and {uses[3], uses[4], uses[5]} == {1, 2}


def test_batches_show_all_people_where_there_are_fewer_than_asked_for():
    pids = [person for person in range(5) for _ in range(4)]
    batches = list(GraphSampler(pids, 64, 0, Model(pids, FEATURES[:5])))
    assert len(batches) == 5
    assert all(sorted(batch) == list(range(20)) for batch in batches)


def test_text_features_make_the_same_graph():
    texts = TextGraphSampler(PIDS, 64, 0, Model(), every=2, begin=1)
    pictures = graph_sampler(every=2, begin=1)
    for epoch in range(4):
        assert epoch_of(texts, epoch) == epoch_of(pictures, epoch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_instance": 5}, r"multiple of DATALOADER\.SAMPLER\.NUM_INSTANCE"),
        ({"num_instance": 64}, r"nobody to tell it from; raise SOLVER\.IMS_PER_BATCH"),
        ({"begin": -1}, r"begin is -1; choose the first epoch with a graph, 0 or later"),
        ({"every": 0}, r"every is 0; let a graph last for 1 epoch or more"),
        ({"first": "TextGraphSampler"}, r"needs text_features besides pids; choose .*such as"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        graph_sampler(**options)


def test_an_unknown_first_sampler_is_refused():
    with pytest.raises(LookupError, match=r"Did you mean 'RandomSampler'"):
        graph_sampler(first="RandomSampler2")


def test_features_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"40 pictures are of shape \(3, 8\); give one row for e"):
        list(graph_sampler(lambda drawn: FEATURES[:3]))
    with pytest.raises(ValueError, match=r"not finite; lower SOLVER\.BASE_LR"):
        list(graph_sampler(lambda drawn: FEATURES / 0))
