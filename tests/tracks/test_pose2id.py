import numpy as np
import pytest

from reidtools.tracks import TrackFeatures
from reidtools.tracks.pose2id import centralize_tracks

ROOT2 = 0.5**0.5


def track(*rows):
    every = np.float32(rows)
    return TrackFeatures(every.mean(0), every, list(range(1, len(rows) + 1)))


def test_two_crops_of_a_track_are_each_other_s_neighbours():
    """(2, 0) and (0, 3) have the directions (1, 0) and (0, 1); each gets the other added."""
    found = centralize_tracks({5: track([2, 0], [0, 3])})[5]
    assert np.allclose(found.all_features, ROOT2)
    assert np.allclose(found.features, ROOT2) and found.frame_indices == [1, 2]


def test_a_single_crop_stays_but_for_its_length():
    found = centralize_tracks({5: track([3, 4])})[5]
    assert np.allclose(found.all_features, [[0.6, 0.8]])
    assert np.allclose(found.features, [0.6, 0.8])


def test_the_scope_says_whose_crops_are_neighbours():
    tracks = {1: track([1, 0]), 2: track([0.8, 0.6])}
    alone, together = (centralize_tracks(tracks, scope=scope) for scope in ("track", "all"))
    assert np.allclose(alone[1].features, [1, 0])
    assert np.allclose(together[1].features, np.float32([1.8, 0.6]) / np.hypot(1.8, 0.6))
    assert np.allclose(together[1].features, together[2].features)
    with pytest.raises(LookupError, match="all, track"):
        centralize_tracks(tracks, scope="everything")


def naive(crops, k1, k2):
    """NFC by the words of the paper: mutual neighbours among the first k1, asked back for k2."""
    unit = crops / np.linalg.norm(crops, axis=1, keepdims=True)
    distances = ((unit[:, None] - unit[None]) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    near = distances.argsort(1, kind="stable")[:, : min(k1, len(crops) - 1)]
    rows = [unit[i] + sum(unit[j] for j in near[i] if i in near[j][:k2]) for i in range(len(unit))]
    return np.stack([row / np.linalg.norm(row) for row in rows])


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (2, 2), (4, 1), (3, 5)])
def test_against_a_plain_loop(k1, k2):
    rng = np.random.default_rng(0)
    tracks = {n: track(*rng.normal(size=(3 + n, 6))) for n in range(1, 5)}
    for scope in ("track", "all"):
        found = centralize_tracks(tracks, scope=scope, k1=k1, k2=k2)
        every = np.concatenate([t.all_features for t in found.values()])
        groups = [t.all_features for t in tracks.values()]
        groups = [np.concatenate(groups)] if scope == "all" else groups
        assert np.allclose(every, np.concatenate([naive(g, k1, k2) for g in groups]), atol=1e-5)
