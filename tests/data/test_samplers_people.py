"""Samplers that weigh people, held against what 200 seeds of FastReID's showed."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from reidtools.data.samplers_people import (
    BalancedIdentitySampler,
    ImbalancedDatasetSampler,
    SetReWeightSampler,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/samplers.json").read_text())
(FASTREID,) = [entry["samplers"] for entry in GOLDEN if "fast-reid" in entry["source"]]
GOLDEN_IDS = [f"JDAI-CV/fast-reid: {name}" for name in FASTREID if name.startswith("Balanced")]
COUNTS = GOLDEN[0]["counts"]
PIDS = [pid for pid, count in enumerate(COUNTS) for _ in range(count)]
CAMIDS = [i % 3 for count in COUNTS for i in range(count)]


def golden(start):
    """What was observed of FastReID's sampler under the name that begins so."""
    return next(value for name, value in FASTREID.items() if name.startswith(start))


def epochs(sampler, count):
    """The batches of the first `count` epochs, one after the other."""
    batches = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler))
        batches += list(sampler)
    return batches


def blocks_of(batches, pids=PIDS, each=4):
    """The groups of K pictures in each batch, checked to be one person each."""
    blocks = [[batch[i : i + each] for i in range(0, len(batch), each)] for batch in batches]
    assert all(len({pids[i] for i in block}) == 1 for batch in blocks for block in batch)
    return blocks


# BalancedIdentitySampler


def test_balanced_batches_have_the_properties_of_fastreid_s():
    seen = golden("BalancedIdentitySampler (first 10")["observed"]
    once = golden("BalancedIdentitySampler one pass")
    for seed in range(200):
        batches = epochs(BalancedIdentitySampler(PIDS, CAMIDS, 16, seed), 3)
        blocks = blocks_of(batches[: seen["batches"][1]])
        assert len(blocks) == 10 and all(len(batch) == 4 for batch in blocks)
        assert all(len({PIDS[block[0]] for block in batch}) == 4 for batch in blocks)
        first = [PIDS[block[0]] for batch in blocks[: once["batches_per_pass"]] for block in batch]
        assert len(first) == len(set(first)) == once["ids_used_in_first_pass"][0]
        times = Counter(PIDS[block[0]] for batch in blocks for block in batch)
        low, high = seen["max_blocks_of_one_id"]
        assert low <= max(times.values()) <= high
        uses = Counter(i for batch in blocks for block in batch for i in block)
        assert max(uses.values()) <= seen["max_uses_of_one_image"][1]


def test_the_rest_of_a_block_is_from_other_cameras_where_there_are_any():
    rule = golden("BalancedIdentitySampler camera rule")
    assert rule["rest_of_block_always_from_other_cameras"]
    for seed in range(50):
        for batch in blocks_of(epochs(BalancedIdentitySampler(PIDS, CAMIDS, 16, seed), 3)):
            for first, *rest in batch:
                others = [
                    i
                    for i, pid in enumerate(PIDS)
                    if pid == PIDS[first] and CAMIDS[i] != CAMIDS[first]
                ]
                if others:
                    assert set(rest) <= set(others)
                    # FastReID shows no repeats from K other pictures on; here K - 1 are enough.
                    assert len(set(rest)) == min(3, len(others))
                else:
                    assert rest == [first] * 3  # person 0 has one picture


def test_one_camera_gives_other_pictures_of_it():
    pids = [0] * 3 + [1] * 8
    sampler = BalancedIdentitySampler(pids, [5] * 11, 8, 0)
    for batch in blocks_of(epochs(sampler, 20), pids):
        for first, *rest in batch:
            assert first not in rest and len(set(rest)) == (2 if pids[first] == 0 else 3)


def test_passes_go_on_where_an_epoch_ends():
    """73 pictures are 4 batches of 16 an epoch; 14 people are 3 batches a pass: 3 epochs, 4 passes.

    So nobody comes more than once in batches 1-3, 4-6, 7-9 and 10-12, which the epochs cut.
    """
    sampler = BalancedIdentitySampler(PIDS, CAMIDS, 16, 1)
    assert len(PIDS) == 73 and len(sampler) == 4
    batches = epochs(sampler, 3)
    for start in range(0, 12, 3):
        people = [PIDS[i] for batch in batches[start : start + 3] for i in batch[::4]]
        assert len(people) == len(set(people)) == 12
    assert all(a != b for a, b in pairwise(batches))
    again = BalancedIdentitySampler(PIDS, CAMIDS, 16, 1)
    again.set_epoch(2)  # a run that is resumed there
    assert list(again) == batches[8:]
    assert epochs(BalancedIdentitySampler(PIDS, CAMIDS, 16, 2), 3) != batches


