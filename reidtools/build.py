"""Config nodes become objects. Only `reports`, `assess` and `api` read a config besides."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from yacs.config import CfgNode

from reidtools.data.datasets import load_dataset
from reidtools.data.frames import FrameChoice, one_by_one, seen_frames
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samples import Sample, Splits, relabel, table
from reidtools.data.transforms import Augment, LowResolution, Normalize, TrainTransform
from reidtools.data.variants import VARIANTS
from reidtools.engine.objective import Objective
from reidtools.engine.processor import quicken
from reidtools.engine.trainer import Trainer
from reidtools.extras import reason
from reidtools.modeling import Embedder, Preparation, weights
from reidtools.modeling.onnx_network import OnnxNetwork, runs_on
from reidtools.ops.degrade import degrade
from reidtools.registry import (
    BACKBONES,
    DATASETS,
    HEADS,
    LOSSES,
    SAMPLERS,
    TEMPORAL,
    choose,
    options,
)
from reidtools.solver import make_optimizer, make_schedule

LOGGER = logging.getLogger("reidtools")
PLAIN_MEAN = {"NAME": "Mean", "NORM_FRAMES": False}
COMMON = ("NAME", "PRETRAIN", "PRETRAIN_PATH", "WEIGHT")  # keys of a slot, not of what fills it


def chosen(node: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a slot's node, under the component's own names."""
    return {key.lower(): value for key, value in node.items() if key not in COMMON}


def own(*nodes: Mapping[str, Any], maker: Callable) -> dict[str, Any]:
    """The options of `maker`, each from the first of `nodes` that has it, such as SOLVER."""
    keys = {name: name.upper().rstrip("_") for name in options(maker)}
    return {name: next(n[key] for n in nodes if key in n) for name, key in keys.items()}


def device(cfg: CfgNode) -> torch.device:
    """MODEL.DEVICE, where ``auto`` is CUDA, else Apple's MPS, else the CPU, which is made quick."""
    name = cfg.MODEL.DEVICE
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        why = reason(error)
        raise ValueError(f"MODEL.DEVICE {name} is not here ({why}); try auto or cpu.") from error
    if torch.device(name).type == "cpu":
        quicken()
    return torch.device(name)


def amp_dtype(cfg: CfgNode, on: torch.device) -> torch.dtype | None:
    """The dtype of autocast, or None; ``auto`` is bf16 where the GPU has it, else fp16."""
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if on.type != "cuda":
        return None
    auto = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    dtypes = {"auto": auto, "bf16": torch.bfloat16, "fp16": torch.float16}
    if cfg.SOLVER.AMP.DTYPE not in dtypes:
        raise ValueError(f"SOLVER.AMP.DTYPE is {cfg.SOLVER.AMP.DTYPE}; use one of {list(dtypes)}.")
    return dtypes[cfg.SOLVER.AMP.DTYPE]


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


def embedder(cfg: CfgNode, *, pretrain: bool = False) -> Embedder:
    """Backbone, head and pooling over time; with `pretrain` published weights, if asked to."""
    node = cfg.MODEL.BACKBONE
    facts = {"image_size": tuple(cfg.INPUT.SIZE_TRAIN)}
    backbone = BACKBONES.build(node.NAME, facts, chosen(node))
    if pretrain and node.PRETRAIN:
        LOGGER.info("Backbone: %s", weights.load_pretrained(backbone, node.PRETRAIN_PATH))
    facts = {"dim": backbone.dim, "pooled": backbone.pooled}
    heads = HEADS.build(cfg.MODEL.HEADS.NAME, facts, chosen(cfg.MODEL.HEADS))
    over_time = cfg.MODEL.TEMPORAL
    temporal = TEMPORAL.build(over_time.NAME, {"dim": heads.dim}, chosen(over_time))
    model = Embedder(backbone, heads, temporal, preparation(cfg))
    return model.to(memory_format=torch.channels_last)


