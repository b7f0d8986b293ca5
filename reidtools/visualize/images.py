"""Drawn pictures as files: how they are called, and how they are written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reidtools.files import write_whole


def encoded(picture: np.ndarray, kind: str = ".png") -> bytes:
    """`picture`, uint8 RGB (H, W, 3), as the bytes of a ``.png`` or ``.jpg`` file.

    Raises ValueError where the format has no room for so many pixels.
    """
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, 85] if kind == ".jpg" else []
    try:
        done, data = cv2.imencode(kind, picture[:, :, ::-1], options)
    except cv2.error:
        done = False
    if not done:
        high, wide = picture.shape[:2]
        raise ValueError(f"{wide} x {high} pixels are too many for a {kind}; draw fewer pictures.")
    return data.tobytes()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write `picture`, uint8 RGB (H, W, 3), into the PNG `path`, all or nothing."""
    data = encoded(picture)
    write_whole(path, lambda file: file.write(data))


def file_names(paths: Sequence[str | Path]) -> list[str]:
    """The stems of `paths`, each once: a second ``a`` is ``a_2``, or the next that is free."""
    stems = [Path(path).stem for path in paths]
    taken, names, counts = {stem.casefold() for stem in stems}, [], dict[str, int]()
    for stem in stems:
        key = stem.casefold()  # some disks hold a.png and A.png for one file
        number, name = counts.get(key, 0) + 1, stem
        while number > 1 and (name := f"{stem}_{number}").casefold() in taken:
            number += 1
        counts[key] = number
        taken.add(name.casefold())
        names.append(name)
    return names
