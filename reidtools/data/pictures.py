"""Samples become batches: threads decode and resize, everything else is done on tensors."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidtools.data.frames import FrameChoice
from reidtools.data.samples import Sample
from reidtools.ops.degrade import degrade_each
from reidtools.ops.resize import Resize
from reidtools.registry import choose

CACHES = {"off": False, "ram": True}


def read_picture(path: str | Path, out: np.ndarray, resize: Resize | None = None) -> None:
    """Fill `out`, uint8 (H, W, 3), with the picture at `path`: RGB, resized to H x W.

    Without `resize` that is as `Resize` does it by default. A file that is no picture is an
    OSError.
    """
    (resize or Resize())(decode(path), out)


def decode(path: str | Path, *, rgb: bool = True) -> np.ndarray:
    """The picture at `path`, uint8 (height, width, 3), in OpenCV's order (BGR) if not `rgb`.

    A file that is no picture is an OSError.
    """
    import cv2

    try:
        data = np.fromfile(path, np.uint8)
        order = cv2.IMREAD_COLOR_RGB if rgb else cv2.IMREAD_COLOR
        picture = cv2.imdecode(data, order) if len(data) else None
    except OSError as error:
        raise OSError(f"Cannot read the picture {path} ({error}); restore or remove it.") from error
    if picture is None:
        raise OSError(f"{path} is not a readable picture; restore or remove it.")
    return picture


class Pictures:
    """Samples, read on demand: ``pictures[[4, 0, 7]]`` is the batch of these three.

    A batch holds ``images`` uint8 (B, 3, H, W) in channels-last memory, ``pids``, ``camids`` and
    ``index`` (B,), and lists of length B: ``paths`` (the first of each sample) and the samples'
    ``scales``. With `labels` (pid -> training label), ``pids`` are labels. With `cache` ``"ram"``
    decoded pictures are kept: 3·H·W bytes each.

    Tracklets are shown in one of two ways. With `choice`, a `FrameChoice`, each shows T of its
    frames, and ``images`` are (B, T, 3, H, W); nothing else of it is decoded, and no frame twice.
    Or they are listed as pictures, by `one_by_one`, and ``ends`` (B,) of a batch are those of the
    `ends` that it gave: whether a picture is the last of its tracklet.

    A file that is no picture is an OSError. If `unreadable` is given, it is black instead, the
    message stands there under its path, and ``readable`` (B,) of the batch is False: for folders of
    which nobody has promised anything. Of a path among `arrays` no file is read: the picture is
    that array, uint8 RGB (height, width, 3). `resize` brings both to `size`; see `Resize`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        labels: Mapping[int, int] | None = None,
        unreadable: dict[str, str] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        choice: FrameChoice | None = None,
        ends: Tensor | None = None,
        resize: Resize | None = None,
        *,
        cache: str = "off",
    ):
        self.samples, self.size, self.unreadable = samples, tuple(size), unreadable
        self.choice, self.ends, self._arrays = choice, ends, arrays or {}
        self.resize = resize or Resize()
        self._pids = torch.tensor([labels[s.pid] if labels else s.pid for s in samples])
        self._camids = torch.tensor([s.camid for s in samples])
        self._kept: dict[str, np.ndarray] | None = {} if choose("cache", cache, CACHES) else None

    def __len__(self) -> int:
        return len(self.samples)

    def at_full_resolution(self) -> "Pictures":
        """The same pictures as sharp as they are stored; a cache is shared."""
        sharp = copy(self)
        sharp.samples = [sample._replace(scale=1.0) for sample in self.samples]
        return sharp

    def __getitem__(self, indices: Sequence[int]) -> dict[str, Any]:
        samples, index = [self.samples[i] for i in indices], torch.as_tensor(indices)
        if self.choice:
            places = self.choice([len(sample.paths) for sample in samples], indices)
            images = np.empty((len(samples), self.choice.frames, *self.size, 3), np.uint8)
            for sample, chosen, out in zip(samples, places, images, strict=True):
                for t, place in enumerate(chosen):
                    if t and place == chosen[t - 1]:
                        out[t] = out[t - 1]
                    else:
                        self._read(sample.paths[place], out[t])
        else:
            images = np.empty((len(samples), *self.size, 3), np.uint8)
            for sample, out in zip(samples, images, strict=True):
                self._read(sample.paths[0], out)
        batch = {
            "images": torch.from_numpy(images).movedim(-1, -3),
            "pids": self._pids[index],
            "camids": self._camids[index],
            "index": index,
            "paths": [sample.paths[0] for sample in samples],
            "scales": [sample.scale for sample in samples],
        }
        if self.ends is not None:
            batch["ends"] = self.ends[index]
        if self.unreadable is not None:
            batch["readable"] = torch.tensor([p not in self.unreadable for p in batch["paths"]])
        return batch

    def _read(self, path: str, out: np.ndarray) -> None:
        if self._kept is not None and path in self._kept:
            out[:] = self._kept[path]
            return
        try:
            if path in self._arrays:
                self.resize(self._arrays[path], out)
            else:
                read_picture(path, out, self.resize)
        except OSError as error:
            if self.unreadable is None:
                raise
            self.unreadable[path] = str(error)
            out[:] = 0
        if self._kept is not None:
            self._kept[path] = out.copy()


def in_order(count: int, batch_size: int) -> list[range]:
    """Index lists that go through `count` pictures once, in order."""
    return [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]


class Batches:
    """An iterable of finished batches: read ahead by threads, transformed on the device.

    Threads, not processes: OpenCV decodes outside Python's lock, nothing is pickled or copied
    between processes, and the RAM cache is one. `sampler` yields lists of indices into `pictures`;
    `transform` turns uint8 (B, 3, H, W), or (B, T, 3, H, W), into what the model wants; then every
    picture is made as coarse as its sample says. `workers` 0 reads in the calling thread.
    """

    def __init__(
        self,
        pictures: Pictures,
        sampler: Iterable[Sequence[int]],
        transform: Callable[[Tensor], Tensor],
        *,
        workers: int = 2,
        device: str | torch.device = "cpu",
    ):
        self.pictures, self.sampler, self.transform = pictures, sampler, transform
        self.workers, self.device, self.choice = workers, torch.device(device), pictures.choice

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Let the sampler draw the batches of `epoch`, and the frames of tracklets for it."""
        self.sampler.set_epoch(epoch)
        if self.choice:
            self.choice.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._read_ahead() if self.workers else map(self._read, self.sampler):
            for name, value in batch.items():
                if isinstance(value, Tensor):
                    batch[name] = value.to(self.device, non_blocking=True)
            batch["images"] = degrade_each(self.transform(batch["images"]), batch["scales"])
            yield batch

    def _read(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = self.pictures[indices]
        if self.device.type == "cuda":
            batch["images"] = batch["images"].pin_memory()
        return batch

    def _read_ahead(self) -> Iterator[dict[str, Any]]:
        pool, waiting = ThreadPoolExecutor(self.workers, "reader"), deque()
        try:
            for indices in self.sampler:
                waiting.append(pool.submit(self._read, indices))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
