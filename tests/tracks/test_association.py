"""Global ids on tracks whose similarities can be read off their vectors."""

import itertools
import logging
import math

import numpy as np
import pytest

from reidtools.tracks import TrackFeatures
from reidtools.tracks.association import (
    Conflict,
    Match,
    associate_by_assignment,
    associate_by_clusters,
    conflicts,
    similarity,
)


def camera(frames=None, /, **degrees):
    """Tracks by id (t7=30): vectors of length 5 at an angle, so similarities are cosines."""
    made = {}
    for name, angle in degrees.items():
        turn = math.radians(angle)
        vector = 5 * np.array([math.cos(turn), math.sin(turn)], np.float32)
        number = int(name[1:])
        seen = (frames or {}).get(number, [1, 2])
        made[number] = TrackFeatures(vector, np.stack([vector] * len(seen)), seen)
    return made


def test_similarity_by_hand():
    a, b = np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 0.0], [-3.0, -4.0]])
    assert np.allclose(similarity(a, b), [[0.6, 0, -1], [0, 0, -0.8]])
    assert similarity(np.full((1, 1), 1e-8))[0, 0] == pytest.approx(0.25)  # (1e-8 / 2e-8) squared


def test_similarity_with_itself():
    given = np.random.default_rng(0).normal(size=(50, 33)).astype(np.float32)
    found = similarity(given)
    assert (found == found.T).all() and np.allclose(found.diagonal(), 1, atol=1e-6)
    assert np.allclose(found, similarity(given, given.copy()))
    with pytest.raises(ValueError, match="one model"):
        similarity(given, given[:, :5])


def test_an_assignment_by_hand():
    """Nearest first would join 2 and 5 (0 degrees), and leave 1 and 6 at 40: the sum decides."""
    cameras = {"in": camera(t1=0, t2=20), "out": camera(t5=20, t6=50, t9=180)}
    ids, matches = associate_by_assignment(cameras)
    # cos 20 + cos 30 = 1.806 beats cos 0 + cos 50 = 1.643
    assert [match[:4] for match in matches] == [("in", 1, "out", 5), ("in", 2, "out", 6)]
    assert matches[0].similarity == pytest.approx(math.cos(math.radians(20)), abs=1e-6)
    assert ids == {"in": {1: 1, 2: 2}, "out": {5: 1, 6: 2, 9: 3}}


def test_the_threshold_is_kept(caplog):
    cameras = {"a": camera(t1=0), "b": camera(t1=60)}  # cosine 0.5
    assert associate_by_assignment(cameras, threshold=0.49)[0] == {"a": {1: 1}, "b": {1: 1}}
    with caplog.at_level(logging.WARNING, "reidtools"):
        ids, matches = associate_by_assignment(cameras)
    assert ids == {"a": {1: 1}, "b": {1: 2}} and matches == []
    assert "the highest similarity is 0.500 and the threshold 0.6" in caplog.text


def test_ids_go_by_camera_and_track_whatever_the_order_of_the_file():
    cameras = {"z": camera(t9=0, t2=90), "a": camera(t4=180, t3=2, t1=91)}
    ids, _ = associate_by_assignment(cameras)
    assert ids == {"z": {2: 1, 9: 2}, "a": {1: 1, 3: 2, 4: 3}}


def test_a_third_camera_links_two():
    """0 and 60 degrees are too far apart (0.5), but both are near 30 (0.87)."""
    cameras = {"a": camera(t1=0), "b": camera(t1=60), "c": camera(t1=30)}
    ids, matches = associate_by_assignment(cameras)
    assert {next(iter(tracks.values())) for tracks in ids.values()} == {1}
    assert [(match.cam1, match.cam2) for match in matches] == [("a", "c"), ("b", "c")]


def test_the_assignment_is_the_best_of_all():
    draw = np.random.default_rng(3)
    for _ in range(20):
        sizes = draw.integers(1, 5, 2)
        cameras = {
            name: {
                n: TrackFeatures(v, v[None], [1]) for n, v in enumerate(draw.normal(size=(k, 3)))
            }
            for name, k in zip("ab", sizes, strict=True)
        }
        found = similarity(*(np.stack([t.features for t in c.values()]) for c in cameras.values()))
        found = found if sizes[0] <= sizes[1] else found.T
        columns = itertools.permutations(range(found.shape[1]), len(found))
        best = max(sum(found[i, j] for i, j in enumerate(order)) for order in columns)
        _, matches = associate_by_assignment(cameras, threshold=-1)
        assert sum(match.similarity for match in matches) == pytest.approx(best)


