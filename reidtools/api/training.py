"""Training: from a config to a trainer in the folder of its run."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools import assess, build, processes, texts
from reidtools.api.filling import fill_objective
from reidtools.api.recipes import run_parent
from reidtools.api.running import FINAL, run_to_end
from reidtools.api.teaching import teacher_of
from reidtools.api.testing import seeded_device
from reidtools.api.training_data import training_data
from reidtools.config import load as configs
from reidtools.config.compat import flatten
from reidtools.data.cached import CachedBatches
from reidtools.data.pictures import Batches
from reidtools.data.samples import Sample
from reidtools.engine import checkpoints, environment, logbook, tracking
from reidtools.engine.trainer import Trainer
from reidtools.evaluation import Report
from reidtools.files import write_whole
from reidtools.modeling import weights

LOGGER = logging.getLogger("reidtools")
APART = 1_000_003  # from the seed of one process to that of the next


def train(cfg: CfgNode) -> Report:
    """Train an embedder as `cfg` says; returns the figures of the last test.

    Everything that can be wrong is looked for before the first step. Writes the run's folder:
    config.yml, environment.txt, log.txt, metrics.jsonl, TensorBoard events, checkpoints,
    metrics.json; with LOG.MLFLOW they go to an MLflow server as well, if it answers.

    In each of several processes (torchrun) it does its part of the work; the first writes. Ctrl-C
    and SIGTERM end it after the step that is being computed, with a checkpoint to resume from.
    """
    logbook.set_up_logging()
    return run_training(cfg)


def run_training(cfg: CfgNode, published: Callable[[int], Path] | None = None) -> Report:
    """What `train` does; `published` says where checkpoints go that do not go into the run."""
    with processes.joined():
        return _run(cfg, published)


def _run(cfg: CfgNode, published: Callable[[int], Path] | None) -> Report:
    if cfg.LOG.MLFLOW and processes.first():
        tracking.require_mlflow(cfg.LOG.MLFLOW_URI)
    parent, wanted = run_parent(cfg), cfg.OUTPUT_DIR
    if cfg.EXP_NAME and not wanted:
        wanted = str(checkpoints.named_run(cfg.EXP_NAME, parent))
    start = None
    if cfg.RESUME:
        start = processes.from_first(lambda: checkpoints.find_start(cfg.RESUME, wanted, parent))
    device = seeded_device(cfg)
    assess.rehearse(cfg)
    with processes.first_before_others():
        samples, captions, tests = training_data(cfg)
    seen = processes.of_all(hashlib.sha256(repr((samples, tests)).encode()).hexdigest())
    if len(set(seen)) > 1:
        raise ValueError(
            "The processes of this run see different pictures; put DATASETS.ROOT where all "
            "machines read the same."
        )
    if cfg.MODEL.BACKBONE.get("SIE_CAMERA") and len(cfg.DATASETS.NAMES) > 1:
        raise ValueError(
            "SIE_CAMERA knows the cameras of one training set, and tests would take those of one "
            "for those of another; name one in DATASETS.NAMES, or set SIE_CAMERA False."
        )
    cfg = configs.with_cameras(cfg, 1 + max(sample.camid for sample in samples))
    resumed = _resumed(start) if start else {}
    trainer = _trainer(cfg, samples, captions, device, resumed)
    best = _continue(cfg, trainer, start, resumed) if start else {"epoch": -1, "mAP": -1.0}
    resumed.clear()  # a copy of the model and its moments

    run = processes.from_first(lambda: _begun(cfg, wanted, start, parent))
    LOGGER.info(f"Resuming {start}" if start else f"Training into {run}")
    keeper = checkpoints.Checkpoints(run, cfg.SOLVER.CHECKPOINT_PERIOD, published)
    with _tracker(cfg, run) as tracker:
        return run_to_end(cfg, trainer, tests, keeper, best, tracker)


def _begun(cfg: CfgNode, wanted: str, start: Path | None, parent: Path) -> Path:
    """The run's folder, with the files that say what it is."""
    run = _run_folder(wanted, start, parent, again=bool(cfg.RESUME))
    logbook.log_to(run / "log.txt")
    _write(run / "config.yml", configs.dump(cfg))
    if run.name == "checkpoints" and run.parent.parent.name == "runs":  # as the MARS document
        _write(run.with_name("config_resolved.yaml"), configs.dump(cfg))
    _write(run / "environment.txt", environment.describe())
    return run


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def _trainer(
    cfg: CfgNode,
    samples: list[Sample],
    captions: texts.Captions | None,
    device: torch.device,
    resumed: Mapping[str, Any] | None = None,
) -> Trainer:
    """Everything that training needs, with the weights that it begins with.

    Where a checkpoint is `resumed` only the model has its weights, in time to be embedded once;
    what else is in it is the caller's to load.
    """
    fresh = not resumed
    source = cfg.MODEL.WEIGHTS if fresh else ""
    start = weights.read(source) if source else {}
    model = build.embedder(cfg, pretrain=fresh and not source).to(device)
    make_text = partial(texts.text_tower, cfg, model, start, captions) if fresh else None
    teacher = teacher_of(cfg, device)
    objective = build.objective(cfg, model, samples, captions, make_text, teacher).to(device)
    build.try_out(cfg, model)
    if source:
        fitted = weights.fit(model, weights.state_of(start), cfg.MODEL.WEIGHTS_FORMAT)
        if fitted.complete:
            LOGGER.info("Weights: %s", fitted)
        else:
            LOGGER.warning("%s", fitted.details())
    if resumed:
        weights.fit(model, resumed["model"])
    else:
        fill_objective(cfg, objective, start, source, samples)
    build.synchronize_norms(cfg, model, objective)
    seed = cfg.SEED + APART * processes.rank()  # a chance of its own, after equal first weights
    generator = torch.Generator().manual_seed(seed)
    if processes.rank():
        torch.manual_seed(seed)
    looks = build.features_of(cfg, model, objective, samples, device)
    batches: Batches | CachedBatches
    if cfg.SOLVER.FREEZE:
        batches = build.frozen_batches(cfg, model, objective, samples, looks, device)
    else:
        batches = build.train_batches(cfg, samples, generator, device, looks)
    return build.trainer(cfg, model, objective, batches, generator)