def preparation(cfg: CfgNode) -> Preparation:
    """What becomes of test pictures before the network."""
    return Preparation(size_test(cfg), Normalize(**own(cfg.INPUT, maker=Normalize)))


def onnx_embedder(cfg: CfgNode) -> Embedder:
    """The embedder in the ONNX file MODEL.WEIGHTS, which has a vector for each picture.

    Frames of a tracklet are joined by their plain mean; another MODEL.TEMPORAL is a ValueError.
    """
    if cfg.MODEL.TEMPORAL != PLAIN_MEAN:
        raise ValueError(
            f"{cfg.MODEL.WEIGHTS} makes a vector of a picture, so MODEL.TEMPORAL "
            f"{cfg.MODEL.TEMPORAL.NAME} cannot join frames in it; set MODEL.TEMPORAL.NAME Mean, or "
            "use the checkpoint that it was made from."
        )
    on = device(cfg)
    if cfg.MODEL.DEVICE == "auto" and not runs_on(on):
        LOGGER.info("The onnxruntime that is installed runs on the CPU, and so does the network.")
        quicken()
        on = torch.device("cpu")
    network = OnnxNetwork(cfg.MODEL.WEIGHTS, on)
    _check_about(cfg, network)
    head = HEADS.build("Linear", {"dim": network.dim, "pooled": network.pooled}, {})
    return Embedder(network, head, None, preparation(cfg))


def _check_about(cfg: CfgNode, network: OnnxNetwork) -> None:
    """Hold what an ONNX file tells against the config, which may be of another network."""
    told = network.metadata
    if told.get("backbone", cfg.MODEL.BACKBONE.NAME) != cfg.MODEL.BACKBONE.NAME:
        raise ValueError(
            f"{cfg.MODEL.WEIGHTS} is {told['backbone']}, not {cfg.MODEL.BACKBONE.NAME}; leave out "
            "MODEL.BACKBONE.NAME and the config file, or name the file that you mean."
        )
    for key, name in (("PIXEL_MEAN", "pixel_mean"), ("PIXEL_STD", "pixel_std")):
        if name in told and json.loads(told[name]) != list(cfg.INPUT[key]):
            LOGGER.warning(
                "%s says INPUT.%s %s, and the config has %s, which counts; leave out the config "
                "file, or set it.",
                cfg.MODEL.WEIGHTS,
                key,
                told[name],
                list(cfg.INPUT[key]),
            )
    LOGGER.info(
        "Weights: %s, %s, run by onnxruntime", cfg.MODEL.WEIGHTS, told.get("backbone", "a network")
    )


def objective(cfg: CfgNode, dim: int, num_people: int) -> Objective:
    """The losses whose WEIGHT is not 0.

    They are built and added up by name: the order of a file must not change a run.
    """
    facts = {"dim": dim, "num_people": num_people}
    nodes = {name: node for name, node in sorted(cfg.MODEL.LOSSES.items()) if node.WEIGHT}
    losses = {name: LOSSES.build(name, facts, chosen(node)) for name, node in nodes.items()}
    weights = {name: node.WEIGHT for name, node in nodes.items()}
    return Objective(losses, weights, cfg.DATASETS.LOW_SCALE, cfg.SOLVER.MICRO_BATCH)


