"""The page of text features: where points lie, what stands out, which distances are drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from reidtools.visualize import text_features
from reidtools.visualize.text_features import text_feature_page

pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")
pytest.importorskip("sklearn", reason="pip install 'reidtools[plots]'")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written, by the names of their files."""
    seen, write = {}, text_features.write

    def look(figure, path):
        seen[path.name] = figure
        write(figure, path)

    monkeypatch.setattr(text_features, "write", look)
    return seen


def groups(people=40, dim=16):
    """Features near one of four directions, by turns."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(people) % 4
    noise = torch.randn(people, dim, generator=generator)
    return torch.randn(4, dim, generator=generator)[kinds] + 0.05 * noise, kinds


def test_distances_by_hand(tmp_path, drawn):
    """(3, 0), (0, 4) and (3, 4): cosines 0, 3/5 and 4/5; sides of a right triangle."""
    features = np.array([[3.0, 0.0], [0.0, 4.0], [3.0, 4.0]], np.float32)
    text_feature_page(features, np.zeros(3, bool), tmp_path / "a.png")
    axes = {one.get_title(): one for one in drawn["a.png"].axes}
    cosine = [[0, 1, 0.4], [1, 0, 0.2], [0.4, 0.2, 0]]
    euclidean = [[0, 5, 4], [5, 0, 3], [4, 3, 0]]
    for name, matrix in (("Cosine distance", cosine), ("Euclidean distance", euclidean)):
        (heat,) = axes[name].images
        shown = heat.get_array()
        assert (shown.mask == np.eye(3, dtype=bool)).all()
        assert np.allclose(shown.data[~shown.mask], np.array(matrix)[~shown.mask], atol=1e-6)
    assert "3 pairs, mean 0.533 (dashed)" in axes and "3 pairs, mean 4 (dashed)" in axes
    bars = [patch.get_height() for patch in axes["3 pairs, mean 4 (dashed)"].patches]
    assert sum(bars) == 3 and bars[0] == bars[-1] == 1  # the pairs 3 and 5 apart


def test_captions_stand_out_and_neighbours_lie_together(tmp_path, drawn):
    features, kinds = groups()
    captioned = kinds == 1
    path = text_feature_page(features, captioned, tmp_path / "new" / "page.png")
    assert path == tmp_path / "new" / "page.png" and Image.open(path).size == (1600, 800)
    points = drawn["page.png"].axes[0]
    legend = [text.get_text() for text in points.get_legend().get_texts()]
    assert legend == ["learned prompts (30)", "captions (10)"]
    prompts, captions = (np.asarray(one.get_offsets()) for one in points.collections)
    places = np.concatenate([prompts, captions])
    order = np.concatenate([kinds[~captioned], kinds[captioned]])
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (order[distances.argmin(1)] == order).all()
    colours = [one.get_facecolor()[0, :3].tolist() for one in points.collections]
    assert colours[0] != colours[1]


@pytest.mark.parametrize(("people", "perplexity"), [(3, 2), (31, 30), (40, 30)])
def test_the_perplexity_is_that_of_clip_reid(tmp_path, drawn, monkeypatch, people, perplexity):
    from sklearn import manifold

    asked, TSNE = [], manifold.TSNE

    def made(**options):
        asked.append(options)
        return TSNE(**options)

    monkeypatch.setattr(manifold, "TSNE", made)
    text_feature_page(groups(people)[0], torch.ones(people), tmp_path / "a.png")
    assert asked[0]["perplexity"] == perplexity and asked[0]["random_state"] == 42
    points = drawn["a.png"].axes[0]
    assert points.get_title().endswith(f"{people} people (perplexity {perplexity})")
    legend = [text.get_text() for text in points.get_legend().get_texts()]
    assert legend == [f"captions ({people})"]


def test_the_same_features_draw_the_same_page(tmp_path):
    features, kinds = groups(12)
    for name in "ab":
        text_feature_page(features.half().requires_grad_(), kinds == 0, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("features", [torch.ones(5, 4), torch.zeros(3, 1)])
def test_equal_features_are_drawn(tmp_path, features):
    assert text_feature_page(features, torch.zeros(len(features)), tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    ("features", "captioned", "says"),
    [
        (torch.ones(2, 4), torch.zeros(2), "3 people or more"),
        (torch.ones(4), torch.zeros(4), "3 people or more"),
        (torch.ones(4, 2), torch.zeros(3), r"\(4, 2\) with a mask of captions \(3,\)"),
        (torch.full((4, 2), float("nan")), torch.zeros(4), "not finite.*lower the learning rate"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, features, captioned, says):
    with pytest.raises(ValueError, match=says):
        text_feature_page(features, captioned, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
