"""Config nodes become datasets and batches: for training, for losses, for tests."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from yacs.config import CfgNode

from reidtools import processes
from reidtools.data.augmentations import FIRST, RandomPatch
from reidtools.data.datasets import load_dataset
from reidtools.data.frames import FrameChoice, one_by_one, seen_frames
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samplers import RandomIdentitySampler, SharedSampler
from reidtools.data.samples import Sample, Splits, relabel, sources_of, table
from reidtools.data.transforms import Augment, LowResolution, Normalize, TrainTransform
from reidtools.data.variants import VARIANTS
from reidtools.ops.degrade import degrade
from reidtools.ops.resize import Resize
from reidtools.registry import DATASETS, SAMPLERS, choose, facts, options

LOGGER = logging.getLogger("reidtools")
OF_PEOPLE = {"pids", "batch_size", "seed"}  # facts of a sampler that any people have
# Keys of a slot, not of what fills it.
COMMON = ("NAME", "PRETRAIN", "PRETRAIN_PATH", "GRAD_CHECKPOINT", "WEIGHT")


def chosen(node: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a slot's node, under the component's own names."""
    return {key.lower(): value for key, value in node.items() if key not in COMMON}


def own(*nodes: Mapping[str, Any], maker: Callable) -> dict[str, Any]:
    """The options of `maker`, each from the first of `nodes` that has it, such as SOLVER."""
    keys = {name: name.upper().rstrip("_") for name in options(maker)}
    return {name: next(n[key] for n in nodes if key in n) for name, key in keys.items()}


def size_test(cfg: CfgNode) -> tuple[int, int]:
    """Height and width of test pictures."""
    height, width = cfg.INPUT.SIZE_TEST or cfg.INPUT.SIZE_TRAIN
    return height, width


def check_scales(key: str, scales: Iterable[float], size: Sequence[int]) -> None:
    """Raise a ValueError that names `key` unless pictures of `size` can be that coarse."""
    for scale in scales:
        try:
            degrade(torch.zeros(1, 3, *size), scale)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error


def splits(cfg: CfgNode, name: str) -> Splits:
    """The dataset `name`, or ``name@variant``; its table goes to the log."""
    name, _, variant = name.partition("@")
    given = cfg.DATASETS.get(name.upper(), {}) if name in DATASETS else {}
    loaded = load_dataset(name, cfg.DATASETS.ROOT, **chosen(given))
    LOGGER.info(table(name, loaded))
    if not variant:
        return loaded
    make = choose("variant", variant, VARIANTS)
    made = make(loaded, cfg.SEED, **own(cfg.DATASETS[variant.upper()], maker=make))
    scales = {sample.scale for sample in made.query + made.gallery}
    check_scales(f"DATASETS.{variant.upper()}", scales, size_test(cfg))
    return made


