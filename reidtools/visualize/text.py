"""Words in pictures: what stands under a tile."""

import numpy as np

STRIP = 20  # height of a line, in pixels
INK = (40, 40, 40)


def camera_and_score(camid: int, score: float | None = None, digits: int = 3) -> str:
    """What is written under a picture: its camera, counted from 1 as in file names, and a score.

    >>> camera_and_score(1, 0.94101), camera_and_score(0), camera_and_score(-1, 0.5)
    ('c2  0.941', 'c1', '0.500')
    """
    camera = f"c{camid + 1}" if camid >= 0 else ""
    return "  ".join(filter(None, (camera, "" if score is None else f"{score:.{digits}f}")))


def write_line(strip: np.ndarray, text: str) -> None:
    """Write `text` into the middle of `strip`, uint8 RGB (h, w, 3), small enough to fit.

    OpenCV's font has the letters of ASCII only; others become question marks.
    """
    import cv2

    text = text.encode("ascii", "replace").decode()
    font, size = cv2.FONT_HERSHEY_SIMPLEX, strip.shape[0] / 44
    room = strip.shape[1] - 4
    wide = cv2.getTextSize(text, font, size, 1)[0][0]
    if wide > room:
        size *= room / wide
    (wide, high), _ = cv2.getTextSize(text, font, size, 1)
    drawn = np.ascontiguousarray(strip)  # OpenCV does not write into a view
    corner = (max(0, (strip.shape[1] - wide) // 2), (strip.shape[0] + high) // 2)
    cv2.putText(drawn, text, corner, font, size, INK, 1, cv2.LINE_AA)
    strip[:] = drawn
