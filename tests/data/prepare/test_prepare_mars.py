"""MARS cut into sequences of one length."""

import csv
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from reidtools.data.datasets import load_dataset
from reidtools.data.prepare import prepare_mars
from reidtools.data.prepare.mars import LINKS, windows

TOOL = Path(__file__).parents[3] / "tools" / "prepare_mars.py"
# (folder, person, camera, tracklet, frames); queries are rows of the second folder, from 1.
TRACKLETS = [
    ("bbox_train", "0001", 1, 1, 10),
    ("bbox_train", "0001", 2, 1, 3),
    ("bbox_train", "0003", 1, 1, 4),
    ("bbox_train", "0003", 4, 1, 2),
    ("bbox_train", "0005", 5, 2, 1),
    ("bbox_test", "00-1", 1, 1, 2),
    ("bbox_test", "0000", 3, 1, 3),
    ("bbox_test", "0002", 1, 1, 9),
    ("bbox_test", "0002", 6, 1, 4),
]
QUERIES = [3]


def names(person, camera, number, count):
    return [f"{person}C{camera}T{number:04d}F{frame:03d}.jpg" for frame in range(1, count + 1)]


def write_info(home, tracklets=TRACKLETS):
    (home / "info").mkdir(exist_ok=True)
    for kind in ("train", "test"):
        own = [t[1:] for t in tracklets if t[0] == f"bbox_{kind}"]
        lines = [name for tracklet in own for name in names(*tracklet)]
        (home / f"info/{kind}_name.txt").write_text("\n".join(lines))
        ends = np.cumsum([count for *_, count in own])
        rows = [
            (end - count + 1, end, -1 if person == "00-1" else int(person), camera)
            for end, (person, camera, _, count) in zip(ends, own, strict=True)
        ]
        savemat(home / f"info/tracks_{kind}_info.mat", {f"track_{kind}_info": np.array(rows)})
    savemat(home / "info/query_IDX.mat", {"query_IDX": np.array([QUERIES])})


@pytest.fixture
def home(tmp_path, draw):
    """MARS with three people to train, one to test, a distractor and junk."""
    for folder, person, *rest in TRACKLETS:
        draw(tmp_path / "mars" / folder / person, *names(person, *rest))
    write_info(tmp_path / "mars")
    return tmp_path / "mars"


def index(folder):
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def seen(splits):
    """Each sample with the real names of its files."""
    return [
        [(s.pid, s.camid, [os.path.realpath(path) for path in s.paths]) for s in samples]
        for samples in splits
    ]


@pytest.mark.parametrize(
    ("count", "starts", "with_tail"),
    [
        (60, [0, 15, 30], [0, 15, 30, 35]),
        (55, [0, 15, 30], [0, 15, 30]),
        (26, [0], [0, 1]),
        (25, [0], [0]),
        (3, [0], [0]),
    ],
)
def test_windows(count, starts, with_tail):
    assert windows(count, 25, 10) == starts
    assert windows(count, 25, 10, keep_tail=True) == with_tail


def test_without_overlap_every_frame_comes_once():
    assert windows(9, 3, 0) == [0, 3, 6] and windows(3, 1, 0) == [0, 1, 2]


def test_the_tree_and_the_index(home, tmp_path, caplog):
    made = prepare_mars(home, tmp_path / "out", 4, 1)
    assert (made.written, made.kept, made.failed) == (37, 0, ())
    rows = index(made.folder)
    assert ",".join(rows[0]) == (
        "split,person_id,camera_id,sequence_id,frames_dir,num_frames,tracklet_id,subset,start_frame"
    )
    assert [",".join(row.values()) for row in rows[:4] + rows[-3:]] == [
        "train,1,1,cam01_seq0001_000,train/ID0001/cam01_seq0001_000/rgb,4,0001C1T0001,train,1",
        "train,1,1,cam01_seq0001_001,train/ID0001/cam01_seq0001_001/rgb,4,0001C1T0001,train,4",
        "train,1,1,cam01_seq0001_002,train/ID0001/cam01_seq0001_002/rgb,4,0001C1T0001,train,7",
        "train,1,2,cam02_seq0001,train/ID0001/cam02_seq0001/rgb,3,0001C2T0001,train,1",
        "test,2,1,cam01_seq0001_000,test/ID0002/cam01_seq0001_000/rgb,4,0002C1T0001,query,1",
        "test,2,1,cam01_seq0001_001,test/ID0002/cam01_seq0001_001/rgb,4,0002C1T0001,query,4",
        "test,2,6,cam06_seq0001,test/ID0002/cam06_seq0001/rgb,4,0002C6T0001,gallery,1",
    ]
    for row in rows:
        frames = sorted(file.name for file in (made.folder / row["frames_dir"]).iterdir())
        assert frames == [f"frame{n:04d}.jpg" for n in range(1, int(row["num_frames"]) + 1)]
    second = made.folder / "train/ID0001/cam01_seq0001_001/rgb/frame0001.jpg"
    assert second.resolve() == home / "bbox_train/0001/0001C1T0001F004.jpg"
    assert {p.name for p in made.folder.glob("*/*")} == {
        *("ID0000", "ID0001", "ID0002", "ID0003", "ID0005"),
    }
    assert not (made.folder / "train/ID0000").exists()
    assert caplog.messages == [
        "2 of 36 frames, at ends of tracklets, are in no sequence; keep_tail keeps them."
    ]


