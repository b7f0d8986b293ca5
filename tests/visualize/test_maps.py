"""Maps of embeddings: who is coloured, who is drawn, and that few points are enough."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from reidtools.visualize import maps
from reidtools.visualize.maps import embedding_map

pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")


def groups(people=4, pictures=6, dim=16):
    """Vectors near one direction for each person, by turns from two cameras."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(people, dim, generator=generator)
    pids = torch.arange(people).repeat_interleave(pictures)
    noise = torch.randn(len(pids), dim, generator=generator)
    return centres[pids] + 0.05 * noise, pids, torch.arange(len(pids)) % 2


@pytest.fixture
def drawn(monkeypatch):
    """What was scattered: places, pids, camids, the people shown."""
    seen, scatter = [], maps._scatter

    def look(axes, *what):
        seen.append(what)
        scatter(axes, *what)

    monkeypatch.setattr(maps, "_scatter", look)
    return seen


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_persons_pictures_lie_together(tmp_path, drawn, method):
    pytest.importorskip("sklearn")
    vectors, pids, camids = groups()
    embedding_map(5 * vectors, pids, camids, tmp_path / "new" / "map.png", method=method)
    places, shown_pids, shown_camids, people = drawn[0]
    assert (shown_pids == pids.numpy()).all() and (shown_camids == camids.numpy()).all()
    assert people == [0, 1, 2, 3] and places.shape == (24, 2)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (pids.numpy()[distances.argmin(1)] == pids.numpy()).all()
    assert Image.open(tmp_path / "new" / "map.png").size == (1000, 800)


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("count", [3, 4, 7])
@pytest.mark.parametrize("dim", [1, 2, 8])
def test_few_points_and_few_dimensions(tmp_path, method, count, dim):
    pytest.importorskip("sklearn")
    vectors = torch.randn(count, dim, generator=torch.Generator().manual_seed(1))
    path = tmp_path / "map.png"
    embedding_map(vectors, torch.arange(count), torch.zeros(count), path, method=method)
    assert path.is_file()


def test_equal_vectors_and_nobody(tmp_path):
    vectors = torch.ones(5, 4)
    embedding_map(vectors, torch.full((5,), -1), torch.full((5,), -1), tmp_path / "map.png")
    assert (tmp_path / "map.png").is_file()


def test_the_same_seed_draws_the_same_map(tmp_path):
    for name in "ab":
        embedding_map(*groups(), tmp_path / name, method="tsne", seed=3, points=10, people=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_people_with_most_pictures_are_coloured_and_stay(tmp_path, drawn):
    pids = torch.tensor([5, 5, 5, 2, 2, 2, 9, 9, 1, -1, -1, -1, -1, -1])
    vectors = torch.randn(14, 4, generator=torch.Generator().manual_seed(0))
    embedding_map(
        vectors, pids, torch.zeros(14), tmp_path / "map.png", method="pca", people=2, points=8
    )
    _, kept, _, people = drawn[0]
    assert people == [2, 5]  # three pictures each
    assert len(kept) == 8 and (kept == 2).sum() == 3 and (kept == 5).sum() == 3


def test_pca_by_hand():
    """Points on a line through (3, 4): all that differs is along it."""
    places = maps._pca(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]), 0)
    assert np.allclose(places, [[-5, 0], [0, 0], [5, 0]])


def test_umap_is_asked_for_fewer_neighbours(tmp_path, monkeypatch):
    asked = []

    class UMAP:
        def __init__(self, **options):
            asked.append(options)

        def fit_transform(self, vectors):
            return vectors[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    monkeypatch.setattr(maps, "require_method", lambda method: None)
    for count in (3, 30):
        vectors = torch.randn(count, 4)
        embedding_map(
            vectors, torch.zeros(count), torch.zeros(count), tmp_path / "m.png", method="umap"
        )
    assert [options["n_neighbors"] for options in asked] == [2, 15]
    assert [options["init"] for options in asked] == ["random", "spectral"]
    assert {options["random_state"] for options in asked} == {0}


def test_what_cannot_be_drawn(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    with pytest.raises(ValueError, match="3 pictures or more"):
        embedding_map(torch.ones(2, 4), torch.zeros(2), torch.zeros(2), path)
    with pytest.raises(ValueError, match="3 pids"):
        embedding_map(torch.ones(4, 4), torch.zeros(3), torch.zeros(4), path)
    with pytest.raises(LookupError, match="tsne"):
        embedding_map(torch.ones(4, 4), torch.zeros(4), torch.zeros(4), path, method="tnse")
    for method, extra in (("tsne", "plots"), ("umap", "umap")):
        missing = {"tsne": "sklearn", "umap": "umap"}[method]
        monkeypatch.setattr("reidtools.extras.find_spec", lambda name, m=missing: name != m or None)
        with pytest.raises(ImportError, match=rf"pip install 'reidtools\[{extra}\]'"):
            embedding_map(torch.ones(4, 4), torch.zeros(4), torch.zeros(4), path, method=method)
    assert not path.exists()
