"""Ranked lists, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from reidtools.visualize.images import file_names
from reidtools.visualize.ranked_lists import (
    BLACK,
    GREEN,
    GREY,
    RED,
    ranked_list,
    write_ranked_lists,
)

BLUE, ORANGE, WHITE = (0, 0, 200), (250, 140, 10), (255, 255, 255)


@pytest.fixture
def draw(tmp_path):
    """``draw(name, colour)`` -> the path of a picture of one colour."""

    def make(name, colour=BLUE):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 50), colour).save(path)
        return path

    return make


def framed(tile, colour, inside):
    """Whether a tile (256, 128, 3) is of the colour `inside`, with a frame of 3 pixels."""
    expected = np.full((256, 128, 3), colour)
    expected[3:-3, 3:-3] = inside
    return tile.shape == expected.shape and (tile == expected).all()


def test_every_pixel(draw):
    blue, orange = draw("blue.png"), draw("orange.png", ORANGE)
    made = ranked_list(blue, [orange, blue], [True, False], topk=3)
    assert made.shape == (256, 4 * 128 + 3 * 2 + 8, 3) and made.dtype == np.uint8
    starts = [0, 138, 268]  # 128 + 2 + 8, and then 128 + 2 each
    looks = [(BLACK, BLUE), (GREEN, ORANGE), (RED, BLUE)]
    for start, (colour, inside) in zip(starts, looks, strict=True):
        assert framed(made[:, start : start + 128], colour, inside)
        made[:, start : start + 128] = WHITE
    assert (made == WHITE).all()


def test_the_sizes_of_ten_and_of_what_there_is(draw):
    picture = draw("a.png")
    assert ranked_list(picture, [picture], [True], topk=10).shape == (256, 11 * 128 + 10 * 2 + 8, 3)
    assert ranked_list(picture, [picture] * 2, [True] * 2).shape == (256, 3 * 128 + 4 + 8, 3)


def test_verdicts_must_fit(draw):
    picture = draw("a.png")
    for verdicts, topk in (([True], 5), ([True, False], 1)):
        with pytest.raises(ValueError, match="2 pictures, .* give each picture its verdict"):
            ranked_list(picture, [picture] * 2, verdicts, topk=topk)


def write(draw, folder, queries, **options):
    gallery = [draw("g/orange.png", ORANGE), draw("g/blue.png")]
    columns, right = np.array([[1, 0, -1]] * 3), np.array([[True, False, False]] * 3)
    count = len(queries)
    return write_ranked_lists(queries, gallery, columns[:count], right[:count], folder, **options)


def test_files_are_called_like_their_queries(draw, tmp_path):
    queries = [draw("q/a.png"), draw("q/b.png", ORANGE), draw("q/deeper/a.jpg")]
    files = write(draw, tmp_path / "out" / "visrank", queries)
    assert [file.name for file in files] == ["a.png", "b.png", "a_2.png"]
    assert sorted((tmp_path / "out" / "visrank").iterdir()) == sorted(files)
    made = np.asarray(Image.open(files[1]))
    expected = [tmp_path / "pictures" / "g" / name for name in ("blue.png", "orange.png")]
    assert (made == ranked_list(queries[1], expected, [True, False], topk=3)).all()
    assert framed(made[:, :128], BLACK, ORANGE) and framed(made[:, 138:266], GREEN, BLUE)


def test_a_number_does_not_take_the_name_of_another_query():
    paths = ["x/a.jpg", "y/a.jpg", "a_2.jpg", "A.png", "a_2.png", "b.jpg"]
    assert file_names(paths) == ["a", "a_3", "a_2", "A_4", "a_2_2", "b"]


def test_no_more_than_asked_for(draw, tmp_path):
    queries = [draw("q/a.png"), draw("q/b.png"), draw("q/c.png")]
    assert len(write(draw, tmp_path / "two", queries, most=2, workers=1)) == 2
    assert write(draw, tmp_path / "none", queries, most=0) == []
    assert len(list((tmp_path / "two").iterdir())) == 2


def test_an_unreadable_picture_is_named(draw, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"broken\.jpg is not a readable picture; restore or remove"):
        write(draw, tmp_path / "out", [draw("q/a.png"), broken])
    assert not list((tmp_path / "out").glob("broken*"))


@pytest.mark.parametrize("columns", [np.zeros((1, 2)), np.zeros((2, 3)), np.zeros(2)])
def test_shapes_that_do_not_fit_are_refused(draw, tmp_path, columns):
    with pytest.raises(ValueError, match="2 queries, columns .*; give columns and verdicts a row"):
        write_ranked_lists(["a", "b"], ["c"], columns, np.zeros((2, 2), bool), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nobody_knows_is_grey(draw):
    made = ranked_list(draw("a.png"), [draw("b.png")] * 2, [None, True])
    assert framed(made[:, 138:266], GREY, BLUE) and framed(made[:, 268:], GREEN, BLUE)


def test_captions_stand_below_and_change_nothing_above(draw, tmp_path):
    blue, orange = draw("blue.png"), draw("orange.png", ORANGE)
    plain = ranked_list(blue, [orange, blue], [True, False], topk=3)
    made = ranked_list(blue, [orange, blue], [True, False], topk=3, captions=["c1", "c2", ""])
    assert made.shape == (276, plain.shape[1], 3) and (made[:256] == plain).all()
    strip = made[256:]
    assert (strip[:, :128] < 255).any() and (strip[:, 138:266] < 255).any()
    assert (strip[:, 128:138] == 255).all() and (strip[:, 268:] == 255).all()
    with pytest.raises(ValueError, match="2 captions .*; give each its own"):
        ranked_list(blue, [orange, blue], [True, False], captions=["c1", "c2"])


def test_captions_of_files_follow_their_hits(draw, tmp_path):
    gallery, query = [draw("g/orange.png", ORANGE), draw("g/blue.png")], draw("q/a.png")
    columns, right = np.array([[1, -1, 0]]), np.array([[None, None, True]], object)
    captions = [["c1", "c2  0.9", "nobody", "c3  0.5"]]
    (file,) = write_ranked_lists([query], gallery, columns, right, tmp_path, captions=captions)
    expected = ranked_list(
        query, gallery[::-1], [None, True], topk=3, captions=["c1", "c2  0.9", "c3  0.5"]
    )
    assert (np.asarray(Image.open(file)) == expected).all()
    for wrong in ([["c1"]], captions * 2):
        with pytest.raises(ValueError, match="give each of the 1 queries 4 of them"):
            write_ranked_lists([query], gallery, columns, right, tmp_path, captions=wrong)
