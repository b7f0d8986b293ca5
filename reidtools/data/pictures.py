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

from reidtools.data.samples import Sample
from reidtools.ops.degrade import degrade_each
from reidtools.registry import choose

CACHES = {"off": False, "ram": True}


def read_picture(path: str | Path, out: np.ndarray) -> None:
    """Fill `out`, uint8 (H, W, 3), with the picture at `path`: RGB, resized to H x W.

    Enlarging is bilinear, shrinking averages areas. A file that is no picture is an OSError.
    """
    import cv2

    try:
        data = np.fromfile(path, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
    except OSError as error:
        raise OSError(f"Cannot read the picture {path} ({error}); restore or remove it.") from error
    if picture is None:
        raise OSError(f"{path} is not a readable picture; restore or remove it.")
    resize_into(picture, out)


def resize_into(picture: np.ndarray, out: np.ndarray) -> None:
    """Fill `out`, uint8 (H, W, 3), with a `picture` of any size, resized as `read_picture` does.

    Raises ValueError for one that is not uint8 (height, width, 3).
    """
    import cv2

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(
            f"A picture is uint8 (height, width, 3), RGB; this array is {picture.dtype} "
            f"{picture.shape}. Convert it, for example with (255 * x).astype('uint8')."
        )
    height, width = out.shape[:2]
    shrinks = picture.shape[0] > height or picture.shape[1] > width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(np.ascontiguousarray(picture), (width, height), dst=out, interpolation=way)


class Pictures:
    """Samples, read on demand: ``pictures[[4, 0, 7]]`` is the batch of these three.

    A batch holds ``images`` uint8 (B, 3, H, W) in channels-last memory, ``pids``, ``camids`` and
    ``index`` (B,), and lists of length B: ``paths`` and the samples' ``scales``. With `labels`
    (pid -> training label), ``pids`` are labels. With `cache` ``"ram"`` decoded pictures are kept:
    3·H·W bytes each.

    A file that is no picture is an OSError. If `unreadable` is given, it is black instead, and the
    message stands there under its path: for folders of which nobody has promised anything. Of a
    path among `arrays` no file is read: the picture is that array, uint8 RGB (height, width, 3).
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        labels: Mapping[int, int] | None = None,
        unreadable: dict[str, str] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        cache: str = "off",
    ):
        self.samples, self.size, self.unreadable = samples, tuple(size), unreadable
        self._arrays = arrays or {}
        self._pids = torch.tensor([labels[s.pid] if labels else s.pid for s in samples])
        self._camids = torch.tensor([s.camid for s in samples])
        self._kept: dict[int, np.ndarray] | None = {} if choose("cache", cache, CACHES) else None

    def __len__(self) -> int:
        return len(self.samples)

    def at_full_resolution(self) -> "Pictures":
        """The same pictures as sharp as they are stored; a cache is shared."""
        sharp = copy(self)
        sharp.samples = [sample._replace(scale=1.0) for sample in self.samples]
        return sharp

    def __getitem__(self, indices: Sequence[int]) -> dict[str, Any]:
        images = np.empty((len(indices), *self.size, 3), np.uint8)
        for row, index in enumerate(indices):
            self._read(index, images[row])
        index = torch.as_tensor(indices)
        return {
            "images": torch.from_numpy(images).permute(0, 3, 1, 2),
            "pids": self._pids[index],
            "camids": self._camids[index],
            "index": index,
            "paths": [self.samples[i].paths[0] for i in indices],
            "scales": [self.samples[i].scale for i in indices],
        }

    def _read(self, index: int, out: np.ndarray) -> None:
        if self._kept is not None and index in self._kept:
            out[:] = self._kept[index]
            return
        path = self.samples[index].paths[0]
        try:
            if path in self._arrays:
                resize_into(self._arrays[path], out)
            else:
                read_picture(path, out)
        except OSError as error:
            if self.unreadable is None:
                raise
            self.unreadable[path] = str(error)
            out[:] = 0
        if self._kept is not None:
            self._kept[index] = out.copy()


def in_order(count: int, batch_size: int) -> list[range]:
    """Index lists that go through `count` pictures once, in order."""
    return [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]


class Batches:
    """An iterable of finished batches: read ahead by threads, transformed on the device.

    Threads, not processes: OpenCV decodes outside Python's lock, nothing is pickled or copied
    between processes, and the RAM cache is one. `sampler` yields lists of indices into `pictures`;
    `transform` turns uint8 (B, 3, H, W) into what the model wants; then every picture is made as
    coarse as its sample says. `workers` 0 reads in the calling thread.
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
        self.workers, self.device = workers, torch.device(device)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Let the sampler draw the batches of `epoch`."""
        self.sampler.set_epoch(epoch)

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
