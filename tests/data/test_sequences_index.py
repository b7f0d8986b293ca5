"""An index of sequences: windows become tracklets again, and a bad index says what is wrong."""

import csv
import logging
from pathlib import Path

import pytest

from reidtools.data.datasets import load_dataset

COLUMNS = (
    *("split", "person_id", "camera_id", "sequence_id", "frames_dir", "num_frames"),
    *("tracklet_id", "subset", "start_frame"),
)
ROWS = [  # windows of 3 frames, of which one begins the next
    ("train", 1, 1, "a_000", 3, "0001C1T0001", "train", 1),
    ("train", 1, 1, "a_001", 3, "0001C1T0001", "train", 3),
    ("train", 2, 2, "b", 2, "0002C2T0001", "train", 1),
    ("test", 5, 1, "c_001", 3, "0005C1T0001", "query", 3),
    ("test", 5, 1, "c_000", 3, "0005C1T0001", "query", 1),
    ("test", 5, 2, "d", 3, "0005C2T0001", "gallery", 1),
    ("test", 0, 1, "e", 1, "0000C1T0001", "gallery", 1),
    ("test", -1, 1, "junk", 1, "00-1C1T0001", "gallery", 1),
]


def records(rows=ROWS):
    """What the index has of each of the `rows`."""
    for split, pid, camera, name, count, tracklet, subset, start in rows:
        values = (split, pid, camera, name, f"{split}/{name}/rgb", count, tracklet, subset, start)
        yield dict(zip(COLUMNS, values, strict=True))


def write(root, lines, columns=COLUMNS):
    """Write the index of `lines`, of which it keeps the `columns`."""
    root.mkdir(exist_ok=True, parents=True)
    with (root / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)


@pytest.fixture
def root(tmp_path, draw):
    """A root with the frames of ROWS and their index."""
    root = tmp_path / "processed"
    for line in records():
        names = (f"frame{place:04d}.jpg" for place in range(1, line["num_frames"] + 1))
        draw(root / line["frames_dir"], *names)
    write(root, records())
    return root


def told(samples):
    """Who, where, and which frames: c_000/1 is frame0001.jpg of the window c_000."""
    return [
        (s.pid, s.camid, [f"{Path(p).parts[-3]}/{int(Path(p).stem[5:])}" for p in s.paths])
        for s in samples
    ]


def test_a_window_trains_and_a_tracklet_is_tested(root):
    train, query, gallery = load_dataset("sequences", root)
    assert [len(s.paths) for s in train] == [3, 3, 2]
    assert [(s.pid, s.camid) for s in train] == [(1, 0), (1, 0), (2, 1)]
    # Frame 3 of the tracklet is in both windows: once is enough.
    assert told(query) == [(5, 0, ["c_000/1", "c_000/2", "c_000/3", "c_001/2", "c_001/3"])]
    assert told(gallery) == [(5, 1, ["d/1", "d/2", "d/3"]), (0, 0, ["e/1"])]
    assert all(Path(p).is_file() for s in train + query + gallery for p in s.paths)


def test_the_index_is_found_from_here_and_from_root(root, monkeypatch, tmp_path):
    (root / "index.csv").rename(root / "mine.csv")
    whole = load_dataset("sequences", tmp_path, index_csv=str(root / "mine.csv"))
    assert load_dataset("sequences", root, index_csv="mine.csv") == whole
    monkeypatch.chdir(tmp_path)
    assert load_dataset("sequences", "nowhere", index_csv="processed/mine.csv") == whole
    with pytest.raises(FileNotFoundError, match=r"looked for .*index\.csv and .*prepare_mars\.py"):
        load_dataset("sequences", root)
    with pytest.raises(FileNotFoundError, match=r"other.csv and .*/other\.csv.*INDEX_CSV"):
        load_dataset("sequences", root, index_csv="other.csv")


def test_val_is_tested_if_there_is_any(root, draw, caplog):
    caplog.set_level("INFO")
    lines = list(records())
    for line in lines[3:6]:
        lines.append({**line, "split": "val", "person_id": 9})
    write(root, lines)
    assert {s.pid for s in load_dataset("sequences", root).query} == {9}
    assert "the val rows" in caplog.text
    assert {s.pid for s in load_dataset("sequences", root, split="val").gallery} == {9}
    assert {s.pid for s in load_dataset("sequences", root, split="test").query} == {5}


