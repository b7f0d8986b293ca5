"""The one way in which a picture gets the size that a network takes."""

import numpy as np

from reidtools.registry import choose

# Names in Pillow's Image.Resampling; None is OpenCV.
WAYS = {"area": None, "bilinear": "BILINEAR", "bicubic": "BICUBIC"}


class Resize:
    """Fills arrays with pictures of any size: ``resize(picture, out)``.

    With `interpolation` ``area`` shrinking averages areas and enlarging is bilinear (OpenCV).
    ``bilinear`` and ``bicubic`` are those of Pillow, bit for bit: what torchreid feeds its networks
    and what FastReID, TransReID and CLIP-ReID feed theirs (https://pillow.readthedocs.io, Filters).
    An unknown word is a LookupError.
    """

    def __init__(self, *, interpolation: str = "area"):
        self.way = choose("INPUT.INTERPOLATION", interpolation, WAYS)

    def __call__(self, picture: np.ndarray, out: np.ndarray) -> None:
        """Fill `out`, uint8 (H, W, 3), with `picture`.

        Raises ValueError for a picture that is not uint8 (height, width, 3).
        """
        seen = picture.shape
        if picture.dtype != np.uint8 or len(seen) != 3 or seen[2] != 3 or not picture.size:
            raise ValueError(
                f"A picture is uint8 (height, width, 3), RGB; this array is {picture.dtype} "
                f"{seen}. Convert it, for example with (255 * x).astype('uint8')."
            )
        picture = np.ascontiguousarray(picture)
        size = out.shape[1], out.shape[0]
        if self.way:
            from PIL import Image

            out[:] = Image.fromarray(picture).resize(size, Image.Resampling[self.way])
            return
        import cv2

        shrinks = seen[0] > out.shape[0] or seen[1] > out.shape[1]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        cv2.resize(picture, size, dst=out, interpolation=way)