def _tracker(cfg: CfgNode, run: Path) -> AbstractContextManager[tracking.Tracker | None]:
    """What sends the run to MLflow, if LOG.MLFLOW asks for it."""
    if not cfg.LOG.MLFLOW or not processes.first():
        return nullcontext()
    return tracking.Tracker(
        run,
        flatten(configs.plain(cfg)),
        uri=cfg.LOG.MLFLOW_URI,
        experiment=cfg.LOG.EXPERIMENT or "/".join(run_parent(cfg).parts[1:]),
        name="_".join(filter(None, (cfg.EXP_NAME, cfg.LOG.STAGE))),
    )


def _run_folder(wanted: str, start: Path | None, parent: Path, *, again: bool) -> Path:
    """Where the run writes: a resumed one goes on where it was, unless that would mix two runs."""
    if not start:
        return checkpoints.new_run(wanted, parent, again=again)
    elsewhere = wanted and Path(wanted).resolve() != start.parent.resolve()
    if not elsewhere and checkpoints.is_newest(start):
        return start.parent
    run = checkpoints.new_run(wanted if elsewhere else "", parent)
    later = f"since {start.parent} has later checkpoints"
    reason = "as OUTPUT_DIR or EXP_NAME asks" if elsewhere else later
    LOGGER.warning("The run goes on in %s, %s.", run, reason)
    return run


def _resumed(start: Path) -> dict[str, Any]:
    """What the checkpoint `start` holds; a ValueError if training cannot go on from it."""
    try:
        state = weights.read(start)
    except ValueError as error:
        others = ", ".join(sorted(p.name for p in start.parent.glob("*.pth") if p != start))
        raise ValueError(f"{error} Other checkpoints beside it: {others or 'none'}.") from error
    if not {"optimizer_names", "config", "best"} <= state.keys():
        raise ValueError(
            f"{start} holds a model only, so training cannot go on from it; start a new run with "
            "MODEL.WEIGHTS, or resume from an <epoch>.pth."
        )
    return state


def _continue(cfg: CfgNode, trainer: Trainer, start: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Put the `state` in `start` into `trainer`; returns its best figure so far."""
    for key, (then, now) in configs.differences(state["config"], cfg).items():
        if key not in ("RESUME", "OUTPUT_DIR", "EXP_NAME") and not key.startswith("LOG."):
            LOGGER.warning("%s was %s in the checkpoint, is %s", key, then, now)
    try:
        trainer.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{start} is of another model, loss or optimizer than the config ({error}); resume "
            "with the config.yml beside it, or without --config-file, or start a new run with "
            "MODEL.WEIGHTS."
        ) from error
    ended = (start.parent / FINAL).exists()  # or it died in its last test
    if trainer.epoch > cfg.SOLVER.MAX_EPOCH or (trainer.epoch == cfg.SOLVER.MAX_EPOCH and ended):
        raise ValueError(
            f"{start} has finished epoch {trainer.epoch - 1}, and SOLVER.MAX_EPOCH is "
            f"{cfg.SOLVER.MAX_EPOCH}; raise it to train on."
        )
    return _best(start, state)


def _best(start: Path, state: dict[str, Any]) -> dict[str, Any]:
    """The best figure until `start`, whose `state` may not know it: best.pth is written first."""
    path, known = start.with_name("best.pth"), state["best"]
    other = weights.read(path, mapped=True).get("best", known) if path.is_file() else known
    later = known["epoch"] < other["epoch"] <= state["epoch"]
    return other if later and other["mAP"] > known["mAP"] else known
