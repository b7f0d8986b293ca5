"""Which frames of a tracklet are seen, and tracklets as the pictures that they are made of."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from reidtools.data.samples import Sample
from reidtools.registry import choose


def at_random(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """`wanted` of `count` frames, drawn without repeats, in order."""
    return np.sort(rng.permutation(count)[:wanted])


def evenly(count: int, wanted: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """`wanted` of `count` frames, evenly spread from the first to the last."""
    return np.linspace(0, count - 1, wanted).astype(int)


CHOICES = {"random": at_random, "even": evenly}


class FrameChoice:
    """Which frames of a tracklet a training batch shows: as many of each, drawn anew every epoch.

    `frames` of them by `frame_choice`: ``random`` draws them without repeats and keeps their order,
    ``even`` spreads them from the first to the last. A tracklet that has fewer shows all of them,
    and its last one again and again. The draw depends on `seed`, the epoch and the batch only.
    """

    def __init__(self, seed: int, *, frames: int = 8, frame_choice: str = "random"):
        self.pick = choose("INPUT.FRAME_CHOICE", frame_choice, CHOICES)
        self.seed, self.frames, self.epoch = seed, frames, 0

    def __call__(self, counts: Sequence[int], batch: Sequence[int]) -> list[list[int]]:
        """The places of the frames of tracklets with `counts` frames, which make up `batch`."""
        rng = np.random.default_rng((self.seed, self.epoch, *batch))
        return [
            self.pick(count, self.frames, rng).tolist()
            if count >= self.frames
            else [min(place, count - 1) for place in range(self.frames)]
            for count in counts
        ]


def seen_frames(
    samples: Sequence[Sample], frames: int, seed: int, *, frame_choice: str = "all"
) -> list[Sample]:
    """`samples` with the frames that a test sees: ``all``, or `frames` of each tracklet.

    ``even`` and ``random``: see `FrameChoice`; here the draw depends on `seed` and the tracklet's
    first path, not on its place. A tracklet that has no more than `frames` is seen whole.
    """
    pick = choose("TEST.FRAME_CHOICE", frame_choice, CHOICES | {"all": None})
    if pick is None:
        return list(samples)

    def seen(sample: Sample) -> Sample:
        if len(sample.paths) <= frames:
            return sample
        rng = np.random.default_rng((seed, crc32(sample.paths[0].encode(errors="replace"))))
        places = pick(len(sample.paths), frames, rng)
        return sample._replace(paths=tuple(sample.paths[place] for place in places))

    return [seen(sample) for sample in samples]


def one_by_one(samples: Sequence[Sample]) -> tuple[list[Sample], Tensor | None]:
    """Every frame of `samples` as a picture, and for each whether it is the last of its tracklet.

    Pictures only are given back as they are, with None.
    """
    if all(len(sample.paths) == 1 for sample in samples):
        return list(samples), None
    pictures = [Sample((path,), *own) for paths, *own in samples for path in paths]
    ends = torch.zeros(len(pictures), dtype=torch.bool)
    ends[torch.tensor([len(sample.paths) for sample in samples]).cumsum(0) - 1] = True
    return pictures, ends
