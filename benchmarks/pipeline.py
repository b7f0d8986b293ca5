"""Pictures a second, from JPEG files to augmented batches, against the per-picture way.

The other sides are torchreid's and FastReID's published recipes, written with Pillow and
torchvision as users have them. torchreid: bilinear resize, flip, random 2-D translation (enlarge by
1.125, crop), to tensor, normalise, random erasing. FastReID: bicubic resize, flip, pad 10 and crop,
to a tensor of 0 to 255 (the model normalises), random erasing. Both collate picture by picture.

All sides take turns in one run, so a busy machine slows all of them. Counted is CPU time of one
thread; with ``--loader`` it is wall time, with 0, 1 and 2 workers: processes of a DataLoader there,
threads of `Batches` here. Where there is a GPU, ``--loader`` has nvJPEG as well.

    python benchmarks/pipeline.py [--loader] [folder of JPEGs; default: drawn toy people]
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as T

from reidtools.data.datasets.toy import toy
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samples import Sample
from reidtools.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augment,
    Normalize,
    TrainTransform,
)
from reidtools.engine.environment import describe

SIZE, BATCH = (256, 128), 64
ERASING = 0.5, (0.02, 0.4), (0.3, 3.3)  # probability, area, ratio
Batched = Callable[[], Iterable[torch.Tensor]]  # goes through all pictures once


class Translate2D:
    """torchreid's Random2DTranslation: with probability 0.5 enlarge by 1.125, crop at random."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        height, width = SIZE
        if random.random() > 0.5:
            return picture.resize((width, height), Image.BILINEAR)
        tall, wide = round(height * 1.125), round(width * 1.125)
        picture = picture.resize((wide, tall), Image.BILINEAR)
        left, top = random.randint(0, wide - width), random.randint(0, tall - height)
        return picture.crop((left, top, left + width, top + height))


def to_255(picture: Image.Image) -> torch.Tensor:
    """FastReID's ToTensor: float32 from 0 to 255."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float()


TORCHREID = (
    T.Resize(SIZE),
    T.RandomHorizontalFlip(),
    Translate2D(),
    T.ToTensor(),
    T.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    T.RandomErasing(*ERASING, IMAGENET_MEAN),
)
FASTREID = (
    T.Resize(SIZE, T.InterpolationMode.BICUBIC),
    T.RandomHorizontalFlip(),
    T.Pad(10),
    T.RandomCrop(SIZE),
    to_255,
    T.RandomErasing(*ERASING, [255 * value for value in IMAGENET_MEAN]),
)


class PerPicture(torch.utils.data.Dataset):
    """One picture at a time through Pillow and torchvision."""

    def __init__(self, paths: list[str], steps: Iterable[Callable]):
        self.paths, self.transform = paths, T.Compose(list(steps))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def theirs(paths: list[str], steps: Iterable[Callable], workers: int = 0) -> Batched:
    """Their batches, float32; worker processes stay alive between rounds."""
    data = PerPicture(paths, steps)
    loader = DataLoader(data, BATCH, num_workers=workers, persistent_workers=workers > 0)
    return lambda: loader


def ours(
    paths: list[str], *, normalize: bool, workers: int = 0, device: str = "cpu", **options: str
) -> Batched:
    """Our batches: uint8, ready for the device, or normalised float32."""
    pictures = Pictures([Sample((path,), 0, 0) for path in paths], SIZE, **options)
    steps = [Augment(torch.Generator().manual_seed(0)), *([Normalize()] if normalize else [])]
    order, transform = in_order(len(pictures), BATCH), TrainTransform(*steps)
    batches = Batches(pictures, order, transform, workers=workers, device=device)
    return lambda: (batch["images"] for batch in batches)


def new_cache(paths: list[str], scratch: str, **options: bool) -> Batched:
    """Our batches while a disk cache fills: every round has a new one."""

    def first_epoch() -> Iterable[torch.Tensor]:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            yield from ours(paths, cache="disk", cache_dir=folder, **options)()

    return first_epoch


def by_core(paths: list[str], scratch: str) -> dict[str, Batched]:
    """What is compared by CPU time."""
    kept = {"cache": "disk", "cache_dir": scratch}
    return {
        "Pillow + torchvision, torchreid's": theirs(paths, TORCHREID),
        "Pillow + torchvision, FastReID's": theirs(paths, FASTREID),
        "reidtools, uint8": ours(paths, normalize=False),
        "reidtools, float32": ours(paths, normalize=True),
        "reidtools, uint8, RAM cache": ours(paths, normalize=False, cache="ram"),
        "reidtools, uint8, disk cache, new": new_cache(paths, scratch, normalize=False),
        "reidtools, uint8, disk cache": ours(paths, normalize=False, **kept),
    }


def by_wall(paths: list[str], scratch: str) -> dict[str, Batched]:
    """What is compared by wall time, each with 0, 1 and 2 workers."""
    kept = {"cache": "disk", "cache_dir": scratch}
    kinds = {
        "torchreid's": partial(theirs, paths, TORCHREID),
        "FastReID's": partial(theirs, paths, FASTREID),
        "reidtools, uint8": partial(ours, paths, normalize=False),
        "reidtools, float32": partial(ours, paths, normalize=True),
        "reidtools, uint8, disk cache": partial(ours, paths, normalize=False, **kept),
    }
    if torch.cuda.is_available():
        on = {"device": "cuda", "normalize": True}
        kinds["reidtools, float32 on the GPU"] = partial(ours, paths, **on)
        kinds["reidtools, the same by nvJPEG"] = partial(ours, paths, **on, decoder="cuda")
    return {
        f"{name}, {workers} workers": make(workers=workers)
        for name, make in kinds.items()
        for workers in (0, 1, 2)
    }


def compare(sides: dict[str, Batched], rounds: int, clock: Callable[[], float], unit: str) -> None:
    """Let all sides take turns and print medians, best rounds and median ratios to the first."""
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, batches in sides.items():
            begin = clock()
            count = sum(len(batch) for batch in batches())
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:  # the first turn warms up
                speeds[name].append(count / (clock() - begin))
    base = next(iter(speeds.values()))
    for name, values in speeds.items():
        ratio = median(mine / first for mine, first in zip(values, base, strict=True))
        print(f"{name:42s} {median(values):7.0f} {unit} (best {max(values):.0f})  {ratio:.1f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="JPEG files, searched recursively")
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loader", action="store_true", help="wall time with 0, 1 and 2 workers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if args.folder is None:
            toy(scratch, people=64)
        paths = sorted(str(path) for path in (args.folder or Path(scratch)).rglob("*.jpg"))
        paths = paths[: args.pictures]
        if not paths:
            sys.exit("error: no .jpg files there; give a folder of pictures.")
        print(describe())
        how = "wall time" if args.loader else "CPU time of one thread"
        print(f"{len(paths)} pictures to {SIZE[0]} x {SIZE[1]}, {args.rounds} rounds, {how}")
        if args.loader:
            compare(by_wall(paths, scratch), args.rounds, time.perf_counter, "pictures/s")
        else:
            sides = by_core(paths, scratch)
            compare(sides, args.rounds, time.process_time, "pictures/s and core")


if __name__ == "__main__":
    main()
