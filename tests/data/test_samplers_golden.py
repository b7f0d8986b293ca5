"""What the sampler of centroids-reid does and ours does too (tests/golden/README.md)."""

import json
from collections import Counter
from pathlib import Path

import pytest

from reidtools.data.samplers import RandomIdentitySampler

PROJECT = "mikwieczorek/centroids-reid"
(GOLDEN,) = [
    entry
    for entry in json.loads((Path(__file__).parents[1] / "golden/samplers.json").read_text())
    if entry["source"] == PROJECT
]
((NAME, THEIRS),) = GOLDEN["samplers"].items()
GOLDEN_IDS = [f"{PROJECT}: {NAME}"]
# Without person 0, of whom there is one picture.
PIDS = [pid for pid, count in enumerate(GOLDEN["counts"]) if pid for _ in range(count)]


def people_of(batch):
    """The person of each group of K = 4 pictures."""
    return [PIDS[i] for i in batch[::4]]


@pytest.mark.parametrize("seed", range(20))
def test_an_epoch_is_as_long_and_repeats_by_its_number(seed):
    sampler = RandomIdentitySampler(PIDS, 16, seed)
    first = list(sampler)
    groups = [people_of(batch) for batch in first]
    assert [sum(map(len, groups))] * 2 == THEIRS["yielded"]
    assert all(len(set(people)) == GOLDEN["P"] for people in groups)
    assert THEIRS["batch_has_P_distinct_ids"] and THEIRS["same_epoch_same_order"]
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_people_come_as_often_but_for_incomplete_groups():
    """Theirs fills up what is left of a person, unless one picture; ours leaves it for later."""
    ours = Counter()
    for seed in range(200):
        times = Counter(p for b in RandomIdentitySampler(PIDS, 16, seed) for p in people_of(b))
        ours |= times  # the most in one epoch
    counts = enumerate(GOLDEN["counts"])
    left = {pid: int(count > 4 and count % 4 > 1) for pid, count in counts if pid}
    assert {pid: ours[pid] + left[pid] for pid in left} == {
        int(pid): times for pid, times in THEIRS["occurrences_per_pid"].items()
    }
    assert sum(ours.values()) + sum(left.values()) == THEIRS["len_before_iteration"]
