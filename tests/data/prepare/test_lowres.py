"""A dataset at a half or a quarter of its resolution, beside itself."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidtools.data.datasets import load_dataset
from reidtools.data.datasets.market import FOLDERS
from reidtools.data.prepare import make_low_resolution

TOOL = Path(__file__).parents[3] / "tools" / "makelr.py"


def noise(file, size, seed=0):
    """Write a picture of coloured noise, and return it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    picture.save(file)
    return picture


def same(file, picture):
    with Image.open(file) as made:
        return made.size == picture.size and np.array_equal(np.asarray(made), np.asarray(picture))


@pytest.fixture
def home(market):
    return market / "market1501"


def test_the_copy_is_a_dataset_by_its_name(market, home):
    made = make_low_resolution(home, 2)
    assert made == (market / "market1501x2", 13, 0, ())  # 4 + 2 + 7; gt_query is not read
    original, small = (load_dataset(name, market) for name in ("market1501", "market1501x2"))
    for own, copied in zip(original, small, strict=True):
        assert [(s.pid, s.camid) for s in own] == [(s.pid, s.camid) for s in copied]
        assert [Path(s.paths[0]).name for s in own] == [Path(s.paths[0]).name for s in copied]
    with Image.open(small.train[0].paths[0]) as picture:
        assert picture.size == (4, 8)


@pytest.mark.parametrize(
    ("scale", "name", "size"), [(2, "x2", (14, 28)), (4.0, "x4", (7, 14)), (1.5, "x1.5", (19, 37))]
)
def test_shrinking_is_bicubic_and_keeps_names_and_formats(tmp_path, scale, name, size):
    names = ["0001_c1s1_000001_00.png", "0001_c1s1_000001_01.BMP"]
    pictures = [
        noise(tmp_path / "mine" / "query" / n, (28, 56), seed=i) for i, n in enumerate(names)
    ]
    make_low_resolution(tmp_path / "mine", scale)
    for n, picture in zip(names, pictures, strict=True):
        made = tmp_path / f"mine{name}" / "query" / n
        assert same(made, picture.resize(size, Image.Resampling.BICUBIC))
    kinds = [Image.open(tmp_path / f"mine{name}" / "query" / n).format for n in names]
    assert kinds == ["PNG", "BMP"]


def test_upsampling_restores_the_size_but_no_detail(tmp_path):
    picture = noise(tmp_path / "mine" / "query" / "0001_c1.png", (29, 57))
    assert make_low_resolution(tmp_path / "mine", 2, upsample=True).written == 1
    small = picture.resize((14, 28), Image.Resampling.BICUBIC)  # 14.5 and 28.5, rounded to even
    again = small.resize((29, 57), Image.Resampling.BICUBIC)
    assert same(tmp_path / "minex2" / "query" / "0001_c1.png", again)


def test_jpegs_have_the_quality_asked_for(tmp_path):
    noise(tmp_path / "mine" / "query" / "0001_c1.jpg", (64, 128))
    sizes = []
    for quality in (30, 95):
        make_low_resolution(tmp_path / "mine", 2, quality=quality)
        out = tmp_path / "minex2"
        sizes.append((out / "query" / "0001_c1.jpg").stat().st_size)
        out.rename(tmp_path / f"done{quality}")
    assert sizes[0] < sizes[1] / 2


def test_a_picture_that_lies_on_its_side_is_turned_as_readers_turn_it(tmp_path):
    file = tmp_path / "mine" / "query" / "0001_c1.jpg"
    file.parent.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (32, 16), (200, 30, 30)).save(file, exif=exif)
    make_low_resolution(tmp_path / "mine", 2)
    with Image.open(tmp_path / "minex2" / "query" / "0001_c1.jpg") as picture:
        assert picture.size == (8, 16) and not picture.getexif()


def test_a_second_run_makes_what_is_missing(market, home):
    make_low_resolution(home, 2)
    gone = market / "market1501x2" / "query" / "0001_c1s1_001051_00.jpg"
    kept = market / "market1501x2" / "query" / "0003_c6s1_000551_00.jpg"
    gone.unlink()
    kept.write_bytes(b"mine")
    assert make_low_resolution(home, 2)[1:] == (1, 12, ())
    assert gone.stat().st_size and kept.read_bytes() == b"mine"


def test_another_kind_is_not_mixed_in(home):
    make_low_resolution(home, 2)
    with pytest.raises(ValueError, match="market1501x2 was made with .*'upsample': False"):
        make_low_resolution(home, 2, upsample=True)


def test_how_the_folder_is_typed_does_not_matter(market, home, monkeypatch):
    monkeypatch.chdir(home)
    for typed in ("..//market1501/", ".", "", "./", home, f"{home}/"):
        assert make_low_resolution(typed, 2).folder == market / "market1501x2"
    monkeypatch.chdir(home / "query")
    assert make_low_resolution("..", 2).folder == market / "market1501x2"
    assert sorted(p.name for p in market.iterdir()) == ["market1501", "market1501x2"]


