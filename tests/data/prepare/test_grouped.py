"""Market-1501 as a folder for each person."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reidtools.data.datasets import load_dataset, load_folder
from reidtools.data.prepare import prepare_grouped

TOOL = Path(__file__).parents[3] / "tools" / "prepare_grouped.py"


@pytest.fixture
def home(market):
    return market / "market1501"


def tree(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*.jpg")}


def test_the_first_picture_of_a_person_goes_to_val(home, tmp_path, caplog):
    made = prepare_grouped(home, tmp_path / "grouped")
    assert (made.written, made.kept, made.failed) == (13, 0, ())
    found = tree(made.folder)
    assert {name for name in found if name[0] in "tv"} == {
        "train/0002/0002_c2s1_000301_01.jpg",
        "val/0002/0002_c1s1_000451_03.jpg",
        "train/0007/0007_c1s2_000100_01.jpg",  # a single picture stays, as does the next
        "train/0000/0000_c1s1_000001_01.jpg",
    }
    assert caplog.messages == [
        "2 people have a single picture to train on, which stays there: 0000, 0007 have none in "
        "val."
    ]
    assert {name.split("/")[1] for name in found if name.startswith("gallery")} == {
        *("-1", "-2", "0000", "0001", "0003"),
    }
    assert "query/0003/0003_c6s1_000551_00.jpg" in found
    old = home / "bounding_box_train/0002_c1s1_000451_03.jpg"
    assert (made.folder / "val/0002" / old.name).read_bytes() == old.read_bytes()


def test_it_is_a_dataset_whose_test_is_market_s_own(home, market):
    prepare_grouped(home, market / "grouped")
    original, grouped = load_dataset("market1501", market), load_folder(market / "grouped")
    for own, other in zip(original[1:], grouped[1:], strict=True):  # junk is in neither
        names = [{Path(s.paths[0]).name: s.camid for s in samples} for samples in (own, other)]
        assert names[0] == names[1]


def test_again_makes_what_is_missing_only(home, tmp_path):
    made = prepare_grouped(home, tmp_path / "g")
    gone = made.folder / "query/0001/0001_c1s1_001051_00.jpg"
    gone.unlink()
    again = prepare_grouped(home, tmp_path / "g")
    assert (again.written, again.kept) == (1, 12) and gone.is_file()
    with pytest.raises(ValueError, match="was made with"):
        prepare_grouped(home.rename(home.with_name("other")), tmp_path / "g")


def test_links_take_no_room(home, tmp_path, monkeypatch):
    made = prepare_grouped(home, tmp_path / "g", link=True)
    old = home / "query/0001_c1s1_001051_00.jpg"
    assert old.samefile(made.folder / "query/0001" / old.name)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match=r"Invalid cross-device link\); choose an --out on the same"):
        prepare_grouped(home, tmp_path / "h", link=True)


def test_a_broken_picture_is_told(home, tmp_path):
    (home / "query/0001_c1s1_001051_00.jpg").write_bytes(b"")
    made = prepare_grouped(home, tmp_path / "g")
    assert made.failed == ("query/0001_c1s1_001051_00.jpg (zero bytes)",)
    with pytest.raises(ValueError, match="1 of 13 pictures .*do without strict"):
        prepare_grouped(home, tmp_path / "h", strict=True)


def test_what_is_no_such_dataset_is_refused(home, tmp_path, draw):
    with pytest.raises(ValueError, match="the dataset itself"):
        prepare_grouped(home, home)
    draw(home / "query", "strange.jpg")
    with pytest.raises(ValueError, match=r"strange\.jpg\. Rename or remove"):
        prepare_grouped(home, tmp_path / "g")
    with pytest.raises(FileNotFoundError, match="has no bounding_box_train and no query and no"):
        prepare_grouped(tmp_path / "none", tmp_path / "g")
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(ValueError, match="no pictures in"):
        prepare_grouped(tmp_path / "empty", tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_the_tool_prints_a_table(home, tmp_path):
    words = ["--src", str(home), "--out", str(tmp_path / "g"), "--link"]
    done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| subset   |" in done.stdout and "val: 1 pictures" in done.stdout
    assert done.stdout.endswith("g: 13 pictures written, 0 were there already, 0 failed\n")
