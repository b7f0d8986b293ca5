import json
from collections import Counter
from pathlib import Path

import pytest

from reidtools.data.samplers import RandomIdentitySampler, RandomSampler

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/samplers.json").read_text())
COUNTS = GOLDEN[0]["counts"]
PIDS = [pid for pid, count in enumerate(COUNTS) for _ in range(count)]
SAME = [
    e for e in GOLDEN if "RandomIdentitySampler" in e["samplers"]
]  # three projects, one sampler
(FASTREID,) = [e["samplers"] for e in GOLDEN if "fast-reid" in e["source"]]
(STREAM,) = [name for name in FASTREID if name.startswith("NaiveIdentity")]
GOLDEN_IDS = [f"{e['source']}: RandomIdentitySampler" for e in SAME]
GOLDEN_IDS += [f"JDAI-CV/fast-reid: {STREAM}"]


def blocks_of(batches):
    """The groups of K = 4 pictures in each batch of 16, checked to be one person each."""
    blocks = [[batch[i : i + 4] for i in range(0, 16, 4)] for batch in batches]
    assert all(len({PIDS[i] for i in block}) == 1 for batch in blocks for block in batch)
    return blocks


@pytest.mark.parametrize("entry", SAME, ids=[e["source"] for e in SAME])
def test_properties_of_the_peers_sampler_hold(entry):
    """What 200 seeds of theirs showed, 200 of ours must show."""
    seen = entry["samplers"]["RandomIdentitySampler"]["observed"]
    assert len(SAME) == 3 and (entry["P"], entry["K"], entry["counts"]) == (4, 4, COUNTS)
    for seed in range(200):
        batches = list(RandomIdentitySampler(PIDS, 16, seed))
        assert seen["batches"][0] <= len(batches) <= seen["batches"][1]
        assert all(len(batch) == 16 for batch in batches)  # nothing left over
        blocks = blocks_of(batches)
        assert all(len({PIDS[block[0]] for block in batch}) == 4 for batch in blocks)
        for index, count in Counter(i for batch in batches for i in batch).items():
            small = COUNTS[PIDS[index]] < 4
            assert count <= (seen["max_uses_of_one_image"][1] if small else 1)
        times = Counter(PIDS[block[0]] for batch in blocks for block in batch)
        assert max(times.values()) <= seen["max_blocks_of_one_id"][1]


def test_properties_of_fastreid_s_endless_stream_hold():
    """FastReID goes on for ever; our epochs, one after the other, keep the same promises."""
    seen = FASTREID[STREAM]["observed"]
    for seed in range(200):
        sampler, batches = RandomIdentitySampler(PIDS, 16, seed), []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            batches += list(sampler)
        blocks = blocks_of(batches[: seen["batches"][1]])
        assert all(len({PIDS[block[0]] for block in batch}) == 4 for batch in blocks)
        full = [block for batch in blocks for block in batch if COUNTS[PIDS[block[0]]] >= 4]
        assert all(len(set(block)) == 4 for block in full)
        uses = Counter(i for batch in blocks for block in batch for i in block)
        assert max(uses.values()) <= seen["max_uses_of_one_image"][1]


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


def test_an_epoch_ends_as_it_begins():
    """Half of the people have six groups, half have one; both halves come at a steady rate."""
    pids = [p for p in range(64) for _ in range(24 if p < 32 else 4)]
    first = second = 0
    for seed in range(20):
        batches = list(RandomIdentitySampler(pids, 64, seed))
        rich = [sum(pids[i] < 32 for i in batch) for batch in batches]
        first += sum(rich[: len(rich) // 2])
        second += sum(rich[len(rich) // 2 :])
    assert len(batches) == 14 and abs(first - second) < 0.05 * (first + second)


def test_few_pictures_are_drawn_with_repeats():
    pids = [0, 1, 1, 2, 2, 2]
    (batch,) = list(RandomIdentitySampler(pids, 12, 0))
    assert Counter(pids[i] for i in batch) == {0: 4, 1: 4, 2: 4}
    assert set(batch) == set(range(6))


def test_impossible_batches_are_refused_with_the_keys_to_change():
    with pytest.raises(ValueError, match=r"multiple of DATALOADER\.SAMPLER\.NUM_INSTANCE"):
        RandomIdentitySampler(PIDS, 18, 0)
    with pytest.raises(ValueError, match=r"has one person, and there is nobody to tell it from"):
        RandomIdentitySampler([7] * 20, 64, 0)


def test_batches_show_all_people_where_there_are_fewer_than_asked_for():
    assert len(set(PIDS)) == 14
    batches = list(RandomIdentitySampler(PIDS, 64, 0))
    assert batches and {len(batch) for batch in batches} == {56}
    for batch in batches:
        assert set(Counter(PIDS[i] for i in batch).values()) == {4}


def test_random_sampler_sees_every_picture_once():
    sampler = RandomSampler([0] * 10, 4, 0)
    assert [len(batch) for batch in sampler] == [4, 4]
    assert len({i for batch in sampler for i in batch}) == 8
    assert list(RandomSampler([0, 1], 4, 0)) in ([[0, 1]], [[1, 0]])


def test_random_sampler_may_keep_an_incomplete_last_batch_but_never_an_empty_one():
    batches = list(RandomSampler([0] * 10, 4, 0, drop_last=False))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(i for batch in batches for i in batch) == list(range(10))
    assert batches[:2] == list(RandomSampler([0] * 10, 4, 0))
    assert [len(batch) for batch in RandomSampler([0] * 8, 4, 0, drop_last=False)] == [4, 4]
    assert [len(batch) for batch in RandomSampler([0] * 3, 4, 0, drop_last=False)] == [3]


def test_one_person_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"nobody to tell it from; raise SOLVER\.IMS_PER_BATCH"):
        RandomIdentitySampler([0, 0, 1, 1], 4, 0, num_instance=4)
