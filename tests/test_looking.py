"""Pictures of a model, from end to end on drawn people."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_api import folder, settings  # noqa: F401  (its folder is used here as well)

import reidtools as rt
from reidtools import build
from reidtools.api import looking

pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")
pytest.importorskip("sklearn", reason="pip install 'reidtools[plots]'")

TOOL = Path(__file__).parents[1] / "tools" / "visualize.py"


@pytest.fixture
def checkpoint(folder):  # noqa: F811
    """A checkpoint of an embedder as it was built, in the folder of a run."""
    cfg = settings()
    torch.manual_seed(0)
    run = folder / "run"
    run.mkdir()
    (run / "config.yml").write_text(cfg.dump())
    rows = [
        {"epoch": 0, "iteration": 1, "lr": 0.1, "total": 3.0, "pictures_per_second": 9},
        {"epoch": 0, "dataset": "toy", "mAP": 30.0, "Rank-1": 40.0},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.save({"model": build.embedder(cfg).state_dict(), "config": cfg.dump()}, run / "0.pth")
    return "run/0.pth"


def given(checkpoint, **changes):
    return settings(MODEL__WEIGHTS=checkpoint, **changes)


def test_everything_lies_beside_the_checkpoint(checkpoint, monkeypatch):
    embedded, embed = [], looking.assess.embed
    monkeypatch.setattr(
        looking.assess, "embed", lambda *args, **kw: embedded.append(args[3]) or embed(*args, **kw)
    )
    files = rt.look(given(checkpoint), activations=3)
    test = Path("run/test_0")
    assert files[0] == test / "map_tsne.png" and files[-1] == test / "page.html"
    assert [file.parent for file in files[1:-1]] == [test / "activations"] * 3
    assert all(file.is_file() for file in files)
    assert embedded == ["toy query HR", "toy gallery HR"]  # once
    assert Image.open(files[1]).size == (2 * 128 + 4, 256)

    report = rt.evaluate(given(checkpoint))
    text = files[-1].read_text()
    assert f"<td>{report.figures['toy']['mAP']:.2f}</td>" in text
    assert "osnet_x0_25 on toy" in text and "run/0.pth" in text
    for alt in ("CMC curves", "ROC curves", "Scores over epochs", "Losses over epochs", "map_tsne"):
        assert f'alt="{alt}"' in text
    assert "<td>TEST.ROC.ENABLED</td><td>False</td>" in text  # as asked, not as made for the page


def test_only_what_is_named_and_kept_embeddings(checkpoint, folder, monkeypatch):  # noqa: F811
    (first,) = rt.look(given(checkpoint, TEST__FEATURES="kept"), kinds=["map"], method="pca")
    assert first == Path("run/test_0/map_pca.png")
    assert len(list((folder / "kept").iterdir())) == 2

    def fail(*_, **__):
        raise AssertionError("embedded again")

    monkeypatch.setattr(looking.assess, "embed", fail)
    cfg = given(checkpoint, TEST__FEATURES="kept", OUTPUT_DIR="out")
    (page,) = rt.look(cfg, kinds=["page"])
    assert page == Path("out/page.html")
    files = rt.look(cfg, kinds=["activations"], activations=1000)
    assert len(files) == len(list(Path("datasets/toy/query").glob("*.jpg")))


def test_several_test_sets_and_low_resolution(checkpoint):
    cfg = given(checkpoint, DATASETS__TESTS="[toy, toy@mlr]", OUTPUT_DIR="out")
    files = rt.look(cfg, activations=1, method="pca")
    assert {str(file.relative_to("out").parts[0]) for file in files} == {
        *("map_pca_toy.png", "map_pca_toy_mlr.png", "activations_toy", "activations_toy_mlr"),
        "page.html",
    }
    text = Path("out/page.html").read_text()
    assert "Across resolutions, query - gallery" in text and "Queries of toy@mlr" in text


def test_other_distances_are_not_called_cosines(checkpoint):
    (page,) = rt.look(given(checkpoint, TEST__RERANK__ENABLED="True"), kinds=["page"])
    text = page.read_text()
    assert "camera and its distance" in text and "After re-ranking" in text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kinds": []}, ValueError, "ask for some of page, map, activations"),
        ({"kinds": ["pages"]}, LookupError, "page"),
        ({"method": "tnse"}, LookupError, "tsne"),
        ({"activations": 0}, ValueError, "ask for 1 or more"),
    ],
)
def test_wrong_words_are_found_before_any_work(folder, options, error, message):  # noqa: F811
    with pytest.raises(error, match=message):
        rt.look(settings(MODEL__WEIGHTS="none.pth"), **options)
    assert not list(folder.iterdir())


def test_a_missing_package_is_found_before_any_work(folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    for kind in ("page", "map"):
        with pytest.raises(ImportError, match=r"pip install 'reidtools\[plots\]'"):
            rt.look(settings(MODEL__WEIGHTS="none.pth"), kinds=[kind])


def test_the_tool(checkpoint, monkeypatch, capsys):
    def type_in(*words):
        words += ("MODEL.WEIGHTS", checkpoint, "OUTPUT_DIR", "out")
        monkeypatch.setattr(sys, "argv", ["visualize.py", *words])
        runpy.run_path(str(TOOL), run_name="__main__")

    monkeypatch.syspath_prepend(TOOL.parent)
    type_in("--map", "pca", "--activations", "2")
    assert sorted(path.name for path in Path("out").iterdir()) == ["activations", "map_pca.png"]
    assert len(list(Path("out/activations").iterdir())) == 2
    said = capsys.readouterr().out
    assert re.search(r"Written: out/map_pca\.png, out/activations/\S+\.png", said)
    with pytest.raises(SystemExit) as stopped:
        type_in("--map", "tnse")
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "tsne" in said
    asked = []
    monkeypatch.setattr(rt, "look", lambda cfg, **options: asked.append(options), raising=False)
    type_in()
    type_in("--page")
    assert asked == [{"kinds": ["page", "map", "activations"]}, {"kinds": ["page"]}]
