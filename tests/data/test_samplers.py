import json
from collections import Counter
from pathlib import Path

import pytest

from reidtools.data.samplers import RandomIdentitySampler, RandomSampler

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/samplers.json").read_text())
COUNTS = GOLDEN[0]["counts"]
PIDS = [pid for pid, count in enumerate(COUNTS) for _ in range(count)]


def test_properties_of_the_peers_samplers_hold():
    """torchreid, CLIP-ReID and TransReID: what 200 seeds of theirs showed, ours must show too."""
    seen = GOLDEN[0]["samplers"]["RandomIdentitySampler"]["observed"]
    for seed in range(200):
        batches = list(RandomIdentitySampler(PIDS, 16, seed))
        assert seen["batches"][0] <= len(batches) <= seen["batches"][1]
        blocks = [[batch[i : i + 4] for i in range(0, 16, 4)] for batch in batches]
        for batch in blocks:
            people = [{PIDS[i] for i in block} for block in batch]
            assert all(len(p) == 1 for p in people)  # an id's pictures stand together
            assert len(set.union(*people)) == 4  # P distinct ids
        uses = Counter(i for batch in batches for i in batch)
        for index, count in uses.items():
            small = COUNTS[PIDS[index]] < 4
            assert count <= (seen["max_uses_of_one_image"][1] if small else 1)
        times = Counter(PIDS[block[0]] for batch in blocks for block in batch)
        assert max(times.values()) <= seen["max_blocks_of_one_id"][1]


def test_epochs_differ_but_have_equal_length_and_repeat_by_seed():
    sampler = RandomIdentitySampler(PIDS, 16, 3)
    epochs = []
    for epoch in range(10):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert {len(e) for e in epochs} == {4} == {len(sampler)}
    assert epochs[0] != epochs[1]
    sampler.set_epoch(0)
    assert list(sampler) == epochs[0]
    assert list(RandomIdentitySampler(PIDS, 16, 4)) != epochs[0]


def test_an_epoch_has_every_batch_that_the_groups_allow():
    """Person 0 has 8 groups, eight others one each: 8 batches of two people, none wasted."""
    pids = [0] * 32 + [p for p in range(1, 9) for _ in range(4)]
    batches = list(RandomIdentitySampler(pids, 8, 0))
    assert len(batches) == 8
    assert sorted(i for b in batches for i in b) == list(range(64))


def test_few_pictures_are_drawn_with_repeats():
    pids = [0, 1, 1, 2, 2, 2]
    (batch,) = list(RandomIdentitySampler(pids, 12, 0))
    assert Counter(pids[i] for i in batch) == {0: 4, 1: 4, 2: 4}
    assert set(batch) == set(range(6))


def test_impossible_batches_are_refused_with_the_keys_to_change():
    with pytest.raises(ValueError, match=r"multiple of DATALOADER\.SAMPLER\.NUM_INSTANCE"):
        RandomIdentitySampler(PIDS, 18, 0)
    with pytest.raises(ValueError, match=r"wants 16 different people.*has 14.*at most 56"):
        RandomIdentitySampler(PIDS, 64, 0)


def test_random_sampler_sees_every_picture_once():
    sampler = RandomSampler([0] * 10, 4, 0)
    assert [len(batch) for batch in sampler] == [4, 4]
    assert len({i for batch in sampler for i in batch}) == 8
    assert list(RandomSampler([0, 1], 4, 0)) in ([[0, 1]], [[1, 0]])