def test_the_copy_of_a_link_lies_beside_the_link(market, home, tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "market1501").symlink_to(home)
    made = make_low_resolution(tmp_path / "datasets" / "market1501", 2)
    assert made.folder == tmp_path / "datasets" / "market1501x2"


def break_pictures(home):
    (home / "query" / "0005_c1s1_000001_00.jpg").write_bytes(b"no picture")
    noise(home / "query" / "0006_c1s1_000001_00.png", (1, 40))
    return (
        "query/0005_c1s1_000001_00.jpg (not a picture)",
        "query/0006_c1s1_000001_00.png (1 x 40 pixels are too few for a scale of 2)",
    )


def test_what_cannot_be_made_is_told_and_left_out(market, home, caplog):
    broken = break_pictures(home)
    assert make_low_resolution(home, 2)[1:] == (13, 0, broken)
    assert caplog.messages[0].startswith(f"2 of 15 pictures could not be made: {broken[0]}")
    assert len(list((market / "market1501x2" / "query").iterdir())) == 2


def test_strict_makes_that_an_error(market, home):
    break_pictures(home)
    with pytest.raises(ValueError, match="2 of 15 pictures .*do without strict"):
        make_low_resolution(home, 2, strict=True)
    assert len(load_dataset("market1501x2", market).train) == 3


def test_nothing_but_failures_is_an_error_and_may_be_tried_again(home):
    with pytest.raises(
        ValueError, match="13 of 13 pictures .*8 x 16 pixels are too few.* all of them"
    ):
        make_low_resolution(home, 16)
    with pytest.raises(ValueError, match="13 of 13"):
        make_low_resolution(home, 16, quality=90)


@pytest.mark.parametrize("scale", [1, 0.5, 0, -2, math.nan, math.inf])
def test_a_scale_is_more_than_1(home, scale):
    with pytest.raises(ValueError, match=f"{re.escape(str(scale))} makes nothing smaller"):
        make_low_resolution(home, scale)


def test_other_mistakes_leave_no_folder(tmp_path, home):
    with pytest.raises(ValueError, match="not 0"):
        make_low_resolution(home, 2, quality=0)
    with pytest.raises(FileNotFoundError, match=r"bounding_box_train, query.*Market-1501 layout"):
        make_low_resolution(home / "query", 2)
    (tmp_path / "mine" / "query" / "0001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"There are no pictures in query of .*mine"):
        make_low_resolution(tmp_path / "mine", 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["market1501", "mine"]


def run(*words, cwd):
    command = [sys.executable, str(TOOL), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_command_as_documented(market, home):
    (home / "query" / "0005_c1s1_000001_00.jpg").write_bytes(b"no picture")
    done = run("--scale", "2", "--data_dir", "./market1501/", cwd=market)
    assert done.returncode == 0, done.stderr
    assert "market1501x2: 13 pictures written, 0 were there already, 1 failed" in done.stdout
    assert "DATASETS.NAMES market1501x2" in done.stdout
    assert "0005_c1s1_000001_00.jpg (not a picture)" in done.stderr
    wrong = run("--scale", "2", "--data-dir", "market1501", "--strict", cwd=market)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: 1 of 14 pictures")
    assert set(FOLDERS) < {p.name for p in (market / "market1501x2").iterdir()}


def test_folders_of_people_are_copied_too(tmp_path):
    for name in ("query/7/a.png", "bounding_box_train/3_1.png", "bounding_box_test/7_5.png"):
        noise(tmp_path / "MOT17_reid" / name, (32, 64))
    assert make_low_resolution(tmp_path / "MOT17_reid", 2).written == 3
    copy = load_dataset("MOT17_reidx2", tmp_path)  # read as the dataset it is a copy of
    assert [(s.pid, s.camid) for s in copy.train + copy.query] == [(3, 0), (7, 0)]


def test_what_somebody_else_put_there_must_have_the_right_size(tmp_path):
    for i in range(2):
        noise(tmp_path / f"mine/query/{i}.png", (32, 64))
    noise(tmp_path / "minex2/query/0.png", (16, 32))
    assert make_low_resolution(tmp_path / "mine", 2)[1:] == (1, 1, ())
    noise(tmp_path / "minex4/query/0.png", (16, 32))
    with pytest.raises(ValueError, match=r"minex4/query/0\.png is there already, 16 x 32 and not"):
        make_low_resolution(tmp_path / "mine", 4)


def test_a_scale_beyond_every_picture_leaves_nothing(tmp_path):
    noise(tmp_path / "mine/query/a.png", (32, 64))
    with pytest.raises(ValueError, match=r"32 x 64 pixels are too few for a scale of 100"):
        make_low_resolution(tmp_path / "mine", 100)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
