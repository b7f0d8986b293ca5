import numpy as np
import pytest
import torch

from reidtools.data.frames import FrameChoice, one_by_one, seen_frames
from reidtools.data.samples import Sample


def tracklets(*counts):
    return [
        Sample(tuple(f"{pid}_{i:02d}.jpg" for i in range(count)), pid, 0)
        for pid, count in enumerate(counts)
    ]


def test_random_frames_are_in_order_without_repeats():
    choice = FrameChoice(0, frames=5)
    drawn = choice([30] * 50, range(50))
    assert all(len(set(own)) == 5 and own == sorted(own) for own in drawn)
    assert {place for own in drawn for place in own} == set(range(30))
    assert len({tuple(own) for own in drawn}) > 40


def test_the_draw_belongs_to_seed_epoch_and_batch():
    choice = FrameChoice(7, frames=3)
    first = choice([20, 20], [4, 9])
    assert first == choice([20, 20], [4, 9]) == FrameChoice(7, frames=3)([20, 20], [4, 9])
    assert first[0] != first[1]  # also where a sample comes twice
    choice.epoch = 1
    later = choice([20, 20], [4, 9])
    assert first != later != FrameChoice(7, frames=3)([20, 20], [4, 8])


@pytest.mark.parametrize("how", ["random", "even"])
def test_short_tracklets_repeat_their_last_frame(how):
    (places,) = FrameChoice(0, frames=25, frame_choice=how)([10], [0])
    assert places == [*range(10), *[9] * 15]
    assert FrameChoice(0, frames=4, frame_choice=how)([4], [0]) == [[0, 1, 2, 3]]


def test_even_frames_reach_from_the_first_to_the_last():
    assert FrameChoice(0, frames=3, frame_choice="even")([9], [0]) == [[0, 4, 8]]
    (places,) = FrameChoice(0, frames=25, frame_choice="even")([100], [0])
    assert places == np.floor(np.linspace(0, 99, 25)).astype(int).tolist()


def test_a_test_sees_all_or_some_and_repeats_none():
    samples = tracklets(3, 9)
    assert seen_frames(samples, 4, 0) == samples
    short, even = seen_frames(samples, 4, 0, frame_choice="even")
    assert short == samples[0] and even.paths == tuple(samples[1].paths[i] for i in (0, 2, 5, 8))
    drawn = seen_frames(samples, 4, 0, frame_choice="random")
    assert drawn == seen_frames(samples, 4, 0, frame_choice="random")
    assert len(set(drawn[1].paths)) == 4 and list(drawn[1].paths) == sorted(drawn[1].paths)


def test_an_unknown_choice_is_told():
    with pytest.raises(LookupError, match=r"INPUT.FRAME_CHOICE 'evenly'. Did you mean 'even'"):
        FrameChoice(0, frame_choice="evenly")
    with pytest.raises(LookupError, match=r"TEST.FRAME_CHOICE 'most'.*all, even, random"):
        seen_frames([], 4, 0, frame_choice="most")


def test_tracklets_one_by_one():
    frames, ends = one_by_one(tracklets(2, 1, 3))
    assert [frame.paths for frame in frames] == [
        (f"{name}.jpg",) for name in ("0_00", "0_01", "1_00", "2_00", "2_01", "2_02")
    ]
    assert [frame.pid for frame in frames] == [0, 0, 1, 2, 2, 2]
    assert ends.tolist() == [False, True, True, False, False, True]
    assert one_by_one(tracklets(1, 1)) == (tracklets(1, 1), None)


def test_the_draw_is_even():
    """Every frame comes equally often: 5 of 20, 400 times, is 100 each."""
    drawn = FrameChoice(3, frames=5)([20] * 400, range(400))
    counts = torch.tensor(drawn).flatten().bincount(minlength=20)
    assert 70 < counts.min() and counts.max() < 130
