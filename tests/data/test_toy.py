"""The drawn dataset: complete, the same again, and honest about what it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidtools.data.datasets import load_dataset
from reidtools.data.preflight import preflight

SMALL = {"people": 4, "cameras": 2, "pictures": 3}


def contents(home):
    return {str(f.relative_to(home)): f.read_bytes() for f in home.rglob("*") if f.is_file()}


def test_every_person_is_seen_by_every_camera_when_there_are_two(tmp_path):
    splits = load_dataset("toy", tmp_path, **SMALL)
    assert len(splits.train) == 4 * 2 * 3
    assert {s.pid for s in splits.train} == {1, 2, 3, 4}
    assert [(s.pid, s.camid) for s in splits.query] == [(5, 0), (5, 1), (6, 0), (6, 1)]
    assert len([s for s in splits.gallery if s.pid]) == 2 * 2 * (3 - 1)
    assert len([s for s in splits.gallery if s.pid == 0]) == 4
    assert preflight(splits, people_per_batch=4) == []


def test_junk_is_written_but_not_read(tmp_path):
    gallery = load_dataset("toy", tmp_path, **SMALL).gallery
    files = sorted((tmp_path / "toy" / "bounding_box_test").iterdir())
    assert len([file for file in files if file.name.startswith("-1_")]) == 2
    assert len(files) == len(gallery) + 2


def test_pictures_are_64_wide_and_128_high(tmp_path):
    splits = load_dataset("toy", tmp_path, **SMALL)
    sizes = {Image.open(path).size for split in splits for s in split for path in s.paths}
    assert sizes == {(64, 128)}


def test_same_seed_same_bytes_other_seed_other_people(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        load_dataset("toy", tmp_path / folder, seed=seed, **SMALL)
    first, again, other = (contents(tmp_path / folder / "toy") for folder in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert first["query/0005_c1s1_000500_01.jpg"] != other["query/0005_c1s1_000500_01.jpg"]


def test_it_is_reused_and_leaves_nothing_beside(tmp_path):
    first = load_dataset("toy", tmp_path, **SMALL)
    before = Path(first.query[0].paths[0]).stat().st_mtime_ns
    assert load_dataset("toy", tmp_path, **SMALL) == first
    assert Path(first.query[0].paths[0]).stat().st_mtime_ns == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy"]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr("reidtools.data.datasets.toy.photograph", broken)
    with pytest.raises(RuntimeError, match="no ink"):
        load_dataset("toy", tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_other_options_are_an_error_that_names_both(tmp_path):
    load_dataset("toy", tmp_path, **SMALL)
    with pytest.raises(ValueError, match=r"'people': 4.*'people': 5.*delete it") as caught:
        load_dataset("toy", tmp_path, **{**SMALL, "people": 5})
    assert str(tmp_path / "toy") in str(caught.value)


def test_a_folder_of_somebody_else_is_never_touched(tmp_path):
    (tmp_path / "toy").mkdir()
    with pytest.raises(ValueError, match=r"no toy\.json"):
        load_dataset("toy", tmp_path, **SMALL)


def test_it_says_that_it_is_synthetic(tmp_path):
    load_dataset("toy", tmp_path, **SMALL)
    story = json.loads((tmp_path / "toy" / "toy.json").read_text())
    assert "SYNTHETIC" in story["about"]
    assert story["options"] == {**SMALL, "seed": 1}


@pytest.mark.parametrize("option", ["people", "cameras", "pictures"])
def test_too_little_to_match_is_an_error(tmp_path, option):
    with pytest.raises(ValueError, match=f"needs 2 {option} or more.*{option.upper()}"):
        load_dataset("toy", tmp_path, **{option: 1})


def rank1(splits, describe):
    """Share of queries whose nearest picture from another camera is of the same person."""
    query, gallery = (
        np.stack([describe(np.asarray(Image.open(s.paths[0]), float)) for s in samples])
        for samples in (splits.query, splits.gallery)
    )
    hits = 0
    for who, vector in zip(splits.query, query, strict=True):
        order = np.square(gallery - vector).sum(1).argsort(kind="stable")
        ranked = [splits.gallery[i] for i in order]
        own = [s for s in ranked if (s.pid, s.camid) != (who.pid, who.camid)]
        hits += own[0].pid == who.pid
    return hits / len(query)


def test_the_mean_colour_does_not_solve_it_but_where_colours_are_helps(tmp_path):
    splits = load_dataset("toy", tmp_path)
    mean = rank1(splits, lambda image: image.mean((0, 1)))
    stripes = rank1(splits, lambda image: image[1:127, 20:44].reshape(6, -1, 3).mean(1).ravel())
    assert mean < 0.2
    assert stripes > 0.4
