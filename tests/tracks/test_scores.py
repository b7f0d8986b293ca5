"""IDF1 and association accuracy: by hand, and against every assignment there is."""

import itertools

import numpy as np
import pytest

from reidtools.tracks.scores import identity_scores


def test_all_right_and_all_names_different():
    frames = {"a": 3, "b": 4, "c": 5}
    found = identity_scores({"a": 7, "b": 7, "c": 9}, {"a": 1, "b": 1, "c": 2}, frames)
    assert found == (1, 1, 1, 1)


def test_one_person_in_two_parts():
    """60 of 100 frames keep the id. AssA: (60 * 60 / 100 + 40 * 40 / 100) / 100."""
    found = identity_scores({"a": 1, "b": 2}, {"a": 1, "b": 1}, {"a": 60, "b": 40})
    assert found == pytest.approx((0.6, 0.6, 0.6, 0.52))


def test_two_people_in_one():
    """The same by symmetry: 60 of 100 frames, and 0.52."""
    found = identity_scores({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 60, "b": 40})
    assert found == pytest.approx((0.6, 0.6, 0.6, 0.52))


def test_the_greedy_choice_is_not_the_best():
    """Frames of ids 1 and 2 on people A and B: [[5, 4], [4, 0]]. 4 + 4 is more than 5 + 0."""
    predicted = {"w": 1, "x": 1, "y": 2}
    truth = {"w": "A", "x": "B", "y": "A"}
    found = identity_scores(predicted, truth, {"w": 5, "x": 4, "y": 4})
    assert found.idf1 == pytest.approx(8 / 13)
    # 5 of 9 + 9 - 5; 4 of 9 + 4 - 4 twice
    assert found.assa == pytest.approx((5 * 5 / 13 + 2 * 4 * 4 / 9) / 13)


def test_missed_and_false_tracks():
    """a is right (6 frames); b was missed (2), c is false (4)."""
    found = identity_scores({"a": 1, "c": 1}, {"a": 5, "b": 5}, {"a": 6, "b": 2, "c": 4})
    assert found.idp == pytest.approx(6 / 10) and found.idr == pytest.approx(6 / 8)
    assert found.idf1 == pytest.approx(2 * 6 / (2 * 6 + 4 + 2))
    assert found.assa == pytest.approx(6 / (6 + 2 + 4))


def oracle(predicted, truth, frames):
    """Frame by frame, as the two papers write it, with every assignment of ids to people."""
    detections = [(key, i) for key in frames for i in range(frames[key])]
    guess, real = ({d: ids.get(d[0]) for d in detections} for ids in (predicted, truth))
    guesses, people = (sorted({*ids.values()}) for ids in (predicted, truth))
    padded = people + [None] * len(guesses)
    idtp = max(
        sum(pairs.get(guess[d]) == real[d] is not None for d in detections if guess[d] is not None)
        for order in itertools.permutations(padded, len(guesses))
        for pairs in [dict(zip(guesses, order, strict=True))]
    )
    idfp = sum(g is not None for g in guess.values()) - idtp
    idfn = sum(r is not None for r in real.values()) - idtp
    right = [d for d in detections if None not in (guess[d], real[d])]
    shares = []
    for c in right:
        tpa = sum(guess[d] == guess[c] and real[d] == real[c] for d in detections)
        fpa = sum(guess[d] == guess[c] and real[d] != real[c] for d in detections)
        fna = sum(guess[d] != guess[c] and real[d] == real[c] for d in detections)
        shares.append(tpa / (tpa + fpa + fna))
    idf1 = 2 * idtp / (2 * idtp + idfp + idfn)
    return idf1, idtp / (idtp + idfp), idtp / (idtp + idfn), sum(shares) / len(shares)


@pytest.mark.parametrize("seed", range(25))
def test_against_every_assignment(seed):
    draw = np.random.default_rng(seed)
    keys = [(camera, track) for camera in "ab" for track in range(4)]
    frames = {key: int(draw.integers(1, 5)) for key in keys}
    predicted = {key: int(draw.integers(1, 4)) for key in keys if draw.random() < 0.85}
    truth = {key: int(draw.integers(1, 4)) for key in keys if draw.random() < 0.85}
    assert identity_scores(predicted, truth, frames) == pytest.approx(
        oracle(predicted, truth, frames)
    )


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="both a predicted and a true id"):
        identity_scores({"a": 1}, {"b": 1}, {"a": 1, "b": 1})
