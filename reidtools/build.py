"""Config nodes become objects. Besides `assess` and `api`, the only place that reads a config."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from reidtools.data.datasets import load_dataset
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samples import Sample, Splits, relabel, table
from reidtools.data.transforms import Augment, Normalize, TrainTransform
from reidtools.engine.objective import Objective
from reidtools.engine.trainer import Trainer
from reidtools.modeling import Embedder, weights
from reidtools.ops.degrade import degrade
from reidtools.registry import BACKBONES, DATASETS, HEADS, LOSSES, SAMPLERS, options
from reidtools.solver import make_optimizer, make_schedule

LOGGER = logging.getLogger("reidtools")
COMMON = ("NAME", "PRETRAIN", "PRETRAIN_PATH", "WEIGHT")  # keys of a slot, not of what fills it


def chosen(node: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a slot's node, under the component's own names."""
    return {key.lower(): value for key, value in node.items() if key not in COMMON}


def own(*nodes: Mapping[str, Any], maker: Callable) -> dict[str, Any]:
    """The options of `maker`, each from the first of `nodes` that has it, such as SOLVER."""
    keys = {name: name.upper().rstrip("_") for name in options(maker)}
    return {name: next(n[key] for n in nodes if key in n) for name, key in keys.items()}


def device(cfg: CfgNode) -> torch.device:
    """MODEL.DEVICE, where ``auto`` is CUDA, else Apple's MPS, else the CPU."""
    name = cfg.MODEL.DEVICE
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"MODEL.DEVICE {name} is not here ({reason}); try auto or cpu.") from error
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
    """The dataset `name`; its table goes to the log."""
    given = cfg.DATASETS.get(name.upper(), {}) if name in DATASETS else {}
    loaded = load_dataset(name, cfg.DATASETS.ROOT, **chosen(given))
    LOGGER.info(table(name, loaded))
    return loaded


def size_test(cfg: CfgNode) -> tuple[int, int]:
    """Height and width of test pictures."""
    height, width = cfg.INPUT.SIZE_TEST or cfg.INPUT.SIZE_TRAIN
    return height, width


def embedder(cfg: CfgNode, *, pretrain: bool = False) -> Embedder:
    """Backbone and head; with `pretrain` the backbone gets its published weights if asked to."""
    node = cfg.MODEL.BACKBONE
    facts = {"image_size": tuple(cfg.INPUT.SIZE_TRAIN)}
    backbone = BACKBONES.build(node.NAME, facts, chosen(node))
    if pretrain and node.PRETRAIN:
        LOGGER.info("Backbone: %s", weights.load_pretrained(backbone, node.PRETRAIN_PATH))
    facts = {"dim": backbone.dim, "pooled": backbone.pooled}
    heads = HEADS.build(cfg.MODEL.HEADS.NAME, facts, chosen(cfg.MODEL.HEADS))
    return Embedder(backbone, heads).to(memory_format=torch.channels_last)


def objective(cfg: CfgNode, dim: int, num_people: int) -> Objective:
    """The losses whose WEIGHT is not 0.

    They are built and added up by name: the order of a file must not change a run.
    """
    facts = {"dim": dim, "num_people": num_people}
    nodes = {name: node for name, node in sorted(cfg.MODEL.LOSSES.items()) if node.WEIGHT}
    losses = {name: LOSSES.build(name, facts, chosen(node)) for name, node in nodes.items()}
    return Objective(losses, {name: node.WEIGHT for name, node in nodes.items()})


def train_batches(
    cfg: CfgNode, samples: list[Sample], generator: torch.Generator, on: torch.device
) -> Batches:
    """Augmented training batches; labels are the sorted pids' places."""
    normalize = Normalize(**own(cfg.INPUT, maker=Normalize))
    augment = Augment(generator, cfg.INPUT.PIXEL_MEAN, **own(cfg.INPUT, maker=Augment))
    if cfg.INPUT.PADDING >= min(cfg.INPUT.SIZE_TRAIN):
        raise ValueError(
            f"INPUT.PADDING {cfg.INPUT.PADDING} could push the whole picture out of its "
            f"{cfg.INPUT.SIZE_TRAIN}; choose a smaller one."
        )
    pictures = Pictures(
        samples, cfg.INPUT.SIZE_TRAIN, relabel(samples), **own(cfg.DATALOADER, maker=Pictures)
    )
    facts = {
        "pids": [sample.pid for sample in samples],
        "batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "seed": cfg.SEED,
    }
    sampler = SAMPLERS.build(cfg.DATALOADER.SAMPLER.NAME, facts, chosen(cfg.DATALOADER.SAMPLER))
    transform = TrainTransform(augment, normalize)
    return Batches(pictures, sampler, transform, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


def test_batches(
    cfg: CfgNode, samples: Sequence[Sample], on: torch.device, scale: float = 1
) -> Batches:
    """All of `samples` in order, resized, normalised and made `scale` times as coarse."""
    pictures = Pictures(samples, size_test(cfg), **own(cfg.DATALOADER, maker=Pictures))
    order = in_order(len(samples), cfg.TEST.IMS_PER_BATCH)
    normalize = Normalize(**own(cfg.INPUT, maker=Normalize))

    def transform(images: torch.Tensor) -> torch.Tensor:
        return degrade(normalize(images), scale)

    return Batches(pictures, order, transform, workers=cfg.DATALOADER.NUM_WORKERS, device=on)


def test_sets(
    cfg: CfgNode, tests: Mapping[str, Splits], on: torch.device
) -> dict[str, tuple[Batches, Batches]]:
    """Query and gallery of every test set, ready to be embedded again and again."""
    return {
        name: (
            test_batches(cfg, sides.query, on, cfg.TEST.QUERY_SCALE),
            test_batches(cfg, sides.gallery, on, cfg.TEST.GALLERY_SCALE),
        )
        for name, sides in tests.items()
    }


def try_out(cfg: CfgNode, model: Embedder) -> None:
    """Let `model` see one picture of each size, so that a size it cannot take is found at once."""
    model.eval()
    on = next(model.parameters()).device
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