def test_few_people_are_all_in_a_balanced_batch():
    pids = [0, 1, 1]
    (batch,) = list(BalancedIdentitySampler(pids, [0, 0, 1], 64, 0))
    assert Counter(pids[i] for i in batch) == {0: 4, 1: 4} and set(batch) == {0, 1, 2}


# SetReWeightSampler: set 0 has people 0-9 with 4 pictures each, set 1 people 10-13 with 12 each

SETS = [0] * 40 + [1] * 48
PEOPLE = [p for p in range(10) for _ in range(4)] + [p for p in range(10, 14) for _ in range(12)]


def test_every_batch_has_the_share_of_each_set():
    sampler = SetReWeightSampler(PEOPLE, SETS, 16, 0, set_weight=[3, 1])
    assert len(sampler) == len(PEOPLE) // 16 == 5
    for batch in blocks_of(epochs(sampler, 10), PEOPLE):
        assert [SETS[block[0]] for block in batch] == [0, 0, 0, 1]
        assert len({PEOPLE[block[0]] for block in batch}) == 4
        assert all(len(set(block)) == 4 for block in batch)


def test_shares_are_equal_where_nothing_is_said_and_may_be_fractions():
    for weights in ([], [0.5, 0.5], [7, 7]):
        for batch in SetReWeightSampler(PEOPLE, SETS, 16, 0, set_weight=weights):
            assert sum(SETS[i] for i in batch) == 8


def test_people_of_a_set_come_by_how_many_pictures_they_have():
    """Of two people with 30 and 10 pictures, one a batch: three of four batches show the first."""
    pids, sets = [0] * 30 + [1] * 10 + [2] * 40, [0] * 40 + [1] * 40
    batches = epochs(SetReWeightSampler(pids, sets, 8, 0), 100)
    share = sum(pids[batch[0]] == 0 for batch in batches) / len(batches)
    assert len(batches) == 1000 and abs(share - 0.75) < 0.05


def test_the_order_of_datasets_counts_not_that_of_samples():
    backwards = SetReWeightSampler(PEOPLE[::-1], SETS[::-1], 16, 0, set_weight=[3, 1])
    assert all(sum(SETS[::-1][i] for i in batch) == 4 for batch in backwards)


@pytest.mark.parametrize(
    ("sources", "weights", "message"),
    [
        ([0] * 88, [], r"there is one; name more in DATASETS\.NAMES"),
        (SETS, [1, 1, 2], r"there are 2 training sets; give DATALOADER\.SAMPLER\.SET_WEIGHT"),
        (SETS, [1, 0], "a positive number for each"),
        (SETS, [2, 1], r"into 5\.33, 2\.67, which are not whole"),
        (SETS, [1, 3], r"number 2 has 4 people, and a batch takes 6 of it; lower"),
    ],
)
def test_shares_that_cannot_be_are_refused(sources, weights, message):
    with pytest.raises(ValueError, match=message):
        SetReWeightSampler(PEOPLE, sources, 32, 0, set_weight=weights)


# ImbalancedDatasetSampler


def test_people_come_equally_often_however_many_pictures_they_have():
    """Of 14 people everyone is in a 14th of the draws, the one with 1 picture like that with 12."""
    sampler = ImbalancedDatasetSampler(PIDS, 16, 0)
    assert [len(batch) for batch in sampler] == [16] * 4
    drawn = Counter(PIDS[i] for batch in epochs(sampler, 500) for i in batch)
    assert sum(drawn.values()) == 32_000
    for pid in range(14):
        assert abs(drawn[pid] / 32_000 - 1 / 14) < 0.01
    (batch,) = list(ImbalancedDatasetSampler([0, 1, 1], 64, 0))
    assert len(batch) == 3  # there are no more


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: BalancedIdentitySampler(PIDS, CAMIDS, 16, seed),
        lambda seed: SetReWeightSampler(PEOPLE, SETS, 16, seed),
        lambda seed: ImbalancedDatasetSampler(PIDS, 16, seed),
    ],
)
def test_seed_and_epoch_decide(build):
    assert epochs(build(3), 3) == epochs(build(3), 3) != epochs(build(4), 3)
    first, second, third = (epochs(build(3), n)[-4:] for n in (1, 2, 3))
    assert first != second != third
    with pytest.raises(ValueError, match="one person"):
        ImbalancedDatasetSampler([7] * 20, 4, 0)