def test_clusters_by_hand():
    """cos 10 = 0.985: groups of neighbours within 10 degrees, and who is alone is noise."""
    cameras = {"a": camera(t1=0, t2=90, t3=180), "b": camera(t1=9, t2=18, t3=92)}
    ids, clusters = associate_by_clusters(cameras, eps=0.016)
    assert ids == {"a": {1: 1, 2: 2, 3: 3}, "b": {1: 1, 2: 1, 3: 2}}
    assert clusters == [[("a", 1), ("b", 1), ("b", 2)], [("a", 2), ("b", 3)]]
    strict, _ = associate_by_clusters(cameras, eps=0.016, min_samples=3)
    assert strict == {"a": {1: 1, 2: 2, 3: 3}, "b": {1: 1, 2: 1, 3: 4}}


def test_clusters_of_one_camera_and_of_nobody(caplog):
    assert associate_by_clusters({"a": camera(t1=0, t2=5)})[0] == {"a": {1: 1, 2: 1}}
    with caplog.at_level(logging.WARNING, "reidtools"):
        ids, clusters = associate_by_clusters({"a": camera(t1=0, t2=90)})
    assert ids == {"a": {1: 1, 2: 2}} and not clusters and "raise eps (0.5)" in caplog.text


def test_a_vector_of_zeros_is_nobody(caplog):
    zero = np.zeros(2, np.float32)
    cameras = {
        "a": {1: TrackFeatures(zero, zero[None], [1])},
        "b": camera(t1=0) | {2: TrackFeatures(zero, zero[None], [3])},
    }
    with caplog.at_level(logging.WARNING, "reidtools"):
        ids, matches = associate_by_assignment(cameras, threshold=-1)
    assert ids == {"a": {1: 1}, "b": {1: 2, 2: 3}} and not matches
    assert "1 tracks of a have a vector of zeros" in caplog.text
    assert associate_by_clusters(cameras, eps=2)[0] == ids


def test_two_tracks_of_one_time_are_two_people():
    """Of track 1 the frames 1 and 3 were looked at, of track 2 the frames 2 and 4."""
    frames = {1: [1, 3], 2: [2, 4], 3: [5, 6]}
    cameras = {"a": camera(frames, t1=0, t2=1, t3=2), "b": camera(t1=1)}
    ids, _ = associate_by_clusters(cameras)
    assert conflicts(cameras, ids) == [Conflict("a", 1, 2, 1)]
    apart = {"a": {1: 1, 2: 2, 3: 1}, "b": {1: 1}}
    assert conflicts(cameras, apart) == []


def test_mistakes():
    one, two = camera(t1=0), camera(t1=0)
    with pytest.raises(ValueError, match="there is one"):
        associate_by_assignment({"a": one})
    for threshold in (1.1, -2, math.nan):
        with pytest.raises(ValueError, match="from -1 to 1"):
            associate_by_assignment({"a": one, "b": two}, threshold=threshold)
    for eps in (0, 2.1, math.nan):
        with pytest.raises(ValueError, match="eps"):
            associate_by_clusters({"a": one}, eps=eps)
    with pytest.raises(ValueError, match="min_samples of 1"):
        associate_by_clusters({"a": one}, min_samples=0)
    long = {1: TrackFeatures(np.ones(3), np.ones((1, 3)), [1])}
    with pytest.raises(ValueError, match="a has 2, b has 3 values; .* one model"):
        associate_by_assignment({"a": one, "b": long})
    broken = {1: TrackFeatures(np.array([1, np.nan]), np.ones((1, 2)), [1])}
    with pytest.raises(ValueError, match="no numbers"):
        associate_by_assignment({"a": one, "b": broken})


def test_clusters_say_what_to_install(monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"reidtools\[plots\]"):
        associate_by_clusters({"a": camera(t1=0)})


def test_a_match_names_its_columns():
    """They are the keys of pairwise_matches.json."""
    assert Match._fields == ("cam1", "track1", "cam2", "track2", "similarity")
