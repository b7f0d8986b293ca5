"""The drawn tracklets: MARS's layout to the last file, the same again, and people who walk."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidtools.data.datasets import load_dataset
from reidtools.data.datasets.mars import INFO, read_tracklets
from reidtools.data.preflight import preflight

SMALL = {"people": 4, "cameras": 2, "tracklets": 2, "frames": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a small toy_mars."""
    root = tmp_path_factory.mktemp("toys")
    load_dataset("toy_mars", root, **SMALL)
    return root


def contents(home):
    return {str(f.relative_to(home)): f.read_bytes() for f in home.rglob("*") if f.is_file()}


def test_people_tracklets_and_queries(root):
    train, query, gallery = splits = load_dataset("toy_mars", root, **SMALL)
    assert len(train) == 4 * 2 * 2
    assert {s.pid for s in train} == {1, 2, 3, 4}
    assert [(s.pid, s.camid) for s in query] == [(5, 0), (5, 1), (6, 0), (6, 1)]
    assert [(s.pid, s.camid) for s in gallery if s.pid] == [(5, 0), (5, 1), (6, 0), (6, 1)]
    assert len([s for s in gallery if s.pid == 0]) == 2
    assert {len(s.paths) for s in train} == {1, 2, 3}  # shorter and longer ones too
    assert preflight(splits, people_per_batch=4) == []


def test_the_layout_is_that_of_mars(root):
    home = root / "toy_mars"
    entries = {entry.name for entry in home.iterdir()}
    assert entries == {"bbox_train", "bbox_test", "info", "toy.json"}
    assert {file.name for file in (home / "info").iterdir()} == {*INFO}
    assert {"0000", "00-1", "0005", "0006"} == {f.name for f in (home / "bbox_test").iterdir()}
    official = read_tracklets(home, need_info=True)
    assert load_dataset("mars", home).train == load_dataset("toy_mars", root, **SMALL).train
    assert {t.pid for t in official} == {0, 1, 2, 3, 4, 5, 6}


def test_the_same_options_draw_the_same_files_matlab_too(root, tmp_path):
    load_dataset("toy_mars", tmp_path, **SMALL)
    first, again = contents(root / "toy_mars"), contents(tmp_path / "toy_mars")
    assert first == again
    load_dataset("toy_mars", tmp_path / "other", seed=2, **SMALL)
    other = contents(tmp_path / "other" / "toy_mars")
    name = "bbox_test/0005/0005C1T0001F001.jpg"
    assert other[name] != first[name]


def test_frames_of_a_tracklet_differ_less_than_tracklets_do(tmp_path):
    splits = load_dataset("toy_mars", tmp_path, people=2, cameras=2, tracklets=2, frames=4)
    frames = [[np.asarray(Image.open(path), float) for path in s.paths[:2]] for s in splits.train]
    assert {frame.shape for pair in frames for frame in pair} == {(128, 64, 3)}
    within = [np.abs(a - b).mean() for a, b in frames]
    across = [np.abs(frames[i][0] - frames[i - 1][0]).mean() for i in range(len(frames))]
    assert 0 < np.mean(within) < np.mean(across)


def test_other_options_are_an_error_that_names_both(root):
    with pytest.raises(ValueError, match=r"'people': 4.*'people': 5.*delete it"):
        load_dataset("toy_mars", root, **{**SMALL, "people": 5})


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr("reidtools.data.datasets.toy_mars.photograph", broken)
    with pytest.raises(RuntimeError, match="no ink"):
        load_dataset("toy_mars", tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_it_says_that_it_is_synthetic(root):
    story = json.loads((Path(root) / "toy_mars" / "toy.json").read_text())
    assert "SYNTHETIC" in story["about"]
    assert story["options"] == {**SMALL, "seed": 1}


def test_options_that_make_no_sense_are_errors(tmp_path):
    for option, value in {"people": 1, "cameras": 1, "tracklets": 0, "frames": 0}.items():
        with pytest.raises(ValueError, match=f"or more.*{option.upper()}"):
            load_dataset("toy_mars", tmp_path, **{option: value})
    with pytest.raises(ValueError, match="CAMERAS to 6 or less"):
        load_dataset("toy_mars", tmp_path, cameras=7)
