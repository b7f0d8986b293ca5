"""People cut out of a video along their tracks, embedded in batches of many tracks."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reidtools.data.frames import evenly
from reidtools.data.pictures import Batches, in_order
from reidtools.evaluation.vectors import Vectors, stream
from reidtools.files import make_folder, write_whole
from reidtools.modeling import Embedder
from reidtools.ops.boxes import cut
from reidtools.ops.resize import resize_into
from reidtools.tracks.features import TrackFeatures
from reidtools.tracks.mot import TrackBoxes, read_tracks
from reidtools.tracks.video import Frames, Source, open_frames

LOG = logging.getLogger("reidtools")
QUALITY = 95  # of the JPEGs of crops


def chosen_rows(ids: np.ndarray, most: int) -> np.ndarray:
    """The rows of each track that are looked at, ascending; `most` of one, 0 is all.

    Of a track with more rows these are ``floor(linspace(0, n - 1, most))``, in the order of the
    file.
    """
    by_track = np.argsort(ids, kind="stable")
    starts = np.unique(ids[by_track], return_index=True)[1][1:]
    kept = [
        rows[evenly(len(rows), most)] if 0 < most < len(rows) else rows
        for rows in np.split(by_track, starts)
    ]
    return np.sort(np.concatenate(kept))


class Crops:
    """People in the frames of a video, in the order of frames, as `Batches` asks for pictures.

    Batches must be asked for one after the other, since the video is read along with them. A batch
    has ``pids``, the track ids, and ``camids``, the numbers of the frames, of those crops that
    there are; of none it holds a black one that is not ``readable``. `absent` counts by frame those
    whose frame is not there, `empty` those whose box covers no pixel. With a `folder` each crop is
    written there before it is resized.
    """

    choice = None  # no tracklets with frames to choose

    def __init__(
        self,
        frames: Frames,
        boxes: TrackBoxes,
        size: tuple[int, int],
        scale: float = 1.0,
        folder: Path | None = None,
    ):
        self.boxes, self.size, self.scale, self.folder = boxes, size, scale, folder
        self.absent: dict[int, int] = {}
        self.empty = 0
        self._frames = frames.read(set(boxes.frames.tolist()))
        self._number, self._picture = 0, None
        self._next = 0
        self._written: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Sequence[int]) -> dict[str, Any]:
        if rows[0] != self._next:
            raise IndexError("Crops are read in order, once.")
        self._next = rows[-1] + 1
        images = np.zeros((len(rows), *self.size, 3), np.uint8)
        there: list[int] = []
        for row in rows:
            if self._fill(row, images[len(there)]):
                there.append(row)
        index = torch.as_tensor(there or rows[:1])
        ids, frames = (
            torch.from_numpy(part)[index] for part in (self.boxes.ids, self.boxes.frames)
        )
        pairs = zip(ids.tolist(), frames.tolist(), strict=True)
        return {
            "images": torch.from_numpy(images[: len(index)]).movedim(-1, -3),
            "pids": ids,
            "camids": frames,
            "index": index,
            "paths": [f"track {number} in frame {frame}" for number, frame in pairs],
            "scales": [self.scale] * len(index),
            "readable": torch.full((len(index),), bool(there)),
        }

    def _fill(self, row: int, out: np.ndarray) -> bool:
        """Put the person in the row into `out`; False where there is nothing to see."""
        frame, number = int(self.boxes.frames[row]), int(self.boxes.ids[row])
        while self._number < frame:
            self._number, self._picture = next(self._frames, (np.inf, None))
        if self._number > frame:
            self.absent[frame] = self.absent.get(frame, 0) + 1
            return False
        (crop,) = cut(self._picture, self.boxes.boxes[row : row + 1])
        if crop is None:
            self.empty += 1
            return False
        if self.folder:
            self._write(crop, number, frame)
        resize_into(crop[:, :, ::-1], out)
        return True

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


def extract(
    source: Source,
    tracks: str | Path | TrackBoxes,
    model: Embedder,
    *,
    max_crops: int = 10,
    batch_size: int = 128,
    flip: str = "off",
    amp: torch.dtype | None = None,
    scale: float = 1.0,
    normalize: bool = False,
    crops_folder: Path | None = None,
) -> Iterator[tuple[int, TrackFeatures]]:
    """Yield (track id, `TrackFeatures`) of each track as soon as its last crop has been embedded.

    `source` is a video as `open_frames` takes it, `tracks` a file or what `read_tracks` gave,
    `model` one from ``reidtools.load``. The video is decoded once, from its start to the last frame
    that is looked at; batches of `batch_size` hold crops of many tracks, so that memory depends on
    neither the length of the video nor the size of the crops.

    Of a track `max_crops` boxes are looked at, see `chosen_rows`; a box counts as far as it lies in
    the frame, and one that covers no pixel, or whose frame is not there, is left out and told. A
    track of which nothing is left is not yielded. `features` are the mean of all crops; with
    `normalize` crops and mean have length 1. `flip` and `amp`: see `embed`; `scale`: how many times
    as coarse crops are made. With `crops_folder` crops are written there, as
    ``track_0001/frame_000005_000.jpg``, the last number counting the track's crops.
    """
    if model.preparation is None:
        raise ValueError("This model does not know its pictures; load it with reidtools.load.")
    if max_crops < 0:
        raise ValueError(f"max_crops is {max_crops}; it is a number of crops, or 0 for all.")
    boxes = tracks if isinstance(tracks, TrackBoxes) else read_tracks(tracks)
    rows = chosen_rows(boxes.ids, max_crops)
    rows = rows[np.argsort(boxes.frames[rows], kind="stable")]
    boxes = TrackBoxes(*(part[rows] for part in boxes))
    frames = open_frames(source)
    crops = Crops(frames, boxes, model.preparation.size, scale, crops_folder)
    order = in_order(len(crops), batch_size)
    prepare = model.preparation.normalize
    # One thread reads: the frames come in order.
    batches = Batches(crops, order, prepare, workers=1, device=model.device)
    ids, last = np.unique(boxes.ids[::-1], return_index=True)
    ends = dict(sorted(zip((len(boxes) - 1 - last).tolist(), ids.tolist(), strict=True)))
    waiting, found, seen = iter(ends.items()), _Gathered(normalize), 0
    end, number = next(waiting)
    for part in stream(model, batches, amp, "Extracting", flip=flip):
        vectors = Vectors(*part)  # which looks for values that are no numbers
        found.add(vectors.pids.tolist(), vectors.camids.tolist(), vectors.vectors.numpy())
        seen += len(order[0])
        while end < seen:
            if (track := found.take(number)) is not None:
                yield number, track
            end, number = next(waiting, (len(boxes) + seen, -1))
    _tell(frames, crops, len(boxes))


class _Gathered:
    """The crops of tracks that are not complete yet."""

    def __init__(self, normalize: bool):
        self.normalize = normalize
        self._open: dict[int, list[tuple[int, np.ndarray]]] = {}

    def add(self, ids: list[int], frames: list[int], vectors: np.ndarray) -> None:
        if self.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        for number, frame, vector in zip(ids, frames, vectors, strict=True):
            # A copy: a view would keep the whole batch in memory.
            self._open.setdefault(number, []).append((frame, vector.copy()))

    def take(self, number: int) -> TrackFeatures | None:
        crops = self._open.pop(number, None)
        if crops is None:
            return None
        every = np.stack([vector for _, vector in crops])
        mean = every.mean(0)
        if self.normalize:
            mean /= max(np.linalg.norm(mean), 1e-12)
        return TrackFeatures(mean, every, [frame for frame, _ in crops])


def _tell(frames: Frames, crops: Crops, total: int) -> None:
    """Say what was asked for and is not there."""
    if crops.absent:
        first, last = min(crops.absent), max(crops.absent)
        length = f", which should have {frames.length}" if frames.length else ""
        LOG.warning(
            "%d of %d boxes lie in %d frames that the video does not have%s (from frame %d to %d); "
            "they are left out.",
            sum(crops.absent.values()),
            total,
            len(crops.absent),
            length,
            first,
            last,
        )
    if crops.empty:
        LOG.warning(
            "%d of %d boxes cover no pixel of their frame and are left out.", crops.empty, total
        )
