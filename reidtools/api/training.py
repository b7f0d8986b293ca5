"""Training: a run from its data to its last checkpoint."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools import assess, build, reports, texts
from reidtools.api.filling import fill_objective
from reidtools.api.recipes import run_parent
from reidtools.api.teaching import teacher_of
from reidtools.api.testing import seeded_device
from reidtools.api.text_maps import text_maps
from reidtools.api.training_data import training_data
from reidtools.config import load as configs
from reidtools.config.compat import flatten
from reidtools.data.cached import CachedBatches
from reidtools.data.pictures import Batches
from reidtools.data.samples import Sample, Splits
from reidtools.engine import checkpoints, environment, logbook, tracking
from reidtools.engine.trainer import Trainer
from reidtools.evaluation import Report
from reidtools.files import write_whole
from reidtools.modeling import weights

LOGGER = logging.getLogger("reidtools")
LOSSES = "Losses on test people"
FROZEN_PAUSE = 60  # seconds between checkpoints of a run whose model is frozen


def train(cfg: CfgNode) -> Report:
    """Train an embedder as `cfg` says; returns the figures of the last test.

    Everything that can be wrong is looked for before the first step. Writes the run's folder:
    config.yml, environment.txt, log.txt, metrics.jsonl, TensorBoard events, checkpoints,
    metrics.json; with LOG.MLFLOW they go to an MLflow server as well, if it answers.
    """
    logbook.set_up_logging()
    return run_training(cfg)


def run_training(cfg: CfgNode, published: Callable[[int], Path] | None = None) -> Report:
    """What `train` does; `published` says where checkpoints go that do not go into the run."""
    if cfg.LOG.MLFLOW:
        tracking.require_mlflow(cfg.LOG.MLFLOW_URI)
    parent, wanted = run_parent(cfg), cfg.OUTPUT_DIR
    if cfg.EXP_NAME and not wanted:
        wanted = str(checkpoints.named_run(cfg.EXP_NAME, parent))
    start = checkpoints.find_start(cfg.RESUME, wanted, parent) if cfg.RESUME else None
    device = seeded_device(cfg)
    assess.rehearse(cfg)
    samples, captions, tests = training_data(cfg)
    if cfg.MODEL.BACKBONE.get("SIE_CAMERA") and len(cfg.DATASETS.NAMES) > 1:
        raise ValueError(
            "SIE_CAMERA knows the cameras of one training set, and tests would take those of one "
            "for those of another; name one in DATASETS.NAMES, or set SIE_CAMERA False."
        )
    cfg = configs.with_cameras(cfg, 1 + max(sample.camid for sample in samples))
    resumed = _resumed(start) if start else {}
    trainer = _trainer(cfg, samples, captions, device, resumed)
    best = _continue(cfg, trainer, start, resumed) if start else {"epoch": -1, "mAP": -1.0}

    run = _run_folder(wanted, start, parent, again=bool(cfg.RESUME))
    logbook.log_to(run / "log.txt")
    write_whole(run / "config.yml", lambda file: file.write(configs.dump(cfg).encode()))
    if run.name == "checkpoints" and run.parent.parent.name == "runs":  # as the MARS document
        resolved = run.with_name("config_resolved.yaml")
        resolved.write_text(configs.dump(cfg), encoding="utf-8")
    (run / "environment.txt").write_text(environment.describe(), encoding="utf-8")
    LOGGER.info(f"Resuming {start}" if start else f"Training into {run}")
    keeper = checkpoints.Checkpoints(run, cfg.SOLVER.CHECKPOINT_PERIOD, published)
    with _tracker(cfg, run) as tracker:
        report, best = _loop(cfg, trainer, tests, keeper, best, tracker)
        final = {"model": trainer.result.state_dict(), "config": configs.dump(cfg)}
        checkpoints.save(final, run / "model_final.pth")
        about = {"epoch": cfg.SOLVER.MAX_EPOCH - 1, "best": best}
        reports.write_report(cfg, report, run, about)
        files = "\n".join(f"  {path}" for path in sorted({*run.iterdir(), *keeper.written}))
        if not trainer.frozen:
            LOGGER.info("Best mAP %.2f after epoch %d.", best["mAP"], best["epoch"])
        LOGGER.info("Written:\n%s", files)
    return report


def _loop(
    cfg: CfgNode,
    trainer: Trainer,
    tests: dict[str, Splits],
    keeper: checkpoints.Checkpoints,
    best: dict[str, Any],
    tracker: tracking.Tracker | None,
) -> tuple[Report, dict[str, Any]]:
    """Train to the end: log, save and test as the config says. The last report and the best mAP."""
    batches = build.test_sets(cfg, tests, trainer.device)
    drawn = {name: build.loss_batches(cfg, name, s, trainer.device) for name, s in tests.items()}
    choice = trainer.batches.choice
    log = logbook.Logbook(
        keeper.run,
        len(trainer.batches),
        cfg.SOLVER.MAX_EPOCH,
        cfg.SOLVER.IMS_PER_BATCH * (choice.frames if choice else 1),
        trainer.iteration,
        tracker.log if tracker else None,
        first_epoch=trainer.epoch,
        stage=cfg.LOG.STAGE,
    )
    draw = text_maps(trainer.objective, keeper.run, cfg.LOG.TEXT_MAPS)
    report, period, last = Report(), cfg.TEST.EVAL_PERIOD, cfg.SOLVER.MAX_EPOCH - 1
    kept = time.monotonic()
    with closing(log):
        for progress in trainer:
            log.write(progress)
            draw(progress)
            if not progress.epoch_done:
                continue
            epoch = progress.epoch
            # Of a frozen model an epoch is short, and nothing about it is new to a test.
            if trainer.frozen and epoch < last and time.monotonic() - kept < FROZEN_PAUSE:
                continue
            state = trainer.state_dict() | {"best": best, "config": configs.dump(cfg)}
            keeper.keep(state, epoch, final=epoch == last)  # before the test, which may fail
            kept = time.monotonic()
            if trainer.frozen or not (epoch == last or (period and epoch % period == 0)):
                continue
            report = assess.report_on(cfg, trainer.result, batches, trainer.amp, final=False)
            for name, own in drawn.items():
                if own and (losses := trainer.losses_of(own)):
                    report.add_row(name, losses, LOSSES)
            for title, rows in {"": report.figures, **report.others}.items():
                for name, figures in rows.items():
                    log.score(epoch, progress.iteration, name, figures, title)
            LOGGER.info("After epoch %d\n%s", epoch, report)
            if report.mAP > best["mAP"]:
                state["best"] = best = {"epoch": epoch, "mAP": report.mAP}
                keeper.keep(state, epoch, final=epoch == last, best=True)
    return report, best


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
    generator = torch.Generator().manual_seed(cfg.SEED)
    looks = build.features_of(cfg, model, objective, samples, device)
    batches: Batches | CachedBatches
    if cfg.SOLVER.FREEZE:
        batches = build.frozen_batches(cfg, model, objective, samples, looks, device)
    else:
        batches = build.train_batches(cfg, samples, generator, device, looks)
    return build.trainer(cfg, model, objective, batches, generator)


def _tracker(cfg: CfgNode, run: Path) -> AbstractContextManager[tracking.Tracker | None]:
    """What sends the run to MLflow, if LOG.MLFLOW asks for it."""
    if not cfg.LOG.MLFLOW:
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
    if trainer.epoch >= cfg.SOLVER.MAX_EPOCH:
        raise ValueError(
            f"{start} has finished epoch {trainer.epoch - 1}, and SOLVER.MAX_EPOCH is "
            f"{cfg.SOLVER.MAX_EPOCH}; raise it to train on."
        )
    return state["best"]
