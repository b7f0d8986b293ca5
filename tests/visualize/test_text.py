import numpy as np
import pytest

from reidtools.visualize.text import STRIP, camera_and_score, write_line


def test_what_is_written():
    assert camera_and_score(4, 0.94104) == "c5  0.941"
    assert camera_and_score(-1) == "" and camera_and_score(0) == "c1"


@pytest.mark.parametrize("text", ["c1", "c15  0.941", "a name that is much longer than its place"])
def test_a_line_fits_and_stands_in_the_middle(text):
    canvas = np.full((40, 200, 3), 255, np.uint8)
    write_line(canvas[10 : 10 + STRIP, 30:158], text)
    rows, columns = np.nonzero((canvas < 255).any(2))
    assert rows.min() > 10 and rows.max() < 10 + STRIP - 1
    assert columns.min() >= 30 and columns.max() < 158
    assert abs((columns.min() + columns.max()) / 2 - 94) < 3


def test_letters_that_the_font_lacks_and_no_letters():
    question, accent = (np.full((STRIP, 128, 3), 255, np.uint8) for _ in range(2))
    write_line(question, "?")
    write_line(accent, "é")
    assert (question == accent).all() and (question < 255).any()
    write_line(empty := np.full((STRIP, 128, 3), 255, np.uint8), "")
    assert (empty == 255).all()
