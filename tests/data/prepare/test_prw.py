"""A small PRW, drawn as its authors release it, becomes a dataset."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from reidtools.data.datasets import load_dataset
from reidtools.data.prepare import prepare_prw, prw

TOOL = Path(__file__).parents[3] / "tools" / "prepare_prw.py"
# Frame -> the key of its boxes, and rows of id, x, y, width, height; a frame is 100 x 80 pixels.
BOXES = {
    "c1s1_000001": ("box_new", [[12, 10, 20, 30, 40], [-2, 0, 0, 20, 40], [3, 50, 0, 20, 40]]),
    "c2s1_000050": ("anno_file", [[12, -5.3, -7.6, 30, 40]]),
    "c3s2_000007": ("anno_previous", [[-2, 5, 5, 10, 20], [40, 80.4, 60.5, 50, 50]]),
    "c6s1_000100": ("box_new", [[40, 10, 10, 20, 50]]),
    "c6s1_000200": ("box_new", []),
}
TRAIN, TEST = list(BOXES)[:2], list(BOXES)[2:]


def cells(names):
    """A MATLAB cell array of strings, N x 1."""
    array = np.empty((len(names), 1), object)
    array[:, 0] = names
    return array


def annotate(raw, frame, key, rows):
    (raw / "annotations").mkdir(exist_ok=True)
    savemat(raw / "annotations" / f"{frame}.jpg.mat", {key: np.array(rows, float)})


def noise(file, size):
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, file.name)))
    coarse = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    Image.fromarray(coarse).resize(size).save(file, quality=95)


@pytest.fixture
def raw(tmp_path):
    """The folder PRW-v16.04.20."""
    raw = tmp_path / "PRW-v16.04.20"
    for frame, (key, rows) in BOXES.items():
        noise(raw / "frames" / f"{frame}.jpg", (100, 80))
        annotate(raw, frame, key, rows)
    savemat(raw / "frame_train.mat", {"img_index_train": cells(TRAIN)})
    savemat(raw / "frame_test.mat", {"img_index_test": cells([f"{name}.jpg" for name in TEST])})
    savemat(raw / "ID_train.mat", {"ID_train": np.array([[3, 12]], np.uint16)})
    (raw / "query_info.txt").write_bytes(b"40 9.6 10.2 20.3 50 c6s1_000100\r\n")
    noise(raw / "query_box" / "40_c6s1_000100.jpg", (20, 48))
    return raw


@pytest.fixture
def out(tmp_path):
    return tmp_path / "datasets" / "PRW_reid"


def tree(out):
    return sorted(f"{p.parent.name}/{p.name}" for p in out.rglob("*.jpg"))


ALL = [
    "bounding_box_test/0040_c3s2_000007_01.jpg",
    "bounding_box_test/0040_c6s1_000100_00.jpg",
    "bounding_box_train/0003_c1s1_000001_02.jpg",
    "bounding_box_train/0012_c1s1_000001_00.jpg",
    "bounding_box_train/0012_c2s1_000050_00.jpg",
    "query/0040_c6s1_000100.jpg",
]


def test_known_people_of_all_three_forms_of_annotation(raw, out, caplog):
    assert prepare_prw(raw, out) == (out, 6, 0, ())
    assert tree(out) == ALL
    assert not caplog.messages


def test_it_is_a_dataset(raw, out):
    prepare_prw(raw, out)
    splits = load_dataset("prw", out.parent)
    assert [[(s.pid, s.camid) for s in split] for split in splits] == [
        [(3, 0), (12, 0), (12, 1)],
        [(40, 5)],
        [(40, 2), (40, 5)],
    ]
    assert load_dataset("prw", out) == load_dataset("PRW_reid", out.parent) == splits


def test_unknown_people_are_junk_in_the_gallery_if_asked_for(raw, out):
    before = prepare_prw(raw, out)
    made = prepare_prw(raw, out, keep_unknown=True)
    assert before.written == 6 and made[1:] == (1, 6, ())
    assert set(tree(out)) - set(ALL) == {"bounding_box_test/-2_c3s2_000007_00.jpg"}
    assert [s.pid for s in load_dataset("prw", out).gallery] == [40, 40]


def test_boxes_are_rounded_and_clipped(raw, out):
    """Corners -5.3, -7.6 … 24.7, 32.4, and 80.4, 60.5 … 130.4, 110.5 beyond 100 x 80."""
    prepare_prw(raw, out)
    cases = {
        "bounding_box_train/0012_c1s1_000001_00.jpg": ("c1s1_000001", (10, 20, 40, 60)),
        "bounding_box_train/0012_c2s1_000050_00.jpg": ("c2s1_000050", (0, 0, 25, 32)),
        "bounding_box_test/0040_c3s2_000007_01.jpg": ("c3s2_000007", (80, 60, 100, 80)),
    }
    for name, (frame, box) in cases.items():
        with Image.open(out / name) as made, Image.open(raw / "frames" / f"{frame}.jpg") as whole:
            expected = np.asarray(whole.crop(box)).astype(int)
            assert made.size == (box[2] - box[0], box[3] - box[1])
            assert abs(np.asarray(made) - expected).mean() < 3  # JPEG


def test_queries_are_copied_byte_for_byte(raw, out):
    prepare_prw(raw, out)
    source = raw / "query_box" / "40_c6s1_000100.jpg"
    assert (out / "query" / "0040_c6s1_000100.jpg").read_bytes() == source.read_bytes()


def test_without_query_box_queries_are_cut(raw, out, monkeypatch):
    (raw / "query_box").rename(raw / "elsewhere")
    read = []
    original = prw.read_rgb
    monkeypatch.setattr(prw, "read_rgb", lambda path: read.append(path.stem) or original(path))
    prepare_prw(raw, out)
    assert tree(out) == ALL
    with Image.open(out / "query" / "0040_c6s1_000100.jpg") as picture:
        assert picture.size == (20, 50)  # 9.6 … 29.9, 10.2 … 60.2
    assert sorted(read) == list(BOXES)[:4]  # each once, and none without a box


@pytest.mark.parametrize("form", ["char matrix", "row", "nested"])
def test_lists_of_frames_in_other_forms(raw, out, form):
    nested = np.empty((1, 1), object)
    nested[0, 0] = cells(TRAIN)
    forms = {"char matrix": np.array(TRAIN), "row": cells(TRAIN).T, "nested": nested}
    savemat(raw / "frame_train.mat", {"img_index_train": forms[form]})
    prepare_prw(raw, out)
    assert tree(out) == ALL


def test_a_second_run_makes_what_is_missing(raw, out):
    prepare_prw(raw, out)
    (out / ALL[0]).unlink()
    (out / ALL[-1]).unlink()
    (out / ALL[1]).write_bytes(b"mine")
    assert prepare_prw(raw, out)[1:] == (2, 4, ())
    assert (out / ALL[1]).read_bytes() == b"mine"
    with pytest.raises(ValueError, match=r"'quality': 95.*'quality': 80"):
        prepare_prw(raw, out, quality=80)


def break_pictures(raw):
    annotate(raw, "c6s1_000200", "box_new", [[41, 100.2, 3, 9, 9], [41, 10, 3, 0.2, 9]])
    (raw / "frames" / "c1s1_000001.jpg").write_bytes(b"no picture")
    query = raw / "query_box" / "40_c6s1_000100.jpg"
    query.write_bytes(query.read_bytes()[:100])
    frame = "(frame c1s1_000001.jpg: not a picture)"
    return (
        f"0012_c1s1_000001_00.jpg {frame}",
        f"0003_c1s1_000001_02.jpg {frame}",
        "0041_c6s1_000200_00.jpg (its box 100.2, 3, 9, 9 shows nothing of the frame)",
        "0041_c6s1_000200_01.jpg (its box 10, 3, 0.2, 9 shows nothing of the frame)",
        "0040_c6s1_000100.jpg (40_c6s1_000100.jpg: truncated)",
    )


def test_what_cannot_be_made_is_told_and_left_out(raw, out, caplog):
    broken = break_pictures(raw)
    assert prepare_prw(raw, out) == (out, 3, 0, broken)
    assert caplog.messages[0].startswith(f"5 of 8 pictures could not be made: {broken[0]}, ")
    with pytest.raises(ValueError, match="5 of 8 pictures .*do without strict"):
        prepare_prw(raw, out, strict=True)
    assert len(tree(out)) == 3


def test_people_who_are_split_otherwise_are_told(raw, out, caplog):
    savemat(raw / "ID_train.mat", {"ID_train": np.array([[3], [12], [13]])})
    (raw / "query_info.txt").write_text("40 9 10 20 50 c6s1_000100\n12 1 2 3 4 c6s1_000100.jpg\n")
    noise(raw / "query_box" / "12_c6s1_000100.jpg", (20, 48))
    assert prepare_prw(raw, out).written == 7
    assert caplog.messages == [
        "1 people are in train and in query: ids 12.",
        "ID_train.mat lists 3 people, 2 are in the train frames; ids in one only: 13.",
    ]


@pytest.mark.parametrize(
    "missing",
    [
        "frame_train.mat",
        "frame_test.mat",
        "query_info.txt",
        "frames/c3s2_000007.jpg",
        "annotations/c2s1_000050.jpg.mat",
        "query_box/40_c6s1_000100.jpg",
    ],
)
def test_a_missing_part_is_named_before_anything_is_written(raw, out, missing):
    (raw / missing).unlink()
    with pytest.raises(FileNotFoundError, match=r"is missing; unpack the whole of PRW") as caught:
        prepare_prw(raw, out)
    assert str(raw / missing) in str(caught.value)
    assert not out.exists()


def test_missing_folders_are_counted(raw, out):
    (raw / "frames").rename(raw / "pictures")
    with pytest.raises(FileNotFoundError, match=r"c1s1_000001\.jpg and 4 other files are missing"):
        prepare_prw(raw, out)
    (raw / "query_box").rename(raw / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"frames/c6s1_000100\.jpg is missing"):
        prepare_prw(raw, out)


def test_the_id_list_may_be_missing(raw, out):
    (raw / "ID_train.mat").unlink()
    assert prepare_prw(raw, out).written == 6


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("frame_train.mat", {"a": 1, "b": 2}, "holds a, b, but not img_index_train;"),
        ("frame_test.mat", {}, "holds nothing, but not img_index_test;"),
        ("ID_train.mat", {"ID_test": 1}, "but not ID_train;"),
        ("frame_train.mat", {"img_index_train": ["../x"]}, r"1 names in .*mat.*'\.\./x'"),
        ("frame_train.mat", {"img_index_train": [5.0]}, r"1 names in .*mat.*'5\.0'"),
        (
            "annotations/c2s1_000050.jpg.mat",
            {"boxes": [[1, 2, 3, 4, 5]]},
            "holds boxes, but not box_new or anno_file or anno_previous; unpack the whole",
        ),
        ("annotations/c2s1_000050.jpg.mat", {"box_new": [[1, 2, 3, 4]]}, r"of shape \(1, 4\)"),
        ("annotations/c2s1_000050.jpg.mat", {"box_new": "text"}, "not rows of id, x, y"),
        ("annotations/c2s1_000050.jpg.mat", {"box_new": [[1, 2, np.nan, 4, 5]]}, "not finite"),
    ],
)
def test_a_strange_matlab_file_is_named(raw, out, file, content, message):
    savemat(raw / file, content)
    with pytest.raises(ValueError, match=message) as caught:
        prepare_prw(raw, out)
    assert str(raw / file) in str(caught.value)
    assert not out.exists()


def test_a_torn_matlab_file_is_named(raw, out):
    for content in (b"", b"no matlab", (raw / "frame_test.mat").read_bytes()[:200]):
        (raw / "frame_train.mat").write_bytes(content)
        with pytest.raises(ValueError, match=r"frame_train\.mat is not a readable MATLAB file"):
            prepare_prw(raw, out)


@pytest.mark.parametrize(
    "line",
    ["40 1 2 3 c6s1_000100", "-2 1 2 3 4 c6s1_000100", "40 1 2 3 nan c6s1_1", "40 1 2 3 4 ../x"],
)
def test_a_strange_query_is_shown(raw, out, line):
    (raw / "query_info.txt").write_text(f"40 9 1e1 20.5 .5 c6s1_000100\r\n\r\n{line}\r\n")
    with pytest.raises(ValueError, match=r"1 names in .*query_info\.txt") as caught:
        prepare_prw(raw, out)
    assert repr(line) in str(caught.value)
    assert not out.exists()


def test_nobody_to_cut_is_an_error(raw, out):
    for frame in BOXES:
        annotate(raw, frame, "box_new", [[-2, 1, 1, 9, 9]])
    (raw / "query_info.txt").write_text("")
    with pytest.raises(ValueError, match="no box of a known person and no query"):
        prepare_prw(raw, out)
    with pytest.raises(ValueError, match="1 to 100, not 101"):
        prepare_prw(raw, out, quality=101)


def test_the_command_as_documented(raw, out):
    (raw / "frames" / "c2s1_000050.jpg").write_bytes(b"no picture")
    words = f"--raw {raw} --out {out}".split()
    command = [sys.executable, str(TOOL), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=raw)
    assert done.returncode == 0, done.stderr
    assert "=> Loaded PRW" in done.stdout and "| gallery  |" in done.stdout
    assert "5 pictures written, 0 were there already, 1 failed" in done.stdout
    wrong = subprocess.run([*command, "--strict"], capture_output=True, text=True, cwd=raw)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: 1 of 6 pictures")
