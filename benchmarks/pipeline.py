"""Pictures a second and core, from JPEG files to augmented batches, against the per-picture way.

The other side is torchreid's published recipe, written with Pillow and torchvision as users have
it: open, bilinear resize, flip, random 2-D translation (enlarge by 1.125, crop), to tensor,
normalise, random erasing, collate. Both take turns in one run, so a busy machine slows both; CPU
time of one thread is counted, not wall time.

    python benchmarks/pipeline.py [folder of JPEGs; default: drawn toy people]
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as T

from reidtools.data.datasets.toy import toy
from reidtools.data.pictures import Pictures, in_order
from reidtools.data.samples import Sample
from reidtools.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Augment, Normalize
from reidtools.engine.environment import describe

SIZE, BATCH = (256, 128), 64


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


class PerPicture(torch.utils.data.Dataset):
    """One picture at a time through Pillow and torchvision."""

    def __init__(self, paths: list[str]):
        self.paths = paths
        self.transform = T.Compose(
            [
                T.Resize(SIZE),
                T.RandomHorizontalFlip(),
                Translate2D(),
                T.ToTensor(),
                T.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                T.RandomErasing(0.5, (0.02, 0.4), (0.3, 3.3), IMAGENET_MEAN),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def ours(paths: list[str], *, cache: str, normalize: bool) -> Callable[[], Iterator[torch.Tensor]]:
    """Our batches: uint8, ready for the device, or normalised float32."""
    pictures = Pictures([Sample((path,), 0, 0) for path in paths], SIZE, cache=cache)
    augment, to_float = Augment(torch.Generator().manual_seed(0)), Normalize()

    def batches() -> Iterator[torch.Tensor]:
        for indices in in_order(len(pictures), BATCH):
            images = augment(pictures[indices]["images"])
            yield to_float(images) if normalize else images

    return batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="JPEG files, searched recursively")
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if args.folder is None:
            toy(scratch, people=64)
        paths = sorted(str(path) for path in (args.folder or Path(scratch)).rglob("*.jpg"))
        compare(paths[: args.pictures], args.rounds)


def compare(paths: list[str], rounds: int) -> None:
    """Let all sides take turns and print medians, best rounds and the ratio of the medians."""
    if not paths:
        sys.exit("error: no .jpg files there; give a folder of pictures.")
    theirs = DataLoader(PerPicture(paths), BATCH)
    sides = {
        "Pillow + torchvision, float32": lambda: theirs,
        "reidtools, uint8": ours(paths, cache="off", normalize=False),
        "reidtools, float32": ours(paths, cache="off", normalize=True),
        "reidtools, uint8, RAM cache": ours(paths, cache="ram", normalize=False),
    }
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, batches in sides.items():
            begin = time.process_time()
            count = sum(len(batch) for batch in batches())
            if turn:  # the first turn warms up
                speeds[name].append(count / (time.process_time() - begin))
    print(describe())
    print(f"{len(paths)} pictures to {SIZE[0]} x {SIZE[1]}, {rounds} rounds, one thread")
    base = median(next(iter(speeds.values())))
    for name, values in speeds.items():
        middle = median(values)
        print(
            f"{name:32s} {middle:7.0f} pictures/s and core (best {max(values):.0f})"
            f"  {middle / base:.1f}x"
        )


if __name__ == "__main__":
    main()