def test_a_split_that_is_not_there_is_an_error(root):
    with pytest.raises(ValueError, match=r"no rows of split val, only of test, train.*--val-ids"):
        load_dataset("sequences", root, split="val")
    with pytest.raises(LookupError, match="Unknown split 'vale'. Did you mean 'val'"):
        load_dataset("sequences", root, split="vale")


def test_the_six_columns_of_the_document_are_enough(root):
    write(root, records(), COLUMNS[:6])
    splits = load_dataset("sequences", root)
    assert told(splits.query) == [(5, 0, ["c_001/1", "c_001/2", "c_001/3"])]  # of camera 1's two
    assert [s.pid for s in splits.gallery] == [5, 5, 0]


def test_without_starts_windows_follow_one_another(root):
    write(root, records(), COLUMNS[:8])
    [(_, _, frames)] = told(load_dataset("sequences", root).query)
    assert frames == [f"{window}/{n}" for window in ("c_001", "c_000") for n in (1, 2, 3)]


def test_without_subset_queries_are_chosen(root):
    write(root, ({**line, "subset": ""} for line in records()))
    splits = load_dataset("sequences", root)
    assert [(s.pid, s.camid, len(s.paths)) for s in splits.query] == [(5, 0, 5)]
    assert [s.pid for s in splits.gallery] == [5, 0]


def test_frames_may_be_names_in_a_folder_they_share(tmp_path, draw):
    draw(tmp_path / "raw" / "0001", *(f"f{n}.jpg" for n in range(5)))
    lines = [
        {**line, "frames_dir": "../raw/0001", "num_frames": 2, "frames": frames}
        for line, frames in zip(records(ROWS[:2]), ("f0.jpg f2.jpg", "f4.jpg f1.jpg"), strict=True)
    ]
    write(tmp_path / "out", lines, (*COLUMNS, "frames"))
    train = load_dataset("sequences", tmp_path / "out").train
    names = [[Path(path).name for path in s.paths] for s in train]
    assert names == [["f0.jpg", "f2.jpg"], ["f4.jpg", "f1.jpg"]]  # in the order of the index
    lines[1]["frames"] = "f4.jpg f7.jpg"
    write(tmp_path / "out", lines, (*COLUMNS, "frames"))
    with pytest.raises(ValueError, match=r"1 of 2 rows .*0001 lacks f7\.jpg"):
        load_dataset("sequences", tmp_path / "out")


def test_a_camera_0_means_that_cameras_count_from_0(root):
    write(root, ({**line, "camera_id": line["camera_id"] - 1} for line in records()))
    assert [s.camid for s in load_dataset("sequences", root).train] == [0, 0, 1]


def test_distractors_are_not_trained(root, caplog):
    write(root, ({**line, "person_id": line["person_id"] % 2} for line in records(ROWS[:3])))
    assert [s.pid for s in load_dataset("sequences", root).train] == [1, 1]
    assert "1 rows of person 0 in train are left out" in caplog.text


def test_numbers_may_be_written_as_pandas_does(root):
    write(root, ({**line, "person_id": float(line["person_id"])} for line in records()))
    assert [s.pid for s in load_dataset("sequences", root).train] == [1, 1, 2]


