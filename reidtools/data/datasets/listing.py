"""Folders of pictures become samples: shared by all datasets that say who is seen in file names."""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

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


def find_pictures(source: str | Path, in_subfolders: bool = False) -> list[Path]:
    """The one picture `source`, or the pictures in the folder `source`, sorted, named as it is.

    With `in_subfolders` also those in all folders below, hidden ones left out. A missing `source`
    is a FileNotFoundError, one without pictures, or a file that is no picture, a ValueError.
    """
    source = Path(source).expanduser()
    kinds = ", ".join(sorted(PICTURES))
    if source.is_file():
        if source.suffix.lower() not in PICTURES:
            raise ValueError(f"{source} is no picture ({kinds}); convert it, or name a folder.")
        return [source]
    if not source.is_dir():
        raise FileNotFoundError(
            f"There is no file or folder {source.absolute()}; name a picture, or a folder of them."
        )
    if in_subfolders:
        found = sorted(picture for folder in _folders(source) for picture in pictures(folder))
    else:
        found = pictures(source)
    if found:
        return found
    below = () if in_subfolders else _folders(source)
    first = next((picture for folder in below for picture in pictures(folder)), None)
    if first:
        raise ValueError(
            f"No pictures lie directly in {source}, but there are some further down, such as "
            f"{first}; add --images-in-subfolders."
        )
    raise ValueError(f"There are no pictures ({kinds}) in {source}; put some there.")


def find_tracklets(source: str | Path) -> list[tuple[Path, ...]]:
    """The tracklets in the folder `source`: of it and each folder below, the pictures, sorted.

    A folder without pictures of its own is none; hidden ones are left out. A missing `source` is a
    FileNotFoundError, one without any tracklet a ValueError.
    """
    source = Path(source).expanduser()
    if not source.is_dir():
        raise FileNotFoundError(
            f"There is no folder {source.absolute()}; name the folder of a tracklet, or one with a "
            "folder for each."
        )
    found = [tuple(frames) for folder in _folders(source) if (frames := pictures(folder))]
    if not found:
        kinds = ", ".join(sorted(PICTURES))
        raise ValueError(f"There are no pictures ({kinds}) in {source} or below; put some there.")
    return found


def _folders(top: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """`top` and the folders below it, but for hidden ones; links are followed, not in rings."""
    home = top.resolve()
    if home not in above:
        yield top
        for entry in sorted(top.iterdir()):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _folders(entry, above | {home})


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


def read_matrix(file: Path, variable: str, cure: str) -> np.ndarray:
    """The whole numbers, int64, that the MATLAB `file` calls `variable`; else a `ValueError`.

    Its sentence ends in the `cure`.
    """
    from scipy.io import loadmat

    try:
        matrix = loadmat(file)[variable]
        whole = matrix.astype(np.int64)
    except Exception as error:  # scipy raises many kinds for a file that is damaged
        raise ValueError(
            f"{file} cannot be read as a MATLAB file with {variable} ({error!r}); {cure}."
        ) from error
    if not np.array_equal(whole, matrix):
        raise ValueError(f"{variable} in {file} has numbers that are not whole; {cure}.")
    return whole


def refuse(strange: Sequence[str], where: Path, example: str) -> None:
    """Raise a `ValueError` if there are names that could not be read, with the first of them."""
    if strange:
        more = " …" if len(strange) > 5 else ""
        raise ValueError(
            f"{len(strange)} names in {where} are not of the form {example}: "
            f"{', '.join(strange[:5])}{more}. Rename or remove them."
        )
