"""Maps and heat maps of tracks: sizes, labels, marks, and few and many of them."""

import numpy as np
import pytest
from PIL import Image

from reidtools.visualize import track_pictures
from reidtools.visualize.maps import METHODS
from reidtools.visualize.track_pictures import heat_map, track_map

pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")


def vectors(count, dim=8):
    return np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written."""
    figures, write = [], track_pictures.write
    monkeypatch.setattr(
        track_pictures, "write", lambda figure, path: (figures.append(figure), write(figure, path))
    )
    return figures


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
@pytest.mark.parametrize("count", [3, 4, 5, 25])
def test_a_map_of_few_tracks(tmp_path, drawn, method, count):
    for package in {"tsne": ["sklearn"], "umap": ["umap"]}.get(method, []):
        pytest.importorskip(package)
    path = tmp_path / "new" / "map.png"
    track_map(vectors(count), range(count), path, method=method)
    assert Image.open(path).size == (1800, 1500)  # 12 x 10 inches at 150 dots each
    assert [text.get_text() for text in drawn[0].texts] == [f"T{n}" for n in range(count)]
    assert np.isfinite(drawn[0].axes[0].collections[0].get_offsets()).all()


def test_colours_go_round_and_cameras_have_marks(tmp_path, drawn):
    from matplotlib import colormaps

    names = ["in"] * 20 + ["_$out$"] * 2
    track_map(vectors(22), [*range(20), 4, 5], tmp_path / "map.png", method="pca", cameras=names)
    axes = drawn[0].axes[0]
    circles, _, squares, _ = axes.collections  # between them the signs of the legend
    assert np.allclose(circles.get_facecolors()[:, :3], colormaps["tab20"].colors)
    assert np.allclose(squares.get_facecolors()[:, :3], colormaps["tab20"].colors[:2])
    told = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert told == ["in (20 tracks)", r" _\$out\$ (2 tracks)"]
    assert not np.array_equal(circles.get_paths()[0].vertices, squares.get_paths()[0].vertices)


def test_labels_do_not_cover_each_other_where_there_is_room(tmp_path, drawn):
    """Two points a label's height apart, and one far off."""
    places = np.array([[1.0, 0.0], [0.99, 0.141], [-1.0, 0.0]])
    track_map(places, [1, 2, 3], tmp_path / "map.png", method="pca")
    first, second, _ = (text.get_window_extent() for text in drawn[0].texts)
    assert not first.overlaps(second)


def test_overlap_by_hand():
    """Squares of side 2: one shares 1 x 1 with it, one touches it, one lies in it whole."""
    others = np.array([[1, 1, 3, 3], [2, 0, 4, 2], [0.5, 0.5, 1, 1]])
    assert track_pictures._overlap(np.array([0, 0, 2, 2]), others) == 1 + 0 + 0.25


def test_the_same_tracks_have_the_same_map(tmp_path):
    pytest.importorskip("sklearn")
    for name in "ab":
        track_map(vectors(9), range(9), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_similar_tracks_stay_together_on_a_small_map(drawn, tmp_path):
    """Sixteen people, twice each, positive as OSNet's features are."""
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(3)
    people = abs(draw.normal(size=(16, 64)) + 1)
    pairs = np.repeat(people, 2, 0) + 0.3 * draw.normal(size=(32, 64))
    track_map(pairs, range(32), tmp_path / "map.png")
    places = np.asarray(drawn[0].axes[0].collections[0].get_offsets())
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(1) == np.arange(32) ^ 1).all()


def test_tsne_of_few_takes_short_steps(monkeypatch):
    """Own steps of scikit-learn, 50 or more, threw 2 of 42 real tracks out: KL 0.59, now 0.17."""
    manifold = pytest.importorskip("sklearn.manifold")
    asked = []

    class TSNE:
        def __init__(self, **options):
            asked.append((options["perplexity"], options["learning_rate"]))

        def fit_transform(self, vectors):
            return vectors[:, :2]

    monkeypatch.setattr(manifold, "TSNE", TSNE)
    for count in (3, 40, 301):
        METHODS["tsne"](vectors(count), 0)
    assert asked == [(1.5, 0.75), (13, 10), (30, "auto")]


def test_three_tracks_are_three_points(drawn, tmp_path):
    """A perplexity below 1 would put two of them on one spot."""
    pytest.importorskip("sklearn")
    for seed in range(4):
        draw = np.random.default_rng(seed)
        track_map(draw.normal(size=(3, 64)), range(3), tmp_path / "map.png")
        places = np.asarray(drawn[-1].axes[0].collections[0].get_offsets())
        sides = [np.linalg.norm(places[i] - places[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert max(sides) < 5 * min(sides)


def test_a_heat_map_of_three_tracks_has_their_figures(tmp_path, drawn):
    matrix = np.array([[1, 0.414, -0.2], [0.414, 1, -0.001], [-0.2, -0.001, 1]])
    heat_map(matrix, [4, 7, 9], [4, 7, 9], tmp_path / "heat.png", names=("in", "in"))
    axes, bar = drawn[0].axes
    assert [text.get_text() for text in axes.texts][:4] == ["1.00", "0.41", "-0.20", "0.41"]
    assert axes.texts[5].get_text() == "0.00"
    assert axes.images[0].get_clim() == (0, 1) and axes.images[0].get_cmap().name == "viridis"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["T4", "T7", "T9"]
    assert axes.get_ylabel() == "in (3 tracks)" and bar.get_ylabel() == "cosine similarity"
    assert axes.images[0].colorbar.extend == "min"


def test_a_heat_map_of_very_many_tracks(tmp_path, drawn):
    heat_map(np.ones((300, 40)), range(300), range(40), tmp_path / "heat.png")
    axes = drawn[0].axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["T0", "T5", "T10"]
    assert not axes.texts and axes.images[0].colorbar.extend == "neither"
    assert max(Image.open(tmp_path / "heat.png").size) <= 2500
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        one, two = (label.get_window_extent() for label in labels[:2])
        assert not one.overlaps(two)


def test_what_cannot_be_drawn(tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(ValueError, match=r"2 tracks are too few; .*similarity\.py"):
        track_map(vectors(2), [1, 2], path, method="pca")
    with pytest.raises(ValueError, match="4 ids and 1 cameras"):
        track_map(vectors(4), range(4), path, method="pca", cameras=["a"])
    with pytest.raises(LookupError, match="Did you mean 'tsne'"):
        track_map(vectors(4), range(4), path, method="tnse")
    for matrix in (np.ones((2, 3)), np.ones((0, 0))):
        with pytest.raises(ValueError, match="one of each"):
            heat_map(matrix, range(len(matrix)), range(len(matrix)), path)
    assert not path.exists()
