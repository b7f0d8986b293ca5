"""Frames of a video, each decoded once and in order: files, folders, patterns, lists, arrays."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from reidtools.data.datasets.listing import PICTURES, pictures
from reidtools.tracks.mot import read_seqinfo

LOG = logging.getLogger("reidtools")
Source = str | Path | Iterable[str | Path | np.ndarray]


class Frames(Protocol):
    """A video: `length` is how many frames it should have, None if nobody knows."""

    length: int | None

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames `wanted`, numbers from 1, that there are: number and uint8 BGR (H, W, 3).

        They come in order and are decoded once; a video is left where the last of them was read.
        """


class VideoFile:
    """A file that OpenCV decodes. It is read from its start: seeking is slow, and inexact where
    frames depend on later ones."""

    def __init__(self, path: Path):
        import cv2

        self.path = path
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise ValueError(
                f"{path} cannot be opened as a video; convert it (ffmpeg -i in -c:v libx264 "
                "out.mp4), or give a folder of frames."
            )
        self.length = int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)) or None
        self.length = self.length if self.length and self.length > 0 else None

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        last = max(wanted, default=0)
        try:
            for number in range(1, last + 1):
                if not self._video.grab():
                    break
                if number in wanted:
                    there, picture = self._video.retrieve()
                    if there:
                        yield number, picture
        finally:
            self._video.release()


class FrameFiles:
    """Pictures in files, by number. One that cannot be read is told and left out."""

    def __init__(self, files: dict[int, Path], length: int | None = None):
        self.files = files
        self.length = length or max(files)

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        import cv2

        for number in sorted(set(wanted) & self.files.keys()):
            path = self.files[number]
            try:
                data = np.fromfile(path, np.uint8)
                picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
            except OSError:
                picture = None
            if picture is None:
                LOG.warning(
                    "Frame %d, %s, is not a readable picture and is left out.", number, path
                )
            else:
                yield number, picture


class FrameArrays:
    """Frames that are in memory, or come from a camera: anything that can be gone through once."""

    length = None

    def __init__(self, frames: Iterable[np.ndarray]):
        self.frames = frames

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        last = max(wanted, default=0)
        for number, picture in enumerate(self.frames, 1):
            if number in wanted:
                yield number, picture
            if number >= last:
                return


def open_frames(source: Source) -> Frames:
    """The frames of a video `source`.

    A video file; a folder of pictures, or of a MOTChallenge sequence (with seqinfo.ini); a pattern
    such as ``img1/%06d.jpg``; a ``.txt`` file with a path in each line; a list of paths; or arrays,
    uint8 BGR as OpenCV has them, in a list or one after the other. Pictures of a folder whose names
    are numbers are numbered by them (from 1, also where names begin at 0), others by their order.

    Raises FileNotFoundError for what is not there and ValueError for what is no video.
    """
    if not isinstance(source, str | Path):
        frames = list(source) if isinstance(source, list | tuple) else source
        if isinstance(frames, list) and frames and isinstance(frames[0], str | Path):
            return FrameFiles(dict(enumerate(map(Path, frames), 1)))
        return FrameArrays(frames)
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
        files = [path.parent / line for line in lines if line]
        return FrameFiles(_some(dict(enumerate(files, 1)), path))
    return FrameFiles({1: path}) if path.suffix.lower() in PICTURES else VideoFile(path)


def _of_folder(folder: Path) -> FrameFiles:
    told = read_seqinfo(folder)
    files = pictures(told.frames if told else folder)
    if told:
        files = [file for file in files if file.suffix.lower() == told.ending.lower()]
    names = [file.stem for file in files]
    if not all(name.isdecimal() for name in names):
        return FrameFiles(_some(dict(enumerate(files, 1)), folder))
    numbered = {int(name): file for name, file in zip(names, files, strict=True)}
    return FrameFiles(_from_one(_some(numbered, folder)), told.length if told else None)


def _of_pattern(pattern: Path) -> dict[int, Path]:
    """The files whose names are the pattern with a number in it."""
    if not pattern.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {pattern.parent.absolute()}; check the path.")
    before, after = re.split(r"%0?\d*d", pattern.name, maxsplit=1)
    form = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = {p: form.fullmatch(p.name) for p in sorted(pattern.parent.iterdir())}
    return _from_one(_some({int(m[1]): p for p, m in found.items() if m}, pattern))


def _from_one(files: dict[int, Path]) -> dict[int, Path]:
    """`files` numbered from 1 where their names begin at 0."""
    if 0 in files:
        return {number + 1: file for number, file in files.items()}
    if 1 not in files:
        LOG.warning(
            "Frames are numbered by their names, and the first is %d, %s.",
            min(files),
            files[min(files)],
        )
    return files


def _some(files: dict[int, Path], where: Path) -> dict[int, Path]:
    if not files:
        raise ValueError(f"There are no frames in {where}; name the place that holds the pictures.")
    return files
