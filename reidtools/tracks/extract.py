"""The people in a video, embedded along their tracks in batches of many tracks."""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from reidtools.data.frames import evenly
from reidtools.evaluation.vectors import Vectors, stream
from reidtools.modeling import Embedder
from reidtools.tracks.crops import Crops
from reidtools.tracks.features import TrackFeatures, features_of
from reidtools.tracks.mot import TrackBoxes, read_tracks
from reidtools.tracks.video import Source, open_frames

LOG = logging.getLogger("reidtools")


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


def extract(
    source: Source,
    tracks: str | Path | TrackBoxes,
    model: Embedder,
    *,
    max_crops: int = 10,
    batch_size: int = 64,
    flip: str = "off",
    amp: torch.dtype | None = None,
    scale: float = 1.0,
    normalize: bool = False,
    crops_folder: Path | None = None,
) -> Iterator[tuple[int, TrackFeatures]]:
    """Yield (track id, `TrackFeatures`) of each track soon after its last crop has been seen.

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

    Where the video fails on the way, tracks that were complete by then come before the error.
    """
    if model.preparation is None:
        raise ValueError("This model does not know its pictures; load it with reidtools.load.")
    if max_crops < 0:
        raise ValueError(f"max_crops is {max_crops}; it is a number of crops, or 0 for all.")
    boxes = tracks if isinstance(tracks, TrackBoxes) else read_tracks(tracks)
    rows = chosen_rows(boxes.ids, max_crops)
    rows = rows[np.argsort(boxes.frames[rows], kind="stable")]
    boxes = boxes.rows(rows)
    options = {"scale": scale, "folder": crops_folder, "device": model.device}
    crops = Crops(open_frames(source), boxes, model.preparation, batch_size, **options)
    open_tracks = _OpenTracks(boxes.ids, normalize)
    marks: deque[tuple[int, int]] = deque()

    def marked():
        for batch in crops:
            marks.append((batch["done"], batch["frame"]))
            yield batch

    last = int(boxes.frames[-1])
    with tqdm(total=last, desc="Extracting", unit="frame", leave=False, disable=None) as bar:
        for part in stream(model, marked(), amp, flip=flip):
            found = Vectors(*part)  # which looks for values that are no numbers
            open_tracks.add(found.pids.tolist(), found.camids.tolist(), found.vectors.numpy())
            done, frame = marks.popleft()
            bar.update(frame - bar.n)
            yield from open_tracks.ended(done)
    _tell(crops, len(boxes), sorted(open_tracks.lost))


class _OpenTracks:
    """The crops of tracks that are not complete yet; `ids` (N,) are those of all crops to come."""

    def __init__(self, ids: np.ndarray, normalize: bool):
        self.normalize = normalize
        self.lost: list[int] = []  # tracks without a crop
        numbers, from_behind = np.unique(ids[::-1], return_index=True)
        order = np.argsort(-from_behind)
        ends = len(ids) - from_behind[order]  # how many crops have been seen when a track ends
        self._ends = deque(zip(ends.tolist(), numbers[order].tolist(), strict=True))
        self._crops: dict[int, list[tuple[int, np.ndarray]]] = {}

    def add(self, ids: list[int], frames: list[int], vectors: np.ndarray) -> None:
        for number, frame, vector in zip(ids, frames, vectors, strict=True):
            # A copy: a view would keep the whole batch in memory.
            self._crops.setdefault(number, []).append((frame, vector.copy()))

    def ended(self, done: int) -> Iterator[tuple[int, TrackFeatures]]:
        """The tracks that are complete when `done` crops have been looked at."""
        while self._ends and self._ends[0][0] <= done:
            _, number = self._ends.popleft()
            crops = self._crops.pop(number, None)
            if not crops:
                self.lost.append(number)
            else:
                frames, vectors = zip(*crops, strict=True)
                yield number, features_of(np.stack(vectors), list(frames), unit=self.normalize)


def _tell(crops: Crops, total: int, lost: list[int]) -> None:
    """Say what was asked for and is not there."""
    if crops.absent:
        first, last = min(crops.absent), max(crops.absent)
        length = f", which should have {crops.frames.length}" if crops.frames.length else ""
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
    if lost:
        told = ", ".join(map(str, lost[:10])) + (" …" if len(lost) > 10 else "")
        LOG.warning("%d tracks have no crop, and so no features: %s.", len(lost), told)
