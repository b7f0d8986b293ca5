"""People cut out of the frames of a video: as batches for a network, and as files."""

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reidtools.data.pictures import Batches
from reidtools.files import make_folder, write_whole
from reidtools.modeling import Preparation
from reidtools.ops.boxes import cut
from reidtools.tracks.mot import TrackBoxes
from reidtools.tracks.video import Frames

QUALITY = 95  # of JPEGs
CROP = re.compile(r"frame_\d{6,}_\d{3,}\.jpg")
PATIENCE = 250  # frames after which what there is goes on, so that finished tracks need not wait
AHEAD = 2  # batches that are read while the network works


class Crops(Batches):
    """The people in `boxes`, which are sorted by frame, as finished batches; see `Batches`.

    One thread goes through the video. A batch holds `batch_size` crops, or fewer after `PATIENCE`
    frames; ``pids`` are the track ids and ``camids`` the numbers of the frames. Of no crop at all
    it holds a black one that is not ``readable``. ``done`` is how many of the boxes have been
    looked at, ``frame`` the frame that was reached.

    `absent` counts by frame the boxes whose frame is not there, `empty` those that cover no pixel.
    With a `folder` each crop is written there before it is resized. Where the video, or the disk,
    fails, what was cut out before comes first.
    """

    def __init__(
        self,
        frames: Frames,
        boxes: TrackBoxes,
        prepare: Preparation,
        batch_size: int,
        *,
        scale: float = 1.0,
        folder: Path | None = None,
        device: str | torch.device = "cpu",
    ):
        self.frames, self.boxes, self.scale = frames, boxes, scale
        self.size, self.resize = prepare.size, prepare.resize
        self.batch_size, self.folder = batch_size, folder
        self.transform, self.workers, self.device = prepare.normalize, 1, torch.device(device)
        self.absent: dict[int, int] = {}
        self.empty = 0
        self._stopped = False
        self._written: dict[int, int] = {}

    def _read_ahead(self) -> Iterator[dict[str, Any]]:
        pool, waiting, batches = ThreadPoolExecutor(1, "reader"), deque(), self._cut_out()
        try:
            while True:
                waiting.append(pool.submit(next, batches, None))
                if len(waiting) > AHEAD:
                    batch = waiting.popleft().result()
                    if batch is None:
                        return
                    yield batch
        finally:
            self._stopped = True  # or the thread would go through the whole video first
            pool.shutdown(cancel_futures=True)

    def _cut_out(self) -> Iterator[dict[str, Any]]:
        wanted, images, there = self.boxes.frames, *self._room()
        row, number, idle = 0, 0, 0
        try:
            for number, picture in self.frames.read(set(wanted.tolist())):
                if self._stopped:
                    return
                row = self._pass_over(row, number)
                while picture is not None and row < len(wanted) and wanted[row] == number:
                    if self._put(row, picture, images[len(there)]):
                        there.append(row)
                    row += 1
                    if len(there) == self.batch_size:
                        yield self._batch(images, there, row, number)
                        images, there = self._room()
                        idle = 0
                idle += 1
                if idle >= PATIENCE:
                    yield self._batch(images, there, row, number)
                    images, there = self._room()
                    idle = 0
        except Exception:
            yield self._batch(images, there, row, number)
            raise
        row = self._pass_over(row, None)
        yield self._batch(images, there, row, int(wanted[-1]))

    def _room(self) -> tuple[np.ndarray, list[int]]:
        """Room for the pictures of a batch, and the rows of those that are in it: none yet."""
        return np.zeros((self.batch_size, *self.size, 3), np.uint8), []

    def _pass_over(self, row: int, number: int | None) -> int:
        """The first row of frame `number` or later; those between are absent."""
        frames = self.boxes.frames
        while row < len(frames) and (number is None or frames[row] < number):
            self.absent[int(frames[row])] = self.absent.get(int(frames[row]), 0) + 1
            row += 1
        return row

    def _put(self, row: int, picture: np.ndarray, out: np.ndarray) -> bool:
        """Fill `out` with the person in the row; False where the box covers no pixel."""
        (crop,) = cut(picture, self.boxes.boxes[row : row + 1])
        if crop is None:
            self.empty += 1
            return False
        if self.folder:
            self._write(crop, int(self.boxes.ids[row]), int(self.boxes.frames[row]))
        self.resize(crop[:, :, ::-1], out)
        return True

    def _batch(self, images: np.ndarray, there: list[int], done: int, frame: int) -> dict[str, Any]:
        index = torch.as_tensor(there or [0])
        ids, frames = (torch.from_numpy(p)[index] for p in (self.boxes.ids, self.boxes.frames))
        pairs = zip(ids.tolist(), frames.tolist(), strict=True)
        return {
            "images": torch.from_numpy(images[: len(index)]).movedim(-1, -3),
            "pids": ids,
            "camids": frames,
            "paths": [f"track {number} in frame {frame}" for number, frame in pairs],
            "scales": [self.scale] * len(index),
            "readable": torch.full((len(index),), bool(there)),
            "done": done,
            "frame": frame,
        }

    def _write(self, crop: np.ndarray, number: int, frame: int) -> None:
        import cv2

        place = self._written.get(number, 0)
        self._written[number] = place + 1
        folder = self.folder / f"track_{number:04d}"
        if not place:
            make_folder(folder, "output folder")
        _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        path = folder / f"frame_{frame:06d}_{place:03d}.jpg"
        write_whole(path, lambda file: file.write(data.tobytes()), durable=False)


def crops_in(folder: Path) -> list[Path]:
    """The crops that an extraction wrote into `folder`, and nothing else that lies there."""
    return [file for file in sorted(folder.glob("track_*/*")) if CROP.fullmatch(file.name)]


def remove_crops(folder: Path) -> None:
    """Take away `crops_in` a folder, and what is empty then."""
    for file in crops_in(folder):
        file.unlink()
    for place in (*folder.glob("track_*"), folder):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def replace_crops(folder: Path, new: Path) -> None:
    """Let the crops in `new` take the place of those in `folder`; other files there stay."""
    remove_crops(folder)
    for file in crops_in(new):
        target = make_folder(folder / file.parent.name, "output folder") / file.name
        file.replace(target)
    remove_crops(new)
