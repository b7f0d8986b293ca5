"""MARS: rows, names and queries as the official files tell them, and what they may get wrong."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from reidtools.data.datasets import load_dataset
from reidtools.data.datasets.mars import INFO, Tracklet, pick_queries, read_tracklets

REAL = Path("/tmp/real/mars")  # MARS's layout, made from Market-1501
TRAIN = ("0001C1T0001F001", "0001C1T0001F002", "0001C2T0001F001", "0003C1T0001F001")
TRAIN_ROWS = [[1, 2, 1, 1], [3, 3, 1, 2], [4, 4, 3, 1]]
TEST = (
    *("00-1C1T0001F001", "0000C3T0001F001", "0000C3T0001F002", "0002C1T0001F001"),
    *("0002C1T0001F002", "0002C1T0002F001", "0002C6T0001F001"),
)
TEST_ROWS = [[1, 1, -1, 1], [2, 3, 0, 3], [4, 5, 2, 1], [6, 6, 2, 1], [7, 7, 2, 6]]


def write_info(home, train=TRAIN_ROWS, test=TEST_ROWS, queries=(4,), names=TRAIN, test_names=TEST):
    info = home / "info"
    info.mkdir(exist_ok=True)
    (info / "train_name.txt").write_text("".join(f"{name}.jpg\n" for name in names))
    (info / "test_name.txt").write_text("".join(f"{name}.jpg\n" for name in test_names))
    for kind, rows in (("train", train), ("test", test)):
        variable = {f"track_{kind}_info": np.array(rows, float)}
        savemat(info / f"tracks_{kind}_info.mat", variable)
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([queries], float)})


@pytest.fixture
def home(tmp_path, draw):
    """A MARS of 2 people to train and 1 to test, with a distractor and junk."""
    home = tmp_path / "mars"
    draw(home / "bbox_train", *(f"{name[:4]}/{name}.jpg" for name in TRAIN))
    draw(home / "bbox_test", *(f"{name[:4]}/{name}.jpg" for name in TEST))
    write_info(home)
    return home


def told(tracklets):
    return [(len(t.frames), t.pid, t.camera, t.number, t.subset) for t in tracklets]


def test_tracklets_are_the_rows_without_junk(home):
    assert told(read_tracklets(home, need_info=True)) == [
        (2, 1, 1, 1, "train"),
        (1, 1, 2, 1, "train"),
        (1, 3, 1, 1, "train"),
        (2, 0, 3, 1, "gallery"),
        (2, 2, 1, 1, "gallery"),
        (1, 2, 1, 2, "query"),
        (1, 2, 6, 1, "gallery"),
    ]


@pytest.mark.parametrize("folder", ["mars", "MARS", "mars/raw", ""])
def test_the_dataset_has_a_sample_a_tracklet(home, folder):
    root = home.parent / "datasets"
    (root / folder).parent.mkdir(parents=True, exist_ok=True)
    home.rename(root / folder)
    splits = load_dataset("mars", root)
    assert [(s.pid, s.camid, len(s.paths)) for s in splits.train] == [
        (1, 0, 2),
        (1, 1, 1),
        (3, 0, 1),
    ]
    assert [(s.pid, s.camid, len(s.paths)) for s in splits.query] == [(2, 0, 1)]
    assert [(s.pid, s.camid) for s in splits.gallery] == [(0, 2), (2, 0), (2, 5)]
    paths = [Path(path) for split in splits for s in split for path in s.paths]
    assert all(path.is_absolute() and path.is_file() for path in paths)
    assert [Path(p).name for p in splits.train[0].paths] == [f"{n}.jpg" for n in TRAIN[:2]]


def test_a_distractor_is_never_a_query_and_never_trained(home):
    names = ("0000C1T0001F001", *TRAIN)
    rows = [[1, 1, 0, 1]] + [[start + 1, end + 1, *who] for start, end, *who in TRAIN_ROWS]
    write_info(home, train=rows, names=names, queries=(2, 4))
    found = read_tracklets(home, need_info=True)
    assert {t.subset for t in found if t.pid == 0} == {"gallery"}
    assert len([t for t in found if t.subset == "train"]) == 3


def test_without_info_names_tell_the_same_tracklets(home, caplog):
    official = read_tracklets(home, need_info=True)
    (home / "info").rename(home / "elsewhere")
    found = read_tracklets(home, need_info=False)
    assert [t.frames for t in found] == [t.frames for t in official]
    assert [t.number for t in found if t.subset == "query"] == [1]  # of 0002C1, which has two
    assert "not those of the official protocol" in caplog.text
    with pytest.raises(FileNotFoundError, match=r"MARS-evaluation.*tools/prepare_mars\.py"):
        read_tracklets(home, need_info=True)


def test_frames_are_in_the_order_of_their_numbers(home, draw):
    (home / "info").rename(home / "elsewhere")
    draw(home / "bbox_train" / "0003", *(f"0003C1T0001F{n}.jpg" for n in ("999", "1000", "002")))
    [found] = [t for t in read_tracklets(home, need_info=False) if t.pid == 3]
    assert [Path(f).stem[12:] for f in found.frames] == ["001", "002", "999", "1000"]


def test_one_of_the_two_folders_is_enough(home, caplog):
    (home / "bbox_train").rename(home / "elsewhere")
    assert {t.subset for t in read_tracklets(home, need_info=True)} == {"query", "gallery"}
    assert "bbox_train is missing" in caplog.text
    (home / "bbox_test").rename(home / "too")
    with pytest.raises(FileNotFoundError, match="neither bbox_train nor bbox_test"):
        read_tracklets(home, need_info=True)


@pytest.mark.parametrize("need_info", [True, False])
def test_half_of_info_is_an_error_that_names_what_lacks(home, need_info):
    for name in INFO[2:4]:
        (home / "info" / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tracks_train.*, tracks_test.*fetch"):
        read_tracklets(home, need_info=need_info)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train": [[1, 3, 1, 1]]}, r"1 of 1 tracklets.*row 1 \(lines 1 to 3 of 4, person 1"),
        ({"train": [[3, 4, 1, 1]]}, "one person and one camera"),
        ({"train": [[1, 2, 3, 1]]}, "person 3, camera 1"),
        ({"train": [[1, 2, 1, 2]]}, "person 1, camera 2"),
        ({"train": [[4, 5, 3, 1]]}, "lines 4 to 5 of 4"),
        ({"train": [[0, 2, 1, 1]]}, "lines 0 to 2 of 4"),
        ({"train": [[2, 1, 1, 1]]}, "lines 2 to 1 of 4"),
        ({"train": [[1, 2, 1]]}, "is 1x3, not rows of 4"),
        ({"train": [[1, 1.5, 1, 1]]}, "not whole"),
        ({"queries": [6]}, "with 5 rows, does not have, such as 6"),
        ({"queries": [0]}, "such as 0"),
    ],
)
def test_rows_that_do_not_fit_are_an_error(home, change, why):
    write_info(home, **change)
    with pytest.raises(ValueError, match=rf"{why}.*MARS-evaluation"):
        read_tracklets(home, need_info=False)


def test_a_damaged_matlab_file_is_named(home):
    (home / "info" / "query_IDX.mat").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"query_IDX\.mat cannot be read.*fetch"):
        read_tracklets(home, need_info=True)


def test_lines_that_are_no_names_are_listed_and_counted(home):
    write_info(home, names=(*TRAIN, "0009C7T0001F001", "", "0001C1T0001F003"))
    with pytest.raises(ValueError, match=r"2 names in .*train_name\.txt.*'0009C7T0001F001\.jpg'"):
        read_tracklets(home, need_info=True)


def test_pictures_that_do_not_parse_are_listed_and_counted(home, draw):
    (home / "info").rename(home / "elsewhere")
    draw(home / "bbox_train", "0001/holiday.jpg", "0001/0003C1T0001F009.jpg", "loose.png")
    (home / "bbox_train" / "0001" / "Thumbs.db").write_bytes(b"no picture")
    (home / "bbox_train" / "0001" / "._0001C1T0001F001.jpg").write_bytes(b"left by macOS")
    with pytest.raises(ValueError, match=r"3 names in .*bbox_train.*0001/holiday\.jpg, loose\.png"):
        read_tracklets(home, need_info=False)


def test_a_folder_without_pictures_is_told(home, caplog):
    (home / "info").rename(home / "elsewhere")
    (home / "bbox_train" / "0008").mkdir()
    read_tracklets(home, need_info=False)
    assert "1 folders in" in caplog.text and "0008" in caplog.text


def test_pictures_that_are_not_on_disk_are_counted(home):
    (home / "bbox_test" / "0002" / "0002C1T0001F002.jpg").unlink()
    (home / "bbox_test" / "0000" / "0000C3T0001F001.jpg").unlink()
    (home / "bbox_test" / "00-1" / "00-1C1T0001F001.jpg").unlink()  # junk: nobody wants it
    with pytest.raises(FileNotFoundError, match=r"2 pictures.*0000/0000C3T0001F001\.jpg, 0002/"):
        read_tracklets(home, need_info=True)


# Queries where no list tells them


@pytest.mark.parametrize(
    ("seen", "queries"),
    [
        ([(1, 1), (1, 1), (1, 1), (1, 2)], [0]),  # the first of the camera with several
        ([(1, 1), (1, 1), (1, 2), (1, 2)], [0, 2]),  # of each such camera
        ([(1, 2), (1, 1), (1, 3)], [1]),  # no such camera: one query, of the lowest
        ([(1, 1), (2, 1), (2, 2)], [1]),  # nothing to find person 1 in
        ([(0, 1), (0, 1), (-1, 1), (-1, 1)], []),  # nobody
        ([], []),
    ],
)
def test_queries_by_rule(seen, queries):
    assert pick_queries(seen) == queries


@pytest.mark.skipif(not REAL.is_dir(), reason="real pictures are not on this machine")
def test_the_real_set_in_marss_layout():
    train, query, gallery = load_dataset("mars", REAL)
    assert (len(train), len(query), len(query) + len(gallery)) == (2378, 1066, 1163)
    assert len({s.pid for s in train}) == 500
    assert isinstance(read_tracklets(REAL, need_info=True)[0], Tracklet)
