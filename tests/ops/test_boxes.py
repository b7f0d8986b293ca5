import numpy as np
import pytest

from reidtools.ops.boxes import cut, pixels

FRAME = np.arange(10 * 20 * 3).astype(np.uint8).reshape(10, 20, 3)


def test_sides_are_cut_down_towards_zero_and_into_the_frame():
    boxes = [[1.9, 2.9, 5.9, 7.1], [-3.7, -0.5, 4.2, 99]]
    assert pixels(boxes, width=20, height=10).tolist() == [[1, 2, 5, 7], [0, 0, 4, 10]]


def test_a_part_of_the_frame_is_a_view():
    (crop,) = cut(FRAME, [[1.9, 2.9, 5.9, 7.1]])
    assert crop.shape == (5, 4, 3) and (crop == FRAME[2:7, 1:5]).all()
    assert np.shares_memory(crop, FRAME)


@pytest.mark.parametrize(
    "box",
    [
        [5, 5, 5, 9],
        [8, 5, 3, 9],
        [30, 0, 40, 9],
        [-9, 0, -2, 9],
        [1, 1, np.nan, 5],
        [0, 0, np.inf, 9],
    ],
)
def test_what_covers_no_pixel_is_none(box):
    assert cut(FRAME, [box]) == [None]


def test_no_boxes_are_no_crops():
    assert cut(FRAME, np.zeros((0, 4))) == cut(FRAME, []) == []


@pytest.mark.parametrize(
    ("frame", "boxes", "words"),
    [
        (FRAME.astype(float), [[0, 0, 1, 1]], "uint8"),
        (FRAME[:, :, 0], [[0, 0, 1, 1]], "uint8"),
        (FRAME, [[0, 0, 1, 1, 0.9]], "left, top, right, bottom"),
        (FRAME, [0, 0, 1, 1], "left, top, right, bottom"),
    ],
)
def test_other_kinds_are_refused(frame, boxes, words):
    with pytest.raises(ValueError, match=words):
        cut(frame, boxes)
