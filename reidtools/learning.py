"""Config nodes become what moves weights: precision, optimizer, schedule, trainer."""

import logging
import os
import shutil
from copy import deepcopy

import torch
from yacs.config import CfgNode

from reidtools import processes
from reidtools.batches import own
from reidtools.data.cached import CachedBatches
from reidtools.data.pictures import Batches
from reidtools.engine.average import MovingAverage
from reidtools.engine.freezing import Freezing
from reidtools.engine.objective import Objective
from reidtools.engine.parallel import Parallel, Step
from reidtools.engine.trainer import Trainer
from reidtools.modeling import Embedder
from reidtools.ops.recompute import piece_by_piece
from reidtools.registry import SAMPLERS, facts
from reidtools.solver import make_clipper, make_optimizer, make_schedule

LOGGER = logging.getLogger("reidtools")
COMPILERS = ("g++", "gcc", "clang++", "clang", "cl")  # torch.compile wants one, for a GPU as well
LOOKS = ("image_features", "text_features")
BACKEND = "inductor"  # of torch.compile


def amp_dtype(cfg: CfgNode, on: torch.device) -> torch.dtype | None:
    """The dtype of autocast, or None; ``auto`` is bf16 where the GPU has it, else fp16.

    Without a GPU it is bf16 where that is asked for, else None.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if on.type != "cuda":
        return torch.bfloat16 if cfg.SOLVER.AMP.DTYPE == "bf16" else None
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)  # which is slow
    auto = torch.bfloat16 if has_bf16 else torch.float16
    dtypes = {"auto": auto, "bf16": torch.bfloat16, "fp16": torch.float16}
    if cfg.SOLVER.AMP.DTYPE not in dtypes:
        raise ValueError(f"SOLVER.AMP.DTYPE is {cfg.SOLVER.AMP.DTYPE}; use one of {list(dtypes)}.")
    return dtypes[cfg.SOLVER.AMP.DTYPE]


def trainer(
    cfg: CfgNode,
    model: Embedder,
    loss: Objective,
    batches: Batches | CachedBatches,
    generator: torch.Generator,
) -> Trainer:
    """Optimizer and schedule around a model, an objective and batches."""
    solver = cfg.SOLVER
    parts = {"embedder": model, "objective": loss}
    followed = average(cfg, model)
    sharded = shards(cfg)
    whole = deepcopy(model).cpu() if sharded else None
    adjust(cfg, model)
    parallel = Parallel(Step(model, loss), whole)
    amp = amp_dtype(cfg, batches.device)
    if solver.AMP.ENABLED and not amp:
        LOGGER.info("SOLVER.AMP needs CUDA, or DTYPE bf16; this run computes in float32.")
    optimizer = make_optimizer(parts, **own(solver, maker=make_optimizer))
    schedule = make_schedule(
        optimizer, len(batches), solver.MAX_EPOCH, **own(solver, maker=make_schedule)
    )
    clips = solver.CLIP_GRADIENTS
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
        accumulate=solver.ACCUMULATE,
        also_report=cfg.LOG.TEXT_MAPS,
        clip=make_clipper(**own(clips, maker=make_clipper)) if clips.ENABLED else None,
        freezing=freezing(cfg, model, optimizer, len(batches) * solver.MAX_EPOCH),
        average=followed,
        parallel=parallel,
    )


def shards(cfg: CfgNode) -> bool:
    """Whether SOLVER.FSDP divides the weights among processes; a ValueError where it cannot."""
    solver = cfg.SOLVER
    if not solver.FSDP or processes.count() == 1:
        return False
    sampler = cfg.DATALOADER.SAMPLER.NAME
    cannot = {
        # These look at a network, or its texts, outside of a step.
        f"the sampler {sampler}": set(facts(SAMPLERS[sampler])) & {*LOOKS},
        "LOG.TEXT_MAPS": cfg.LOG.TEXT_MAPS,
        "MODEL.COMPILE": cfg.MODEL.COMPILE,
        "MODEL.FREEZE_LAYERS": cfg.MODEL.FREEZE_LAYERS,
        "SOLVER.EMA": solver.EMA.ENABLED,
        "SOLVER.FREEZE": solver.FREEZE,
        "SOLVER.MICRO_BATCH": solver.MICRO_BATCH,
        "SOLVER.AMP.DTYPE fp16": solver.AMP.ENABLED and solver.AMP.DTYPE == "fp16",
    }
    if asked := [name for name, value in cannot.items() if value]:
        raise ValueError(
            f"SOLVER.FSDP does not go with {', '.join(asked)}; leave that out, or FSDP. Memory is "
            "saved by MODEL.BACKBONE.GRAD_CHECKPOINT and SOLVER.ACCUMULATE as well."
        )
    return True


def adjust(cfg: CfgNode, model: Embedder) -> None:
    """Let the backbone of `model` train with less memory or compiled, as MODEL says.

    Names in its state dict stay what they are. A ValueError where that cannot be.
    """
    backbone, name = model.backbone, cfg.MODEL.BACKBONE.NAME
    if cfg.MODEL.BACKBONE.GRAD_CHECKPOINT:
        if cfg.MODEL.COMPILE:
            raise ValueError(
                "MODEL.COMPILE cannot compile what MODEL.BACKBONE.GRAD_CHECKPOINT computes again; "
                "set one of them to False, or save memory with SOLVER.MICRO_BATCH."
            )
        if not hasattr(backbone, "segments"):
            raise ValueError(
                f"{name} does not say of which segments it is, so MODEL.BACKBONE.GRAD_CHECKPOINT "
                "cannot compute them again; give it `segments`, or use SOLVER.MICRO_BATCH."
            )
        piece_by_piece(backbone.segments)
    if cfg.MODEL.COMPILE:
        if not os.environ.get("CXX") and not any(map(shutil.which, COMPILERS)):
            raise ValueError(
                "MODEL.COMPILE needs a C++ compiler, and there is none; install g++, or set CXX to "
                "yours, or MODEL.COMPILE to False."
            )
        LOGGER.info("The first steps compile %s, which may take minutes.", name)
        backbone.compile(backend=BACKEND)


def freezing(
    cfg: CfgNode, model: Embedder, optimizer: torch.optim.Optimizer, iterations: int
) -> Freezing | None:
    """What keeps MODEL.FREEZE_LAYERS of `model` as they are, if there are any.

    `iterations` are those of the whole run. A ValueError if nothing is left to learn, or if the
    settings contradict each other.
    """
    names, solver = cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER
    if not names:
        if solver.FREEZE_ITERS or solver.FREEZE_EPOCHS:
            raise ValueError(
                "SOLVER.FREEZE_ITERS and FREEZE_EPOCHS say how long MODEL.FREEZE_LAYERS are "
                "frozen, and it names none; name some, such as [backbone], or set both to 0."
            )
        return None
    if solver.FREEZE:
        raise ValueError(
            f"SOLVER.FREEZE {solver.FREEZE} freezes all of the model to the end; leave out "
            "MODEL.FREEZE_LAYERS, or it."
        )
    made = Freezing(model, names, solver.FREEZE_ITERS, solver.FREEZE_EPOCHS)
    if made.holds(solver.MAX_EPOCH - 1, iterations - 1):
        LOGGER.warning(
            "MODEL.FREEZE_LAYERS %s stay frozen for all of the run's %d iterations%s.",
            ", ".join(names),
            iterations,
            ""
            if not (solver.FREEZE_ITERS or solver.FREEZE_EPOCHS)
            else "; lower SOLVER.FREEZE_ITERS or FREEZE_EPOCHS, or train longer",
        )
    kept = {id(weight) for weight in made.weights}
    if all(id(weight) in kept for group in optimizer.param_groups for weight in group["params"]):
        raise ValueError(
            f"MODEL.FREEZE_LAYERS {', '.join(names)} leaves nothing that learns; freeze less, or "
            "add a loss that has weights of its own."
        )
    return made


def average(cfg: CfgNode, model: Embedder) -> MovingAverage | None:
    """The moving average of `model`, if SOLVER.EMA asks for one; it is what a run keeps."""
    node = cfg.SOLVER.EMA
    if not node.ENABLED:
        return None
    if cfg.SOLVER.FREEZE:
        raise ValueError(
            f"SOLVER.FREEZE {cfg.SOLVER.FREEZE} keeps the weights that SOLVER.EMA would average; "
            "leave out one of them."
        )
    LOGGER.info("What is tested and kept is the moving average of the weights (SOLVER.EMA).")
    return MovingAverage(model, **own(node, maker=MovingAverage))
