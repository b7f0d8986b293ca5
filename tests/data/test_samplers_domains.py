"""Samplers that mix cameras or training sets in equal parts."""

from collections import Counter

import pytest

from reidtools.data.samplers_domains import RandomDatasetSampler, RandomDomainSampler

CAMERAS = [0] * 40 + [1] * 32 + [2] * 24 + [5] * 16  # numbers need not follow one another


def test_a_batch_has_equally_many_pictures_of_each_camera_drawn():
    sampler = RandomDomainSampler(CAMERAS, 8, 0, n_domain=2)
    seen = set()
    for epoch in range(10):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 14  # 28 groups of 4, and no camera has more than 14
        for batch in batches:
            assert sorted(Counter(CAMERAS[i] for i in batch).values()) == [4, 4]
            seen.add(frozenset(CAMERAS[i] for i in batch))
        used = [i for batch in batches for i in batch]
        assert len(used) == len(set(used)) == 112
    assert len(seen) == 6  # all pairs of four cameras


def test_all_cameras_together_end_with_the_scarcest():
    """Camera 5 has 16 pictures, 2 a batch: 8 batches of 8, which is 64 of 112 pictures."""
    batches = list(RandomDomainSampler(CAMERAS, 8, 0))
    assert len(batches) == 8
    for batch in batches:
        assert Counter(CAMERAS[i] for i in batch) == {0: 2, 1: 2, 2: 2, 5: 2}


def test_an_epoch_that_shows_little_is_told(caplog):
    RandomDomainSampler(CAMERAS, 8, 0)
    assert not caplog.messages
    (batch,) = list(RandomDomainSampler([*CAMERAS, 7, 7], 20, 0))
    assert Counter(batch)[112] + Counter(batch)[113] == 4  # camera 7 repeats its two
    (told,) = caplog.messages
    assert "An epoch shows 20 of 114 pictures" in told and "camera with the fewest, 2" in told
    assert told.endswith("lower DATALOADER.SAMPLER.N_DOMAIN.")


def test_training_sets_in_equal_parts_until_the_smallest_was_shown():
    sources = [0] * 60 + [1] * 24
    sampler = RandomDatasetSampler(sources, 16, 0)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 3
    assert all(Counter(sources[i] for i in batch) == {0: 8, 1: 8} for batch in batches)
    assert {i for batch in batches for i in batch if i >= 60} == set(range(60, 84))
    sampler.set_epoch(1)
    assert list(sampler) != batches
    assert list(RandomDatasetSampler(sources, 16, 0)) == batches


def test_some_of_several_training_sets():
    sources = [0] * 32 + [1] * 32 + [2] * 32
    batches = list(RandomDatasetSampler(sources, 8, 0, n_dataset=2))
    assert len(batches) == 12
    assert all(sorted(Counter(sources[i] for i in b).values()) == [4, 4] for b in batches)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomDatasetSampler([0] * 9, 8, 0), "one training set to train on; add others"),
        (lambda: RandomDomainSampler([3] * 9, 8, 0), "mixes cameras, and there is one camera"),
        (
            lambda: RandomDomainSampler(CAMERAS, 10, 0),
            r"10 cannot hold .* of 4 cameras; make SOLVER\.IMS_PER_BATCH a multiple of 4",
        ),
        (
            lambda: RandomDomainSampler(CAMERAS, 10, 0, n_domain=5),
            r"N_DOMAIN is 5, and there are 4 cameras",
        ),
        (
            lambda: RandomDatasetSampler([0, 1] * 8, 8, 0, n_dataset=-1),
            r"N_DATASET is -1, and there are 2 training sets",
        ),
    ],
)
def test_what_cannot_be_mixed_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
