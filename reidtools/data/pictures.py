"""Samples become batches: threads decode and resize, everything else is done on tensors."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reidtools import processes
from reidtools.data.caches import CACHES, NoCache
from reidtools.data.decoding import DECODERS, check_decoder, read_on
from reidtools.data.frames import FrameChoice
from reidtools.data.samplers import Part
from reidtools.data.samples import Sample
from reidtools.ops.degrade import degrade_each
from reidtools.ops.resize import Resize
from reidtools.registry import choose

CPU = torch.device("cpu")


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
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path.open is slower
            data = np.frombuffer(file.read(), np.uint8)
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
    ``scales``. With `labels` (pid -> training label), ``pids`` are labels.

    With `cache` ``ram`` decoded pictures are kept in memory, 3·H·W bytes each; with ``disk`` in
    `cache_dir`, where later runs find them as well; see `MemoryCache` and `DiskCache`. With
    `decoder` ``cuda`` JPEG files are decoded by the GPU, for `read` with its device: pixels differ
    by a few grey levels, see `read_on`; there is no cache then.

    Tracklets are shown in one of two ways. With `choice`, a `FrameChoice`, each shows T of its
    frames, and ``images`` are (B, T, 3, H, W); nothing else of it is decoded, and no frame twice.
    Or they are listed as pictures, by `one_by_one`, and ``ends`` (B,) of a batch are those of the
    `ends` that it gave: whether a picture is the last of its tracklet.

    A file that is no picture is an OSError. If `unreadable` is given, it is black instead, the
    message stands there under its path, and ``readable`` (B,) of the batch is False: for folders of
    which nobody has promised anything. Of a path among `arrays` no file is read: the picture is
    that array, uint8 RGB (height, width, 3). Both are read once, and not kept in a cache. `resize`
    brings pictures to `size`; see `Resize`.
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
        cache_dir: str = "",
        decoder: str = "cpu",
    ):
        self.samples, self.size, self.unreadable = samples, tuple(size), unreadable
        self.choice, self.ends, self._arrays = choice, ends, arrays or {}
        self.resize = resize or Resize()
        self._pids = torch.tensor([labels[s.pid] if labels else s.pid for s in samples])
        self._camids = torch.tensor([s.camid for s in samples])
        self.on_device = choose("decoder", decoder, DECODERS)
        make = choose("cache", cache, CACHES)
        if self.on_device:
            check_decoder()
            if make is not NoCache:
                raise ValueError(
                    f"DATALOADER.DECODER cuda keeps no pictures; set DATALOADER.CACHE {cache} to "
                    "off, or choose the decoder cpu."
                )
        if unreadable is not None or arrays:
            make = NoCache
        paths = (path for sample in samples for path in sample.paths)
        self._cache = make(paths, self.size, self.resize, cache_dir)

    def __len__(self) -> int:
        return len(self.samples)

    def at_full_resolution(self) -> "Pictures":
        """The same pictures as sharp as they are stored; a cache is shared."""
        sharp = copy(self)
        sharp.samples = [sample._replace(scale=1.0) for sample in self.samples]
        return sharp

    def __getitem__(self, indices: Sequence[int]) -> dict[str, Any]:
        return self.read(indices)

    def read(self, indices: Sequence[int], device: torch.device = CPU) -> dict[str, Any]:
        """The batch of the samples at `indices`; its images are on `device` if that decodes."""
        samples, index = [self.samples[i] for i in indices], torch.as_tensor(indices)
        lead, paths = (len(samples),), [sample.paths[0] for sample in samples]
        shown = paths
        if self.choice:
            places = self.choice([len(sample.paths) for sample in samples], indices)
            pairs = zip(samples, places, strict=True)
            shown = [sample.paths[place] for sample, chosen in pairs for place in chosen]
            lead = len(samples), self.choice.frames
        images = self._on(device, shown) if self.on_device else self._on_cpu(shown)
        batch = {
            "images": images.view(*lead, *self.size, 3).movedim(-1, -3),
            "pids": self._pids[index],
            "camids": self._camids[index],
            "index": index,
            "paths": paths,
            "scales": [sample.scale for sample in samples],
        }
        if self.ends is not None:
            batch["ends"] = self.ends[index]
        if self.unreadable is not None:
            batch["readable"] = torch.tensor([p not in self.unreadable for p in paths])
        return batch

    def _on_cpu(self, paths: Sequence[str]) -> Tensor:
        """The pictures at `paths`, uint8 (N, H, W, 3)."""
        images = np.empty((len(paths), *self.size, 3), np.uint8)
        for i, (path, out) in enumerate(zip(paths, images, strict=True)):
            if i and path == paths[i - 1]:  # a short tracklet shows its last frame again
                out[:] = images[i - 1]
            else:
                self._cache(path, out, self._fill)
        return torch.from_numpy(images)

    def _on(self, device: torch.device, paths: Sequence[str]) -> Tensor:
        once = {path: i for i, path in enumerate(dict.fromkeys(paths))}
        images = read_on(device, [*once], self.size, self.resize, self._fill)
        if len(once) == len(paths):
            return images
        return images[torch.tensor([once[path] for path in paths], device=device)]

    def _fill(self, path: str, out: np.ndarray) -> None:
        """Fill `out` with the picture at `path`, whatever stands for it."""
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


def in_order(count: int, batch_size: int) -> list[range]:
    """Index lists that go through `count` pictures once, in order."""
    return [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]


class Batches:
    """An iterable of finished batches: read ahead by threads, transformed on the device.

    Threads, not processes: OpenCV decodes outside Python's lock, nothing is pickled or copied
    between processes, and the cache is one. `sampler` yields lists of indices into `pictures`;
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
        self._begin = 0
        if pictures.on_device and self.device.type != "cuda":
            raise ValueError(
                f"DATALOADER.DECODER cuda needs an Nvidia GPU, and this runs on {self.device}; set "
                "MODEL.DEVICE cuda, or choose the decoder cpu."
            )

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int, begin: int = 0) -> None:
        """Let the sampler draw the batches of `epoch`, and the frames of tracklets for it.

        The first `begin` of these batches are not shown, nor read.
        """
        self.sampler.set_epoch(epoch)
        self._begin = begin
        if self.choice:
            self.choice.epoch = epoch

    def share(self) -> "Batches":
        """This process's share of batches that come in order, one process's after the other's.

        Batches stay whole; those of tracklets that come frame by frame are cut anew, so that no
        tracklet is divided. A process may have none.
        """
        own, ends = copy(self), self.pictures.ends
        if ends is None:
            own.sampler = list(self.sampler)[processes.share(len(self))]
        else:
            size = max(map(len, self.sampler), default=1)
            last = ends.nonzero().flatten() + 1  # where tracklets are over
            cuts = [0, *(int(last[last >= part.stop][0]) for part in processes.shares(len(ends)))]
            begin, end = cuts[processes.rank()], cuts[processes.rank() + 1]
            own.sampler = [
                range(begin + r.start, begin + r.stop) for r in in_order(end - begin, size)
            ]
        return own

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._read_ahead() if self.workers else map(self._read, self._order()):
            for name, value in batch.items():
                if isinstance(value, Tensor):
                    batch[name] = value.to(self.device, non_blocking=True)
            batch["images"] = degrade_each(self.transform(batch["images"]), batch["scales"])
            yield batch

    def _read(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = self.pictures.read(indices, self.device)
        if isinstance(indices, Part):
            batch["parts"] = indices.parts
        if self.device.type == "cuda" and not batch["images"].is_cuda:
            batch["images"] = batch["images"].pin_memory()
        return batch

    def _order(self) -> Iterator[Sequence[int]]:
        return islice(self.sampler, self._begin, None)

    def _read_ahead(self) -> Iterator[dict[str, Any]]:
        pool, waiting = ThreadPoolExecutor(self.workers, "reader"), deque()
        try:
            for indices in self._order():
                waiting.append(pool.submit(self._read, indices))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
