"""A dataset at low resolution, for those who want its pictures as files."""

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from reidtools.data.datasets.listing import pictures
from reidtools.data.datasets.market import FOLDERS
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
from reidtools.files import make_folder


class Copy(NamedTuple):
    """A picture and the file for its smaller copy."""

    source: Path
    target: Path


def make_low_resolution(
    data_dir: str | Path,
    scale: float,
    *,
    upsample: bool = False,
    quality: int = 95,
    strict: bool = False,
) -> Made:
    """Copy a dataset in the Market-1501 layout with pictures `scale` times smaller, each side.

    ``market1501`` becomes its neighbour ``market1501x2``, with those of the folders
    ``bounding_box_train``, ``query`` and ``bounding_box_test`` that it has, and the same file
    names, in folders of people too. Shrinking is bicubic with antialiasing; `upsample` brings a
    picture back to its own size, bicubic too, so that only its detail is lost. JPEGs are written
    with `quality`.

    Pictures that exist already are kept, so a run that was stopped goes on. One that cannot be
    read, or has a side shorter than `scale`, is left out and told; with `strict` it is a
    ValueError, after all others were made. A ValueError is also a scale of 1 or less, a folder that
    was made with other options, and when there is not a single picture to make. FileNotFoundError
    when `data_dir` has none of the three folders.
    """
    if not 1 < scale < math.inf:
        raise ValueError(f"A scale of {scale} makes nothing smaller; use more than 1, such as 2.")
    check_quality(quality)
    home = _absolute(data_dir)
    folders = [folder for folder in FOLDERS if (home / folder).is_dir()]
    if not folders:
        raise FileNotFoundError(
            f"{home} has none of the folders {', '.join(FOLDERS)}; give the folder of a dataset in "
            "the Market-1501 layout."
        )
    out = home.with_name(f"{home.name}x{scale:g}")
    copies = [
        Copy(source, out / source.relative_to(home))
        for folder in folders
        for source in _pictures(home / folder)
    ]
    if not copies:
        raise ValueError(
            f"There are no pictures in {', '.join(folders)} of {home}; unpack the whole dataset "
            "there."
        )
    noted = (out / RECORD).is_file()
    begin(out, {"scale": scale, "upsample": upsample, "quality": quality})
    for folder in {*(out / folder for folder in folders), *(c.target.parent for c in copies)}:
        make_folder(folder, "place")
    wanted = [copy for copy in copies if not is_made(copy.target)]
    if not noted:  # whoever filled the folder may have done it otherwise
        _check_sizes(set(copies) - set(wanted), scale, upsample)
    shrink = partial(_shrink, scale=scale, upsample=upsample, quality=quality)
    failed = [why for why in in_threads(shrink, wanted, out.name) if why]
    return conclude(out, len(copies), len(copies) - len(wanted), failed, strict)


def _check_sizes(copies: Iterable[Copy], scale: float, upsample: bool) -> None:
    """Raise a ValueError for a picture that exists and is not as large as its copy would be."""
    from PIL import Image

    for copy in copies:
        with Image.open(copy.source) as source, Image.open(copy.target) as target:
            sizes = source.size, target.size
        wanted = sizes[0] if upsample else _smaller(sizes[0], scale)
        if sizes[1] not in (wanted, wanted[::-1]):  # EXIF may turn a picture
            raise ValueError(
                f"{copy.target} is there already, {sizes[1][0]} x {sizes[1][1]} and not "
                f"{wanted[0]} x {wanted[1]} pixels; delete or rename its folder."
            )


def _smaller(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """1 or more, as the sides are at least `scale`."""
    return round(size[0] / scale), round(size[1] / scale)


def _pictures(folder: Path) -> list[Path]:
    """The pictures in `folder` and, for datasets with a folder a person, in those in it."""
    people = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    return [picture for place in (folder, *people) for picture in pictures(place)]


def _absolute(folder: str | Path) -> Path:
    """`folder` from the root; a link stays, as the copy of a linked dataset belongs beside it."""
    path = Path(folder).expanduser().absolute()
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def _shrink(copy: Copy, *, scale: float, upsample: bool, quality: int) -> str:
    """Write one copy; returns ``name (why)`` if its picture does not allow that, else nothing."""
    from PIL import Image, ImageOps

    name = f"{copy.source.parent.name}/{copy.source.name}"
    try:
        # The copy has no EXIF data, and who reads the original turns it as they say.
        picture = ImageOps.exif_transpose(read_rgb(copy.source))
    except Unreadable as error:
        return f"{name} ({error})"
    width, height = picture.size
    if min(width, height) < scale:
        return f"{name} ({width} x {height} pixels are too few for a scale of {scale:g})"
    picture = picture.resize(_smaller((width, height), scale), Image.Resampling.BICUBIC)
    if upsample:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    write_picture(picture, copy.target, quality)
    return ""