def train_batches(
    cfg: CfgNode, samples: list[Sample], generator: torch.Generator, on: torch.device
) -> Batches:
    """Augmented training batches; labels are the sorted pids' places.

    Where there are tracklets, each sample shows INPUT.FRAMES frames.
    """
    normalize = Normalize(**own(cfg.INPUT, maker=Normalize))
    augment = Augment(generator, cfg.INPUT.PIXEL_MEAN, **own(cfg.INPUT, maker=Augment))
    if cfg.INPUT.PADDING >= min(cfg.INPUT.SIZE_TRAIN):
        raise ValueError(
            f"INPUT.PADDING {cfg.INPUT.PADDING} could push the whole picture out of its "
            f"{cfg.INPUT.SIZE_TRAIN}; choose a smaller one."
        )
    low_resolution = LowResolution(generator, **own(cfg.INPUT, maker=LowResolution))
    size = cfg.INPUT.SIZE_TRAIN
    check_scales("INPUT.SCALE", [cfg.INPUT.SCALE], size)
    check_scales("DATASETS.LOW_SCALE", [cfg.DATASETS.LOW_SCALE], size)
    check_scales("INPUT.LOW_RES_SCALES", cfg.INPUT.LOW_RES_SCALES, size)
    labels = relabel(samples)
    samples = [sample._replace(scale=cfg.INPUT.SCALE) for sample in samples]
    pictures = loss_pictures(cfg, samples, size, cfg.INPUT.FRAME_CHOICE, labels)
    sampler = make_sampler(cfg, samples, cfg.SOLVER.IMS_PER_BATCH)
    transform = TrainTransform(augment, normalize, low_resolution)
    return Batches(pictures, sampler, transform, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


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
    return Pictures(samples, size, labels, choice=choice, **own(cfg.DATALOADER, maker=Pictures))


def make_sampler(cfg: CfgNode, samples: Sequence[Sample], batch_size: int) -> Any:
    """The sampler that DATALOADER asks for, over `samples`."""
    facts = {
        "pids": [sample.pid for sample in samples],
        "batch_size": batch_size,
        "seed": cfg.SEED,
    }
    return SAMPLERS.build(cfg.DATALOADER.SAMPLER.NAME, facts, chosen(cfg.DATALOADER.SAMPLER))


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
    options = own(cfg.DATALOADER, maker=Pictures)
    pictures = Pictures(frames, size_test(cfg), None, unreadable, arrays, ends=ends, **options)
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

    They are always the same: without augmentation, and with frames that are spread evenly. None
    where no batch is asked for, or nobody is there to be told apart.
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
    sampler = list(make_sampler(cfg, samples, size))[: cfg.TEST.LOSS_BATCHES]
    pictures = loss_pictures(cfg, samples, size_test(cfg), "even")
    normalize = Normalize(**own(cfg.INPUT, maker=Normalize))
    return Batches(pictures, sampler, normalize, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


def try_out(cfg: CfgNode, model: Embedder) -> None:
    """Let `model` see one picture of each size, so that a size it cannot take is found at once."""
    model.eval()
    on = model.device
    for size in {tuple(cfg.INPUT.SIZE_TRAIN), tuple(size_test(cfg))}:
        try:
            with torch.inference_mode():
                model(torch.zeros(1, 3, *size, device=on))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"{cfg.MODEL.BACKBONE.NAME} cannot take pictures of {size[0]} x {size[1]} "
                f"({error}); change INPUT.SIZE_TRAIN or INPUT.SIZE_TEST."
            ) from error


def trainer(
    cfg: CfgNode,
    model: Embedder,
    loss: nn.Module,
    batches: Batches,
    generator: torch.Generator,
) -> Trainer:
    """Optimizer and schedule around a model, an objective and batches."""
    solver = cfg.SOLVER
    parts = {"embedder": model, "objective": loss}
    amp = amp_dtype(cfg, batches.device)
    if solver.AMP.ENABLED and not amp:
        LOGGER.info("SOLVER.AMP needs a CUDA device; this run computes in float32.")
    optimizer = make_optimizer(parts, **own(solver, maker=make_optimizer))
    schedule = make_schedule(
        optimizer, len(batches), solver.MAX_EPOCH, **own(solver, maker=make_schedule)
    )
    return Trainer(
        model,
        loss,
        batches,
        optimizer,
        schedule,
        generator,
        max_epoch=solver.MAX_EPOCH,
        log_period=solver.LOG_PERIOD,
        amp=amp,
    )
