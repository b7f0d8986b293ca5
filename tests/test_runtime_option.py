"""TEST.RUNTIME reaches everything that embeds, and what was kept stays valid."""

import numpy as np
import pytest
import torch
from test_api import folder  # noqa: F401
from test_using import TOY, checkpoint, given, loaded  # noqa: F401

import reidtools as rt
from reidtools import build
from reidtools.export.runtime import Quick
from reidtools.modeling import Embedder


@pytest.fixture
def seen(monkeypatch):
    """The kinds of embedders that have seen pictures, of each batch."""
    kinds, frames = [], Embedder.frames
    for kind in (Embedder, Quick):
        own = kind.frames

        def spy(self, *given, own=own, kind=kind):
            kinds.append(type(self))
            return own(self, *given)

        monkeypatch.setattr(kind, "frames", spy)
    assert frames is not Embedder.frames
    return kinds


@pytest.mark.parametrize(("runtime", "first"), [("auto", Quick), ("torch", Embedder)])
def test_a_loaded_model_embeds_as_asked(checkpoint, seen, runtime, first):  # noqa: F811
    model = rt.load(checkpoint, "cpu")
    model.config = rt.get_config("", ["MODEL.WEIGHTS", checkpoint, "TEST.RUNTIME", runtime])
    found = rt.embed(model, f"{TOY}/query")
    assert seen[0] is first and len(found)
    extract = rt.FeatureExtractor(model_path=checkpoint, device="cpu", verbose=False)
    extract.model.config = model.config
    seen.clear()
    assert extract(torch.zeros(2, 3, 32, 16)).shape == (2, 512)
    assert seen[0] is first


def test_both_make_the_same_vectors(checkpoint):  # noqa: F811
    made = []
    for runtime in ("torch", "auto"):
        rt.create_embeddings(given(checkpoint, f"{TOY}/query", **{"TEST.RUNTIME": runtime}))
        made.append(loaded("embeddings"))
    assert np.allclose(*made, rtol=1e-4, atol=1e-5 * np.abs(made[0]).max())


def test_a_gallery_of_one_takes_queries_of_the_other(checkpoint):  # noqa: F811
    rt.create_embeddings(given(checkpoint, f"{TOY}/query", **{"TEST.RUNTIME": "torch"}))
    files = rt.find_similar(given(checkpoint, f"{TOY}/query"), "output_dir", 1)
    assert files
    found = np.load("output_dir/results.npy", allow_pickle=True).item()
    assert all(hit["indices"][0] == place for place, hit in enumerate(found.values()))


def test_mirrored_pictures_count_twice(checkpoint, monkeypatch):  # noqa: F811
    counts = []
    monkeypatch.setattr(build, "quick", lambda model, count, *_, **__: counts.append(count))
    for flip in ("off", "raw"):
        cfg = given(checkpoint, TOY, **{"TEST.FLIP": flip})
        build.at_speed(cfg, None, 100)
    assert counts == [100, 200]


def test_a_slip_is_told(checkpoint):  # noqa: F811
    with pytest.raises(LookupError, match="onnxruntime"):
        rt.create_embeddings(given(checkpoint, f"{TOY}/query", **{"TEST.RUNTIME": "onnx"}))
