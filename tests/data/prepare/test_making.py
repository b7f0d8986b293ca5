"""What was made, kept and impossible is counted."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from reidtools.data.prepare.files import (
    RECORD,
    Made,
    Unreadable,
    begin,
    check_quality,
    conclude,
    in_threads,
    is_made,
    read_rgb,
    write_picture,
)


def test_an_empty_file_was_not_made(tmp_path):
    """A machine that lost power may leave the name without the content."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").write_bytes(b"x")
    assert [is_made(tmp_path / name) for name in ("a.jpg", "b.jpg", "c.jpg")] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "CMYK", "1"])
def test_every_picture_comes_in_colour(tmp_path, mode):
    file = tmp_path / f"a.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (4, 6)).save(file)
    assert (read_rgb(file).mode, read_rgb(file).size) == ("RGB", (4, 6))


def test_what_is_no_whole_picture_is_told(tmp_path):
    cases = {"text.jpg": b"no picture", "empty.jpg": b"", "cut.png": None}
    for name, content in cases.items():
        if content is None:
            Image.effect_noise((64, 64), 90).save(tmp_path / name)
            content = (tmp_path / name).read_bytes()[:1500]
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Unreadable) as caught:
            read_rgb(tmp_path / name)
        assert str(caught.value) and str(tmp_path) not in str(caught.value)
    with pytest.raises(Unreadable, match="No such file"):
        read_rgb(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("name", "kind"), [("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.png", "PNG"), ("a.bmp", "BMP")]
)
def test_the_ending_names_the_format(tmp_path, name, kind):
    write_picture(Image.new("RGB", (8, 8), (200, 10, 10)), tmp_path / name, 95)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind
        if kind == "JPEG":
            assert {layer[1:3] for layer in picture.layer} == {(1, 1)}  # 4:4:4


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_quality_has_bounds(quality):
    check_quality(1), check_quality(100)
    with pytest.raises(ValueError, match=f"1 to 100, not {quality}"):
        check_quality(quality)


def test_other_options_are_refused_where_pictures_are_kept(tmp_path):
    begin(tmp_path / "out", {"scale": 2.0})
    begin(tmp_path / "out", {"scale": 2})
    with pytest.raises(ValueError, match=r"'scale': 2\.0.*'scale': 4.*delete or rename it"):
        begin(tmp_path / "out", {"scale": 4})
    (tmp_path / "out" / RECORD).write_text("{")
    with pytest.raises(ValueError, match="something unreadable"):
        begin(tmp_path / "out", {"scale": 2})


def test_a_folder_that_somebody_else_filled_gets_no_note(tmp_path, draw):
    draw(tmp_path / "query", "0001_c1s1_000001_00.jpg")
    begin(tmp_path, {"scale": 2})
    assert not (tmp_path / RECORD).exists()


def test_threads_keep_the_order():
    assert in_threads(lambda n: n * n, range(100), "squares") == [n * n for n in range(100)]
    assert in_threads(str, [], "nothing") == []


def test_the_first_error_stops_the_rest(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    begun, stopped, shutdown = [], threading.Event(), ThreadPoolExecutor.shutdown

    def stop(pool, **how):
        shutdown(pool, wait=False, **how)
        stopped.set()

    def work(job):
        begun.append(job)
        if job == 0:
            raise ZeroDivisionError
        stopped.wait(10)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", stop)
    with pytest.raises(ZeroDivisionError):
        in_threads(work, range(100), "jobs")
    assert begun in ([0], [0, 1])


def test_the_account(tmp_path, caplog):
    made = conclude(tmp_path, 9, 2, ["a.jpg (truncated)"], strict=False)
    assert made == Made(tmp_path, 6, 2, ("a.jpg (truncated)",))
    assert str(made) == f"{tmp_path}: 6 pictures written, 2 were there already, 1 failed"
    assert caplog.messages == [
        "1 of 9 pictures could not be made: a.jpg (truncated). The others are in " + f"{tmp_path}."
    ]
    with pytest.raises(ValueError, match="1 of 9 pictures .*do without strict"):
        conclude(tmp_path, 9, 2, ["a.jpg (truncated)"], strict=True)


def test_five_failures_are_named_and_all_failures_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"6 of 6 pictures .*: a, b, c, d, e …\. That is all"):
        conclude(tmp_path, 6, 0, list("abcdef"), strict=False)
    assert conclude(tmp_path, 6, 6, [], strict=True) == Made(tmp_path, 0, 6, ())
