"""Features of tracks on principal components: the schema stays, and so does the file of axes."""

import logging

import numpy as np
import pytest
import torch

from reidtools.tracks import TrackFeatures, reduction


def tracks(count=6, crops=4, dim=16):
    draw = np.random.default_rng(0)
    every = draw.normal(size=(count, crops, dim)).astype(np.float32)
    frames = list(range(1, crops + 1))
    return {n + 1: TrackFeatures(part.mean(0), part, frames) for n, part in enumerate(every)}


def test_the_schema_stays():
    given = tracks()
    found = reduction.reduced(given, reduction.fit(given, 5))
    assert list(found) == list(given)
    for number, track in found.items():
        assert track.features.shape == (5,) and track.all_features.shape == (4, 5)
        assert track.features.dtype == track.all_features.dtype == np.float32
        assert track.frame_indices == given[number].frame_indices
        assert np.allclose(track.features, track.all_features.mean(0), atol=1e-6)


def test_axes_are_fitted_on_all_crops():
    """Crops of the second track alone differ, and along the second value."""
    still = np.zeros((2, 2), np.float32)
    moves = np.array([[0, 3], [0, -3]], np.float32)
    given = {n: TrackFeatures(p.mean(0), p, [1, 2]) for n, p in ((1, still), (2, moves))}
    axes = reduction.fit(given, 1)
    assert axes.components.abs().tolist() == [[0, 1]]
    assert axes.variances.item() == pytest.approx(6)  # (9 + 9) / (4 - 1)


def test_all_components_keep_the_distances():
    given = tracks()
    found = reduction.reduced(given, reduction.fit(given, 16))
    before, after = (
        np.linalg.norm(some[1].all_features[0] - some[4].features) for some in (given, found)
    )
    assert np.isclose(before, after)


def test_a_mean_made_longer_is_projected_as_it_is():
    given = tracks()
    axes = reduction.fit(given, 3)
    given[1] = given[1]._replace(features=2 * given[1].features)  # as where means are normalised
    found = reduction.reduced(given, axes)[1].features
    assert np.allclose(found, axes.transform(given[1].features[None])[0], atol=1e-6)
    assert not np.allclose(found, axes.transform(given[1].all_features).mean(0), atol=1e-2)


def test_a_reloaded_one_projects_identically(tmp_path):
    given = tracks()
    axes = reduction.fit(given, 5)
    reduction.save(tmp_path / "pca.npz", axes)
    loaded = reduction.load(tmp_path / "pca.npz")
    assert all(map(torch.equal, axes, loaded))
    first, again = (reduction.reduced(given, some) for some in (axes, loaded))
    assert all((first[n].all_features == again[n].all_features).all() for n in given)
    with np.load(tmp_path / "pca.npz", allow_pickle=False) as saved:
        shapes = {name: saved[name].shape for name in saved}
    assert shapes == {"mean": (16,), "components": (5, 16), "variances": (5,)}


def test_few_crops_have_few_components(caplog):
    with caplog.at_level(logging.WARNING, "reidtools"):
        axes = reduction.fit(tracks(count=2, crops=3))
    assert len(axes.components) == 5
    assert "128 components were asked for; 6 crops of 16 values have no more than 5" in caplog.text
    with pytest.raises(ValueError, match="there is one crop"):
        reduction.fit(tracks(count=1, crops=1))


def test_vectors_of_another_model():
    with pytest.raises(ValueError, match="16 values"):
        reduction.reduced(tracks(dim=8), reduction.fit(tracks(), 3))


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean": np.zeros(4)},
        {"mean": np.zeros(4), "components": np.zeros((2, 5)), "variances": np.zeros(2)},
        {"mean": np.zeros(4), "components": np.zeros((0, 4)), "variances": np.zeros(0)},
        {"mean": np.full(1, np.nan), "components": np.ones((1, 1)), "variances": np.ones(1)},
        {"mean": np.array([{}], object), "components": np.ones((1, 1)), "variances": np.ones(1)},
    ],
)
def test_files_of_something_else(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match="no principal components .* --save-pca"):
        reduction.load(tmp_path / "x.npz")


def test_wrong_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        reduction.load(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_text("text")
    with pytest.raises(ValueError, match="no principal components"):
        reduction.load(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        reduction.save(tmp_path / "pca.pkl", reduction.fit(tracks(), 2))
