"""Folders of pictures become samples: shared by all datasets that say who is seen in file names."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from reidtools.data.samples import Sample

LOG = logging.getLogger("reidtools")
PICTURES = {".jpg", ".jpeg", ".png", ".bmp"}
OTHER_PICTURES = {".webp", ".tif", ".tiff", ".gif", ".jp2", ".heic", ".avif"}
MARKET_NAME = re.compile(r"(?P<pid>-?\d+)_c0*(?P<camera>[1-9]\d*)")


def pictures(folder: Path) -> list[Path]:
    """The pictures that lie directly in `folder`, sorted by name; a missing folder is an error."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The folder {folder} is missing; unpack the whole dataset there, or set DATASETS.ROOT "
            "to the folder that holds the dataset."
        )
    # A name with a leading dot is no picture: macOS leaves ._0002_c1s1_000451_03.jpg in archives.
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    others = [path.name for path in files if path.suffix.lower() in OTHER_PICTURES]
    if others:
        LOG.warning(
            "%d pictures in %s are not read, such as %s: convert them to .jpg or .png.",
            len(others),
            folder,
            others[0],
        )
    return [path for path in files if path.suffix.lower() in PICTURES]


def find_home(dataset: str, root: str | Path, names: Sequence[str], inside: Sequence[str]) -> Path:
    """The first of `root`/name, then `root` itself, that holds one of the entries `inside`.

    If there is none, a `FileNotFoundError` names every absolute path that was looked at.
    """
    root = Path(root).expanduser().resolve()
    tried = [root / name for name in names] + [root]
    for home in tried:
        if any((home / entry).exists() for entry in inside):
            return home
    raise FileNotFoundError(
        f"{dataset} was not found. Looked for {' or '.join(inside)} in: "
        f"{', '.join(map(str, tried))}. Put the data into one of these folders, or set "
        "DATASETS.ROOT to the folder that holds it."
    )


def read_names(
    folder: Path, pattern: re.Pattern = MARKET_NAME, camera: int | None = None
) -> list[Sample]:
    """Samples of the pictures in `folder`, whose names begin with `pattern`'s pid and camera.

    Cameras are numbered from 1 in names and from 0 in samples; a pattern without the group
    ``camera`` needs `camera`, which every sample then gets. Negative pids are junk and left out.
    Names that do not parse are a `ValueError` that shows the first of them.
    """
    found, strange = [], []
    for path in pictures(folder):
        match = pattern.match(path.name)
        if match is None:
            strange.append(path.name)
        elif int(match["pid"]) >= 0:
            camid = int(match["camera"]) - 1 if camera is None else camera
            found.append(Sample((str(path),), int(match["pid"]), camid))
    refuse(strange, folder, "0002_c1s1_000451_03.jpg" if camera is None else "0002_000451.jpg")
    return found


def refuse(strange: Sequence[str], where: Path, example: str) -> None:
    """Raise a `ValueError` if there are names that could not be read, with the first of them."""
    if strange:
        more = " …" if len(strange) > 5 else ""
        raise ValueError(
            f"{len(strange)} names in {where} are not of the form {example}: "
            f"{', '.join(strange[:5])}{more}. Rename or remove them."
        )
