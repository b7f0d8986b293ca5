"""Crops of tracks as a dataset."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reidtools.data.datasets import load_folder
from reidtools.data.preflight import preflight
from reidtools.data.prepare import prepare_tracks
from reidtools.data.prepare.tracks import divide, tracks_table

TOOL = Path(__file__).parents[3] / "tools" / "prepare_fastreid_data.py"


@pytest.fixture
def crops(tmp_path, draw):
    """Tracks of 10, 2, 1 and 3 crops."""
    for track, count in ((3, 10), (5, 2), (8, 1), (12, 3)):
        names = (f"track_{track:04d}/frame_{7 * k:06d}_{k:03d}.jpg" for k in range(count))
        draw(tmp_path / "crops", *names)
    return tmp_path / "crops"


def tree(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*.jpg")}


def counts(folder):
    ids = json.loads((folder / "meta.json").read_text())["ids"]
    return {p: (a["track"], a["train"], a["query"], a["gallery"]) for p, a in ids.items()}


@pytest.mark.parametrize(
    ("count", "options", "parts"),
    [
        (2, {}, (0, 1, 1)),  # int(1.4) = 1 gives way to the one that is to be found
        (3, {}, (1, 1, 1)),  # int(2.1) = 2 gives way as well
        (4, {}, (2, 1, 1)),
        (5, {}, (3, 1, 1)),
        (10, {}, (7, 1, 2)),
        (10, {"query_per_id": 3}, (6, 3, 1)),
        (3, {"query_per_id": 9}, (0, 2, 1)),  # then the queries give way
        (10, {"train_ratio": 0}, (0, 1, 9)),
        (10, {"train_ratio": 0.99}, (8, 1, 1)),
    ],
)
def test_a_track_is_divided_in_its_order(count, options, parts):
    divided = divide(range(count), **options)
    assert tuple(map(len, divided)) == parts
    assert [crop for part in divided for crop in part] == list(range(count))


def test_tracks_become_people(crops, tmp_path, caplog):
    made = prepare_tracks(crops, tmp_path / "out")
    assert (made.written, made.kept, made.failed) == (15, 0, ())
    assert caplog.messages == [
        "1 of 4 tracks have fewer than 2 crops and are left out: track_0008."
    ]
    assert counts(made.folder) == {
        "0001": ("track_0003", 7, 1, 2),
        "0002": ("track_0005", 0, 1, 1),
        "0003": ("track_0012", 1, 1, 1),
    }
    found = tree(made.folder)
    assert {name for name in found if "/0001/" in name and name[0] != "t"} == {
        "query/0001/frame_000049_007.jpg",  # the eighth
        "gallery/0001/frame_000056_008.jpg",
        "gallery/0001/frame_000063_009.jpg",
    }
    old = crops / "track_0012/frame_000000_000.jpg"
    assert (made.folder / "train/0003" / old.name).read_bytes() == old.read_bytes()


def test_it_is_a_dataset_whose_queries_have_matches(crops, tmp_path):
    splits = load_folder(prepare_tracks(crops, tmp_path / "out").folder)
    assert [len(split) for split in splits] == [8, 3, 4]
    assert {s.camid for s in splits.query} == {0} and {s.camid for s in splits.gallery} == {1}
    warnings = preflight(splits)  # which refuses queries without a match
    assert warnings == [
        "1 of 2 people in train have a single picture, which has no positive: pids 1."
    ]


def test_links_lead_to_the_crops_and_move_with_them(crops, tmp_path):
    made = prepare_tracks(crops, tmp_path / "dataset" / "mine", link="symlink")
    link = made.folder / "query/0002/frame_000000_000.jpg"
    assert link.readlink() == Path("../../../../crops/track_0005/frame_000000_000.jpg")
    assert prepare_tracks(crops, made.folder, link="symlink").kept == 15
    (tmp_path / "moved").mkdir()
    for folder in ("crops", "dataset"):
        (tmp_path / folder).rename(tmp_path / "moved" / folder)
    link = tmp_path / "moved/dataset/mine/gallery/0002/frame_000007_001.jpg"
    assert link.samefile(tmp_path / "moved/crops/track_0005/frame_000007_001.jpg")


def test_again_makes_what_is_missing_only(crops, tmp_path, draw):
    made = prepare_tracks(crops, tmp_path / "out")
    gone = made.folder / "train/0001/frame_000000_000.jpg"
    gone.unlink()
    again = prepare_tracks(crops, made.folder)
    assert (again.written, again.kept) == (1, 14) and gone.is_file()
    for options in ({"train_ratio": 0.5}, {"query_per_id": 2}, {"link": "symlink"}):
        with pytest.raises(ValueError, match=r"was made with .*use the same options"):
            prepare_tracks(crops, made.folder, **options)
    draw(crops, "track_0008/frame_000007_001.jpg")  # would be 0003 now
    with pytest.raises(ValueError, match="was made with"):
        prepare_tracks(crops, made.folder)


def test_a_broken_crop_is_left_out_before_the_track_is_divided(crops, tmp_path):
    (crops / "track_0012/frame_000000_000.jpg").write_bytes(b"")
    made = prepare_tracks(crops, tmp_path / "out")
    assert made.failed == ("track_0012/frame_000000_000.jpg (zero bytes)",)
    assert (made.written, counts(made.folder)["0003"]) == (14, ("track_0012", 0, 1, 1))
    with pytest.raises(ValueError, match="1 of 15 pictures .*do without strict"):
        prepare_tracks(crops, tmp_path / "strict", strict=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train_ratio": 1.0}, ValueError, r"ratio is 1\.0; .*below 1"),
        ({"train_ratio": float("nan")}, ValueError, "ratio is nan"),
        ({"query_per_id": 0}, ValueError, "ask for 1 or more"),
        ({"link": "simlink"}, LookupError, "Did you mean 'symlink'"),
    ],
)
def test_options_without_sense_are_refused(crops, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        prepare_tracks(crops, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folders_that_do_not_fit_are_refused(crops, tmp_path, draw):
    with pytest.raises(FileNotFoundError, match="a folder of crops for each track"):
        prepare_tracks(tmp_path / "none", tmp_path / "out")
    with pytest.raises(ValueError, match="lie in each other"):
        prepare_tracks(crops, crops / "dataset")
    with pytest.raises(ValueError, match=rf"for each track, such as {tmp_path}/crops"):
        prepare_tracks(tmp_path, tmp_path.with_name("elsewhere"))  # the folder above
    draw(tmp_path / "theirs", "a.jpg")
    with pytest.raises(ValueError, match="choose another folder to make, or empty it"):
        prepare_tracks(crops, tmp_path / "theirs")
    assert tree(tmp_path / "theirs") == {"a.jpg"}
    assert not (tmp_path / "out").exists()


def test_a_disk_without_links_is_told(crops, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(OSError, match=r"Operation not permitted\); copy instead, with --copy"):
        prepare_tracks(crops, tmp_path / "out", link="symlink")


def test_of_many_tracks_some_are_shown(crops, tmp_path):
    folder = prepare_tracks(crops, tmp_path / "out").folder
    whole, short = tracks_table(folder), tracks_table(folder, most=1)
    assert "| 0003 | track_0012 |" in whole and "more" not in whole
    assert "track_0003" in short and "track_0005" not in short
    assert short.endswith("\nand 2 tracks more, all in meta.json")
    for table in (whole, short):
        assert "| all  | 3 tracks   |       8 |       3 |         4 |" in table


def test_the_tool_prints_counts_and_paths(crops, tmp_path):
    words = ["--crops-dir", str(crops), "--output-dir", str(tmp_path / "out"), "--symlink"]
    done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert "| 0001 | track_0003 |       7 |       1 |         2 |" in done.stdout
    assert f"Train:   {out}/train\nQuery:   {out}/query\nGallery: {out}/gallery\n" in done.stdout
    assert "fewer than 2 crops" in done.stderr