@pytest.mark.parametrize("link", LINKS)
def test_the_dataset_sequences_sees_what_mars_has(home, tmp_path, link, caplog):
    prepare_mars(home, tmp_path / "out", 4, 1, keep_tail=True, link=link)
    assert not caplog.messages
    own, cut = load_dataset("mars", tmp_path), load_dataset("sequences", tmp_path / "out")
    if link == "copy":
        own, cut = ([Path(p).read_bytes() for s in x.gallery for p in s.paths] for x in (own, cut))
        assert own == cut
    else:
        assert seen(own)[1:] == seen(cut)[1:]
        assert {len(sample.paths) for sample in cut.train} == {1, 2, 3, 4}
    assert (tmp_path / "out/train").exists() == (link != "index-only")


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs the extra parquet")
@pytest.mark.parametrize("link", LINKS)
def test_parquet_says_the_same(home, tmp_path, link):
    prepare_mars(home, tmp_path / "out", 4, 1, link=link, parquet=True)
    by_csv = load_dataset("sequences", tmp_path / "out")
    (tmp_path / "out/index.csv").unlink()
    assert load_dataset("sequences", tmp_path / "out") == by_csv


def test_parquet_without_pyarrow_is_refused_first(home, tmp_path, monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'reidtools\[parquet\]'") as caught:
        prepare_mars(home, tmp_path / "out", parquet=True)
    assert caught.value.name is None and not (tmp_path / "out").exists()


def test_without_info_names_decide(home, tmp_path):
    with_info = prepare_mars(home, tmp_path / "a", 4, 1).folder
    shutil.rmtree(home / "info")
    without = prepare_mars(home, tmp_path / "b", 4, 1).folder
    assert index(without) == index(with_info)  # pick_queries chooses the same query here


def test_people_for_validation(home, tmp_path):
    made = prepare_mars(home, tmp_path / "out", 4, 1, val_ids=1, seed=3)
    people = {}
    for row in index(made.folder):
        people.setdefault(row["split"], set()).add(row["person_id"])
    assert len(people["val"]) == 1 and people["train"] | people["val"] == {"1", "3", "5"}
    assert len(people["train"]) == 2 and people["test"] == {"0", "2"}
    again = prepare_mars(home, tmp_path / "again", 4, 1, val_ids=1, seed=3)
    assert index(again.folder) == index(made.folder)
    drawn = set()
    for seed in range(9):
        folder = prepare_mars(home, tmp_path / f"{seed}", val_ids=1, seed=seed, link=LINKS[2])[0]
        val = [row for row in index(folder) if row["split"] == "val"]
        drawn.add(val[0]["person_id"])
        subsets = sorted(row["subset"] for row in val)
        assert subsets == (["gallery"] if val[0]["person_id"] == "5" else ["gallery", "query"])
    assert drawn == {"1", "3", "5"}
    for count in (2, 3, -1):
        with pytest.raises(ValueError, match="two or more must stay; choose val_ids of 0 to 1"):
            prepare_mars(home, tmp_path / "no", val_ids=count)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("link", LINKS[:2])
def test_a_run_that_was_stopped_goes_on(home, tmp_path, link):
    made = prepare_mars(home, tmp_path / "out", 4, 1, link=link)
    whole = sorted(made.folder.rglob("*"))
    folder = made.folder / "test/ID0002/cam06_seq0001/rgb"
    (folder / "frame0001.jpg").unlink()
    (folder / "frame0002.jpg").unlink()
    if link == "symlink":
        (folder / "frame0002.jpg").symlink_to("elsewhere.jpg")
    else:
        (folder / "frame0002.jpg").touch()
        (folder / "frame0001.jpg.123.partial").touch()
    shutil.rmtree(made.folder / "test/ID0000")
    (made.folder / "index.csv").unlink()
    again = prepare_mars(home, tmp_path / "out", 4, 1, link=link)
    assert (again.written, again.kept) == (5, 32)
    assert sorted(made.folder.rglob("*")) == whole
    assert (folder / "frame0002.jpg").read_bytes() == (
        home / "bbox_test/0002/0002C6T0001F002.jpg"
    ).read_bytes()


def test_links_survive_a_move_of_both_folders(home, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")  # a link is followed from where it lies
    prepare_mars(home, tmp_path / "linked/deep/out", 4, 1)
    (tmp_path / "moved").mkdir()
    home.rename(tmp_path / "moved/mars")
    (tmp_path / "real").rename(tmp_path / "moved/real")
    out = tmp_path / "moved/real/deep/out"
    links = list(out.rglob("*.jpg"))
    assert len(links) == 37 and all(link.is_symlink() and link.is_file() for link in links)
    again = prepare_mars(tmp_path / "moved/mars", out, 4, 1)
    assert (again.written, again.kept) == (0, 37)


def test_what_is_broken_is_left_out_before_cutting(home, tmp_path, caplog):
    folder = home / "bbox_train/0001"
    whole = (folder / "0001C1T0001F002.jpg").read_bytes()
    (folder / "0001C1T0001F002.jpg").write_bytes(whole[:-9])
    (home / "bbox_train/0005/0005C5T0002F001.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="2 frames are no whole pictures.*do without strict"):
        prepare_mars(home, tmp_path / "out", 4, 1, strict=True)
    assert not (tmp_path / "out").exists()
    made = prepare_mars(home, tmp_path / "out", 4, 1)
    assert made.failed == (
        "0001/0001C1T0001F002.jpg (truncated)",
        "0005/0005C5T0002F001.jpg (zero bytes)",
    )
    assert caplog.messages[:2] == [
        "2 frames are no whole pictures: 0001/0001C1T0001F002.jpg (truncated), "
        "0005/0005C5T0002F001.jpg (zero bytes). They are left out.",
        "1 tracklets have no frame that is whole: 0005C5T0002.",
    ]
    frames = made.folder / "train/ID0001/cam01_seq0001_000/rgb"
    assert [file.resolve().name[-7:] for file in sorted(frames.iterdir())] == [
        *("001.jpg", "003.jpg", "004.jpg", "005.jpg"),
    ]
    assert not (made.folder / "train/ID0005").exists()
    (folder / "0001C1T0001F002.jpg").write_bytes(whole)  # moves all frames after it
    with pytest.raises(ValueError, match="delete or rename it"):
        prepare_mars(home, tmp_path / "out", 4, 1)


def test_a_dataset_of_broken_frames_is_none(home, tmp_path):
    for frame in home.rglob("*.jpg"):
        frame.write_bytes(b"")
    with pytest.raises(ValueError, match=r"36 frames .*unpack the whole of MARS again"):
        prepare_mars(home, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_of_one_number_are_kept_apart(home, tmp_path):
    """Two rows of info/ may cut one tracklet of the names in two."""
    write_info(home, [*TRACKLETS, ("bbox_test", "0002", 6, 1, 2)])
    rows = index(prepare_mars(home, tmp_path / "out", 4, 1).folder)
    assert [(row["sequence_id"], row["tracklet_id"]) for row in rows[-2:]] == [
        ("cam06_seq0001", "0002C6T0001"),
        ("cam06_seq0001x2", "0002C6T0001x2"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_len": 0}, "sequence of 0 frames; use 1 or more"),
        ({"sequence_len": 4, "overlap": 4}, "overlap of 0 to 3"),
        ({"overlap": -1}, "overlap of 0 to 24"),
        ({"link": "symlinks"}, "Did you mean 'symlink'"),
    ],
)
def test_options_that_make_no_sense(home, tmp_path, options, message):
    with pytest.raises((ValueError, LookupError), match=message):
        prepare_mars(home, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_places_that_make_no_sense(home, tmp_path):
    with pytest.raises(FileNotFoundError, match="none has neither bbox_train nor bbox_test"):
        prepare_mars(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty/bbox_test").mkdir(parents=True)
    with pytest.raises(ValueError, match="no tracklets in .*unpack the whole of MARS there"):
        prepare_mars(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match="the dataset itself"):
        prepare_mars(home, tmp_path / "mars/../mars")
    with pytest.raises(ValueError, match="the dataset itself.*choose a folder outside"):
        prepare_mars(home, home / "bbox_test/out")
    with pytest.raises(ValueError, match="holds other files; choose a new folder"):
        prepare_mars(home, tmp_path)
    assert not (tmp_path / "out").exists() and not (home / "index.csv").exists()
    prepare_mars(home, tmp_path / "out", 4, 1)
    with pytest.raises(ValueError, match=r"'overlap': 1.*'overlap': 0.*delete or rename it"):
        prepare_mars(home, tmp_path / "out", 4, 0)


def test_where_symbolic_links_are_refused(home, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(OSError, match=r"\(Operation not permitted\); choose the link copy"):
        prepare_mars(home, tmp_path / "out", 4, 1)
    assert not (tmp_path / "out/index.csv").exists()


def test_the_tool_prints_a_table(home, tmp_path):
    words = [f"--raw_root={home}", f"--out-root={tmp_path / 'out'}"]
    words += ["--sequence_len", "4", "--overlap", "1", "--val-ids", "1", "--link", "copy"]
    done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (
        lines[0].split() == "| split | people | cameras | tracklets | sequences | frames |".split()
    )
    assert lines[4].split() == "| test | 2 | 3 | 3 | 4 | 14 |".split()
    assert lines[5] == f"{tmp_path / 'out'}: 37 pictures written, 0 were there already, 0 failed"
