"""Frames of a video, each decoded once and in order: files, folders, patterns, lists, arrays."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from reidtools.data.datasets.listing import PICTURES, pictures
from reidtools.data.pictures import decode
from reidtools.tracks.mot import read_seqinfo

LOG = logging.getLogger("reidtools")
Found = Iterator[tuple[int, np.ndarray | None]]


class Frames(Protocol):
    """A video: `length` is how many frames it should have, None if nobody knows."""

    length: int | None

    def read(self, wanted: Collection[int]) -> Found:
        """Go through the frames once, in order, to the last of the numbers `wanted`, from 1.

        Yields number and picture, uint8 BGR (H, W, 3); None for one that is not wanted.
        """


class VideoFile:
    """A file that OpenCV decodes.

    It is read from its start: seeking is slow, and inexact where frames depend on later ones.
    """

    def __init__(self, path: Path):
        import cv2

        self.path = path
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise ValueError(
                f"{path} cannot be opened as a video; convert it (ffmpeg -i in -c:v libx264 "
                "out.mp4), or give a folder of frames."
            )
        self.length = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT))) or None

    def read(self, wanted: Collection[int]) -> Found:
        try:
            for number in range(1, max(wanted, default=0) + 1):
                if self._video.grab():
                    yield number, self._video.retrieve()[1] if number in wanted else None
                elif number >= (self.length or 0):
                    break  # a damaged frame is followed by others, the end by none
        finally:
            self._video.release()


class FrameFiles:
    """Pictures in files, by number. Those that cannot be read are told at the end, and left out."""

    def __init__(self, files: dict[int, Path], length: int | None = None):
        self.files = files
        self.length = length or max(files)

    def read(self, wanted: Collection[int]) -> Found:
        broken: list[str] = []
        try:
            for number in sorted(set(wanted) & self.files.keys()):
                try:
                    yield number, decode(self.files[number], rgb=False)
                except OSError as error:
                    broken.append(f"frame {number}: {error}")
        finally:
            if broken:
                told = "\n".join(f"  {line}" for line in broken[:5])
                LOG.warning("%d frames cannot be read and are left out:\n%s", len(broken), told)


class FrameArrays:
    """Frames that are in memory, or come from a camera: anything that can be gone through once."""

    length = None

    def __init__(self, frames: Iterable[np.ndarray]):
        self.frames = frames

    def read(self, wanted: Collection[int]) -> Found:
        last = max(wanted, default=0)
        for number, picture in enumerate(self.frames, 1):
            yield number, picture if number in wanted else None
            if number >= last:
                return


Source = str | Path | Iterable[str | Path | np.ndarray] | Frames


def open_frames(source: Source) -> Frames:
    """The frames of a video `source`.

    A video file; a folder of pictures, or of a MOTChallenge sequence (with seqinfo.ini); a pattern
    such as ``img1/%06d.jpg``; a ``.txt`` file with a path in each line; a list of paths; or arrays,
    uint8 BGR as OpenCV has them, in a list or one after the other. Pictures of a folder whose names
    differ by a number only are numbered by it (from 1, also where names begin at 0), others by
    their order.

    Raises FileNotFoundError for what is not there and ValueError for what is no video.
    """
    if isinstance(source, VideoFile | FrameFiles | FrameArrays):
        return source
    if not isinstance(source, str | Path):
        return _of_several(source)
    path = Path(source).expanduser()
    if re.search(r"%0?\d*d", path.name):
        return FrameFiles(_of_pattern(path))
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no video or folder of frames {path.absolute()}; check the path."
        )
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        return _of_list([path.parent / line for line in lines if line], path)
    return FrameFiles({1: path}) if path.suffix.lower() in PICTURES else VideoFile(path)


def _of_several(source: Iterable[str | Path | np.ndarray]) -> Frames:
    items = iter(source)
    first = next(items, None)
    if first is None:
        raise ValueError("There are no frames: the source is empty; give one or more.")
    if isinstance(first, str | Path):
        return _of_list([Path(item) for item in chain([first], items)], "the list")
    # A list can be gone through again, an iterator only once.
    again = source if isinstance(source, list | tuple) else chain([first], items)
    return FrameArrays(again)


def _of_list(files: list[Path], where: str | Path) -> FrameFiles:
    found = _some(dict(enumerate(files, 1)), where)
    if not files[0].is_file():
        raise FileNotFoundError(
            f"The first frame that {where} names, {files[0]}, is not there; give a path in each "
            "line."
        )
    return FrameFiles(found)


def _of_folder(folder: Path) -> FrameFiles:
    told = read_seqinfo(folder)
    files = pictures(told.frames if told else folder)
    if told:
        files = [file for file in files if file.suffix.lower() == told.ending.lower()]
    parts = [re.fullmatch(r"(.*?)(\d+)", file.stem) for file in files]
    if not files or None in parts or len({part[1] for part in parts}) > 1:
        if len(files) > 1:
            LOG.warning("The names in %s do not number the frames: their order counts.", folder)
        return FrameFiles(_some(dict(enumerate(files, 1)), folder))
    pairs = [(int(part[2]), file) for part, file in zip(parts, files, strict=True)]
    return FrameFiles(_numbered(pairs, folder), told.length if told else None)


def _of_pattern(pattern: Path) -> dict[int, Path]:
    """The files whose names are the pattern with a number in it."""
    if not pattern.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {pattern.parent.absolute()}; check the path.")
    before, after = re.split(r"%0?\d*d", pattern.name, maxsplit=1)
    form = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = [(form.fullmatch(path.name), path) for path in sorted(pattern.parent.iterdir())]
    return _numbered([(int(match[1]), path) for match, path in found if match], pattern)


def _numbered(pairs: list[tuple[int, Path]], where: Path) -> dict[int, Path]:
    """Files by their numbers; from 1 where they begin at 0."""
    files = _some(dict(pairs), where)
    if len(files) < len(pairs):
        twin = next(path for number, path in pairs if files[number] != path)
        raise ValueError(f"Two frames in {where} have the number of {twin.name}; remove one.")
    if 0 in files:
        return {number + 1: file for number, file in files.items()}
    if 1 not in files:
        LOG.warning(
            "Frames are numbered by their names, and the first is %d, %s.",
            min(files),
            files[min(files)],
        )
    return files


def _some(files: dict[int, Path], where: str | Path) -> dict[int, Path]:
    if not files:
        raise ValueError(f"There are no frames in {where}; name the place that holds the pictures.")
    return files
