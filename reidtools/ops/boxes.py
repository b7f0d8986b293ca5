"""Boxes of people in a frame, as the pixels that they cover."""

import numpy as np


def pixels(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes (N, 4), left, top, right, bottom, as whole pixels int64 (N, 4) of a frame.

    Each side is cut down to the whole number towards 0 and brought into the frame; right and bottom
    are the first pixel outside. A box that covers no pixel has a right or bottom that is not beyond
    its left or top; one with a side that is no number covers none.
    """
    boxes = np.asarray(boxes, np.float64)
    edge = np.array([width, height, width, height])
    inside = np.clip(np.trunc(np.nan_to_num(boxes, nan=0.0)), 0, edge).astype(np.int64)
    inside[~np.isfinite(boxes).all(-1)] = 0
    return inside


def cut(frame: np.ndarray, boxes: np.ndarray) -> list[np.ndarray | None]:
    """The parts of `frame`, uint8 (H, W, 3), in `boxes` (N, 4); None where a box covers nothing.

    They are views. Raises ValueError for another kind of frame or boxes.
    """
    boxes = np.asarray(boxes, np.float64)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(
            f"A frame is uint8 (height, width, 3); this one is {frame.dtype} {frame.shape}."
        )
    if not boxes.size:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"Boxes are (N, 4): left, top, right, bottom; these are {boxes.shape}. Leave out "
            "scores and classes."
        )
    height, width = frame.shape[:2]
    return [
        frame[top:bottom, left:right] if right > left and bottom > top else None
        for left, top, right, bottom in pixels(boxes, width, height).tolist()
    ]