def train_batches(
    cfg: CfgNode,
    samples: list[Sample],
    generator: torch.Generator,
    on: torch.device,
    looks: Mapping[str, Any] | None = None,
) -> Batches:
    """Augmented training batches; labels are the sorted pids' places.

    Where there are tracklets, each sample shows INPUT.FRAMES frames. `looks` are the features that
    a sampler may look at, functions by the name of the fact, such as ``image_features``.
    """
    transform = train_transform(cfg, generator)
    if cfg.INPUT.PADDING >= min(cfg.INPUT.SIZE_TRAIN):
        raise ValueError(
            f"INPUT.PADDING {cfg.INPUT.PADDING} could push the whole picture out of its "
            f"{cfg.INPUT.SIZE_TRAIN}; choose a smaller one."
        )
    size = cfg.INPUT.SIZE_TRAIN
    check_scales("INPUT.SCALE", [cfg.INPUT.SCALE], size)
    check_scales("DATASETS.LOW_SCALE", [cfg.DATASETS.LOW_SCALE], size)
    check_scales("INPUT.LOW_RES_SCALES", cfg.INPUT.LOW_RES_SCALES, size)
    labels = relabel(samples)
    samples = [sample._replace(scale=cfg.INPUT.SCALE) for sample in samples]
    pictures = loss_pictures(cfg, samples, size, cfg.INPUT.FRAME_CHOICE, labels)
    sampler = train_sampler(cfg, samples, looks)
    return Batches(pictures, sampler, transform, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


def train_transform(cfg: CfgNode, generator: torch.Generator) -> TrainTransform:
    """What INPUT makes of a batch of training pictures; all chance comes from `generator`."""
    pixels = cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD
    return TrainTransform(
        *(make(generator, **own(cfg.INPUT, maker=make)) for make in FIRST),
        Augment(generator, *pixels, **own(cfg.INPUT, maker=Augment)),
        RandomPatch(generator, **own(cfg.INPUT, maker=RandomPatch)),
        Normalize(**own(cfg.INPUT, maker=Normalize)),
        LowResolution(generator, **own(cfg.INPUT, maker=LowResolution)),
    )


def loss_pictures(
    cfg: CfgNode,
    samples: Sequence[Sample],
    size: tuple[int, int],
    frame_choice: str,
    labels: Mapping[int, int] | None = None,
) -> Pictures:
    """`samples` as a batch for the losses shows them: of tracklets INPUT.FRAMES frames each."""
    choice = FrameChoice(cfg.SEED, frames=cfg.INPUT.FRAMES, frame_choice=frame_choice)
    choice = choice if any(len(sample.paths) > 1 for sample in samples) else None
    return pictures_of(cfg, samples, size, labels, choice=choice)


def pictures_of(cfg: CfgNode, samples: Sequence[Sample], *given: Any, **more: Any) -> Pictures:
    """`Pictures` of `samples` with the facts `given`, resized and kept as the config says."""
    resize = Resize(**own(cfg.INPUT, maker=Resize))
    return Pictures(samples, *given, **more, resize=resize, **own(cfg.DATALOADER, maker=Pictures))


def plain_batches(
    cfg: CfgNode,
    samples: Sequence[Sample],
    on: torch.device,
    order: Any = None,
    labels: Mapping[int, int] | None = None,
) -> Batches:
    """`samples` without augmentation, frames spread evenly.

    `order` are lists of their places, else all come in order; with `labels` (pid -> label) their
    pids are labels.
    """
    if order is None:
        order = in_order(len(samples), cfg.TEST.IMS_PER_BATCH)
    pictures = loss_pictures(cfg, samples, size_test(cfg), "even", labels)
    normalize = Normalize(**own(cfg.INPUT, maker=Normalize))
    return Batches(pictures, order, normalize, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


def train_sampler(
    cfg: CfgNode, samples: Sequence[Sample], looks: Mapping[str, Any] | None = None
) -> Any:
    """The sampler of training; in several processes this one's part of its batches."""
    size, count = cfg.SOLVER.IMS_PER_BATCH, processes.count()
    if size < 2 * count:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {size} for all of the {count} processes together, and each "
            "needs two; raise it, or start fewer."
        )
    sampler = make_sampler(cfg, samples, size, looks)
    each = cfg.DATALOADER.SAMPLER.get("NUM_INSTANCE", 1)
    return SharedSampler(sampler, each) if count > 1 else sampler


def make_sampler(
    cfg: CfgNode,
    samples: Sequence[Sample],
    batch_size: int,
    looks: Mapping[str, Any] | None = None,
) -> Any:
    """The sampler that DATALOADER asks for, over `samples`; for `looks` see `train_batches`."""
    known = {
        **(looks or {}),
        "pids": [sample.pid for sample in samples],
        "camids": [sample.camid for sample in samples],
        "sources": sources_of(samples, len(cfg.DATASETS.NAMES)),
        "batch_size": batch_size,
        "seed": cfg.SEED,
    }
    name = cfg.DATALOADER.SAMPLER.NAME
    if absent := set(facts(SAMPLERS[name])) - known.keys():
        raise ValueError(
            f"DATALOADER.SAMPLER {name} looks at {' and '.join(sorted(absent))}, and there are "
            "none; text_features are those of PromptLoss. Choose another sampler."
        )
    return SAMPLERS.build(name, known, chosen(cfg.DATALOADER.SAMPLER))


def test_batches(
    cfg: CfgNode,
    samples: Sequence[Sample],
    on: torch.device,
    unreadable: dict[str, str] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Batches:
    """All of `samples` in order, resized, normalised; see `Pictures` for the two other facts.

    Tracklets come frame by frame, as many of their frames as TEST.FRAME_CHOICE says.
    """
    seen = seen_frames(samples, cfg.INPUT.FRAMES, cfg.SEED, **own(cfg.TEST, maker=seen_frames))
    frames, ends = one_by_one(seen)
    pictures = pictures_of(cfg, frames, size_test(cfg), None, unreadable, arrays, ends=ends)
    return _in_order(cfg, pictures, on)


def _in_order(cfg: CfgNode, pictures: Pictures, on: torch.device) -> Batches:
    order = in_order(len(pictures), cfg.TEST.IMS_PER_BATCH)
    normalize = Normalize(**own(cfg.INPUT, maker=Normalize))
    return Batches(pictures, order, normalize, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


def test_scale(cfg: CfgNode, side: str) -> float:
    """How many times as coarse the pictures of a `side` (``query``, ``gallery``) are tested.

    Where TEST does not say, a model is tested at the lowest resolution that it was trained at.
    """
    asked = cfg.TEST[f"{side.upper()}_SCALE"]
    return max(cfg.INPUT.SCALE, cfg.DATASETS.LOW_SCALE) if asked is None else asked


class Sides(NamedTuple):
    """A test set: query and gallery, each as asked for and, if that is coarse, sharp as well."""

    queries: list[Batches]
    galleries: list[Batches]


def test_sets(cfg: CfgNode, tests: Mapping[str, Splits], on: torch.device) -> dict[str, Sides]:
    """Every test set, ready to be embedded again and again."""

    def ready(samples: list[Sample]) -> list[Batches]:
        asked = test_batches(cfg, samples, on)
        if all(sample.scale == 1 for sample in samples):
            return [asked]
        return [asked, _in_order(cfg, asked.pictures.at_full_resolution(), on)]

    tests = {name: as_coarse_as_tested(cfg, name, splits) for name, splits in tests.items()}
    return {name: Sides(ready(s.query), ready(s.gallery)) for name, s in tests.items()}


def as_coarse_as_tested(cfg: CfgNode, name: str, splits: Splits) -> Splits:
    """Query and gallery of the test set `name` as coarse as TEST says."""
    if "@" in name:  # a variant has said it already
        return splits
    coarse = {
        side: [s._replace(scale=test_scale(cfg, side)) for s in getattr(splits, side)]
        for side in ("query", "gallery")
    }
    return splits._replace(**coarse)


def loss_batches(cfg: CfgNode, name: str, splits: Splits, on: torch.device) -> Batches | None:
    """TEST.LOSS_BATCHES batches of the people of the test set `name`, by the sampler of training.

    RandomIdentitySampler stands in for one that looks at features, cameras or training sets. They
    are always the same: without augmentation, and with frames that are spread evenly. None where no
    batch is asked for, or nobody is there to be told apart.
    """
    if not cfg.TEST.LOSS_BATCHES:
        return None
    splits = as_coarse_as_tested(cfg, name, splits)
    asked = {sample.pid for sample in splits.query}
    samples = [s for s in splits.query + splits.gallery if s.pid in asked]  # no distractors
    each = cfg.DATALOADER.SAMPLER.get("NUM_INSTANCE", 1)
    size = min(cfg.SOLVER.IMS_PER_BATCH, len(asked) * each)
    if size < 2 * each:
        return None
    sampler: Iterable[list[int]]
    if set(facts(SAMPLERS[cfg.DATALOADER.SAMPLER.NAME])) - OF_PEOPLE:
        pids = [sample.pid for sample in samples]
        sampler = RandomIdentitySampler(pids, size, cfg.SEED, num_instance=each)
    else:
        sampler = make_sampler(cfg, samples, size)
    return plain_batches(cfg, samples, on, list(sampler)[: cfg.TEST.LOSS_BATCHES])
