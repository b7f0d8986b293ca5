"""The one way in which a picture gets the size that a network takes."""

import numpy as np


def resize_into(picture: np.ndarray, out: np.ndarray) -> None:
    """Fill `out`, uint8 (H, W, 3), with a `picture` of any size.

    Enlarging is bilinear, shrinking averages areas. Raises ValueError for one that is not uint8
    (height, width, 3).
    """
    import cv2

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"A picture is uint8 (height, width, 3), RGB; this array is {picture.dtype} "
            f"{picture.shape}. Convert it, for example with (255 * x).astype('uint8')."
        )
    height, width = out.shape[:2]
    shrinks = picture.shape[0] > height or picture.shape[1] > width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(np.ascontiguousarray(picture), (width, height), dst=out, interpolation=way)