def test_parquet_says_the_same(root):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    wanted = load_dataset("sequences", root)
    (root / "index.csv").unlink()
    parquet.write_table(pyarrow.Table.from_pylist(list(records())), root / "index.parquet")
    assert load_dataset("sequences", root) == wanted
    (root / "index.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match="is no Parquet file"):
        load_dataset("sequences", root)


def test_parquet_without_pyarrow_names_the_extra(root, monkeypatch):
    (root / "index.csv").rename(root / "index.parquet")
    monkeypatch.setattr("reidtools.extras.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"reidtools\[parquet\]") as caught:
        load_dataset("sequences", root)
    assert caught.value.name is None


# What may be wrong


def test_missing_columns_are_all_named(root):
    write(root, records(), ("split", "person_id", "sequence_id", "num_frames"))
    with pytest.raises(ValueError, match=r"no column camera_id, frames_dir, only split, person_id"):
        load_dataset("sequences", root)


@pytest.mark.parametrize("text", ["", ",".join(COLUMNS) + "\n"])
def test_an_empty_index_is_an_error(root, text):
    (root / "index.csv").write_text(text)
    with pytest.raises(ValueError, match=r"index\.csv has no rows"):
        load_dataset("sequences", root)


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("person_id", "Ana", "line 2: person_id is 'Ana', not a whole number"),
        ("camera_id", "", "line 2: camera_id is '', not a whole number from 0"),
        ("num_frames", "2.5", "line 2: num_frames is '2.5'"),
        ("num_frames", "0", "line 2: num_frames is '0', not a whole number from 1"),
        ("start_frame", "first", "line 2: start_frame is 'first'"),
        ("split", "training", "line 2: split is 'training', not train, val or test"),
    ],
)
def test_entries_that_cannot_be_read_tell_their_line(root, column, value, why):
    first, *others = records()
    write(root, [{**first, column: value}, *others])
    with pytest.raises(ValueError, match=rf"1 entries in .*index\.csv are wrong: {why}"):
        load_dataset("sequences", root)


def test_subsets_must_be_known_whole_and_told_for_all(root):
    lines = list(records())
    for subset, why in (
        ("querry", "line 5: subset is 'querry'"),
        ("gallery", "1 tracklets in .* windows of several subsets: 0005C1T0001"),
    ):
        write(root, [*lines[:3], {**lines[3], "subset": subset}, *lines[4:]])
        with pytest.raises(ValueError, match=why):
            load_dataset("sequences", root)
    write(root, [*lines[:5], {**lines[5], "subset": ""}, *lines[6:]])
    with pytest.raises(ValueError, match="1 of 3 tracklets in .* have no subset"):
        load_dataset("sequences", root)


def test_folders_that_are_missing_are_counted(root):
    (root / "train" / "b").rename(root / "b")
    (root / "test" / "d").rename(root / "d")
    with pytest.raises(FileNotFoundError, match=r"2 of 7 folders .*train/b/rgb, .*test/d/rgb"):
        load_dataset("sequences", root)


def test_a_folder_without_pictures_is_an_error(root):
    for file in (root / "train" / "b" / "rgb").iterdir():
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(ValueError, match=r"1 of 7 folders .* have no pictures: .*train/b/rgb"):
        load_dataset("sequences", root)


def test_another_number_of_frames_is_an_error(root):
    (root / "train" / "b" / "rgb" / "frame0002.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 7 rows .*train/b/rgb \(1, not 2\)"):
        load_dataset("sequences", root)


def test_a_cell_that_no_csv_has_is_told(root):
    with (root / "index.csv").open("a") as file:
        file.write('train,1,1,"' + "x" * 200_000)
    with pytest.raises(ValueError, match=r"index\.csv is no CSV file \(line "):
        load_dataset("sequences", root)


def test_an_index_to_train_on_only_is_told(root, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("reidtools"), "propagate", True)
    write(root, [line for line in records() if line["split"] == "train"])
    train, query, gallery = load_dataset("sequences", root)
    assert len(train) == 3 and query == gallery == []
    assert "has rows of train only" in caplog.text and "--val-ids" in caplog.text


@pytest.mark.parametrize("folder", ["train/a\0b/rgb", f"train/{'x' * 300}/rgb"])
def test_a_folder_that_cannot_be_is_missing(root, folder):
    lines = list(records())
    lines[0]["frames_dir"] = folder
    write(root, lines)
    with pytest.raises((FileNotFoundError, ValueError), match="1 of 7 folders|no CSV file"):
        load_dataset("sequences", root)


def test_more_values_than_columns_are_told(root):
    text = (root / "index.csv").read_text().splitlines()
    (root / "index.csv").write_text("\n".join([*text[:2], text[2] + ",7", *text[3:]]))
    with pytest.raises(ValueError, match="line 3: there are more values than columns"):
        load_dataset("sequences", root)
