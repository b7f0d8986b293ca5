"""What tools and notebooks call: train, evaluate, calibrate, load, embed."""

import logging
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools import assess, build
from reidtools.config import load as configs
from reidtools.config.compat import flatten
from reidtools.data.preflight import preflight
from reidtools.data.samples import Sample, Splits, join_train
from reidtools.engine import checkpoints, environment, logbook
from reidtools.engine.trainer import Trainer
from reidtools.evaluation import Report, Vectors, verify
from reidtools.evaluation import embed as embed_batches
from reidtools.evaluation.features import fingerprint
from reidtools.modeling import Embedder, weights

LOGGER = logging.getLogger("reidtools")


def get_config(path: str | Path = "", overrides: Sequence[str] = ()) -> CfgNode:
    """The complete, frozen config of a YAML file and ``KEY VALUE`` pairs.

    Without a file, the checkpoint or run named by RESUME, or MODEL.WEIGHTS, brings its own config,
    if it has one; otherwise the defaults count.
    """
    logbook.set_up_logging()  # translations are told, and belong into the run's log
    cfg = configs.load(path, overrides)
    if path:
        return cfg
    resume = cfg.OUTPUT_DIR if cfg.RESUME == checkpoints.AUTO else cfg.RESUME
    source = Path(resume or cfg.MODEL.WEIGHTS or "none")
    source = (checkpoints.latest_checkpoint(source) or source) if source.is_dir() else source
    if source.is_file() and "config" in (saved := weights.read(source)):
        cfg = configs.load("", overrides, base=_recipe(saved))
    return cfg


def train(cfg: CfgNode) -> Report:
    """Train an embedder as `cfg` says; returns the figures of the last test.

    Everything that can be wrong is looked for before the first step. Writes the run's folder:
    config.yml, environment.txt, log.txt, metrics.jsonl, TensorBoard events, checkpoints,
    metrics.json.
    """
    logbook.set_up_logging()
    parent = _parent(cfg)
    start = checkpoints.find_start(cfg.RESUME, cfg.OUTPUT_DIR, parent) if cfg.RESUME else None
    device = _seeded_device(cfg)
    assess.rehearse(cfg)
    samples, tests = _data(cfg)
    trainer = _trainer(cfg, samples, device, pretrain=not (start or cfg.MODEL.WEIGHTS))
    build.try_out(cfg, trainer.model)
    best = {"epoch": -1, "mAP": -1.0}
    if start:
        best = _continue(cfg, trainer, start)
    elif cfg.MODEL.WEIGHTS:
        fitted = _fit(trainer.model, cfg.MODEL.WEIGHTS)
        LOGGER.log(logging.INFO if fitted.complete else logging.WARNING, fitted.details())

    run = _run_folder(cfg, start, parent)
    logbook.log_to(run / "log.txt")
    (run / "config.yml").write_text(configs.dump(cfg), encoding="utf-8")
    (run / "environment.txt").write_text(environment.describe(), encoding="utf-8")
    LOGGER.info(f"Resuming {start}" if start else f"Training into {run}")
    report, best = _loop(cfg, trainer, tests, run, best)

    final = {"model": trainer.model.state_dict(), "config": configs.dump(cfg)}
    checkpoints.save(final, run / "model_final.pth")
    about = {"epoch": cfg.SOLVER.MAX_EPOCH - 1, "best": best}
    assess.write_report(cfg, report, run, about)
    files = "\n".join(f"  {path}" for path in sorted(run.iterdir()))
    LOGGER.info("Best mAP %.2f after epoch %d. Written:\n%s", best["mAP"], best["epoch"], files)
    return report


def _loop(
    cfg: CfgNode, trainer: Trainer, tests: dict[str, Splits], run: Path, best: dict[str, Any]
) -> tuple[Report, dict[str, Any]]:
    """Train to the end: log, save and test as the config says. The last report and the best mAP."""
    batches = build.test_sets(cfg, tests, trainer.device)
    keeper = checkpoints.Checkpoints(run, cfg.SOLVER.CHECKPOINT_PERIOD)
    log = logbook.Logbook(
        run,
        len(trainer.batches),
        cfg.SOLVER.MAX_EPOCH,
        cfg.SOLVER.IMS_PER_BATCH,
        trainer.iteration,
    )
    report, period, last = Report(), cfg.TEST.EVAL_PERIOD, cfg.SOLVER.MAX_EPOCH - 1
    with closing(log):
        for progress in trainer:
            log.write(progress)
            if not progress.epoch_done:
                continue
            epoch = progress.epoch
            state = trainer.state_dict() | {"best": best, "config": configs.dump(cfg)}
            keeper.keep(state, epoch)  # before the test, which may fail
            if not (epoch == last or (period and epoch % period == 0)):
                continue
            report = assess.report_on(cfg, trainer.model, batches, trainer.amp, final=False)
            for name, figures in report.figures.items():
                log.score(epoch, progress.iteration, name, figures)
            LOGGER.info("After epoch %d\n%s", epoch, report)
            if report.mAP > best["mAP"]:
                state["best"] = best = {"epoch": epoch, "mAP": report.mAP}
                keeper.keep(state, epoch, best=True)
    return report, best


def evaluate(cfg: CfgNode, model: Embedder | None = None) -> Report:
    """Test `model`, or the embedder in MODEL.WEIGHTS, on the test sets of `cfg`.

    Weights that do not fill the model whole are refused. Writes metrics.json, and with TEST.PLOTS
    its curves, into OUTPUT_DIR, else for the checkpoint of a run into test_<checkpoint> beside it,
    else into output_dir. With TEST.FEATURES embeddings are kept there and used again.
    """
    logbook.set_up_logging()
    device = _seeded_device(cfg)
    model = _ready(cfg, model, device)
    tests = _test_splits(cfg)
    folder, amp = _output_folder(cfg), build.amp_dtype(cfg, device)
    report = assess.report_on(cfg, model, build.test_sets(cfg, tests, device), amp, final=True)
    LOGGER.info("%s", report)
    files = assess.write_report(cfg, report, folder, {"weights": cfg.MODEL.WEIGHTS})
    LOGGER.info("Written: %s", ", ".join(map(str, files)))
    return report


def calibrate(cfg: CfgNode, far: float, model: Embedder | None = None) -> dict[str, Any]:
    """Find the distance at which two pictures pass as one person, with false accept rate `far`.

    Pairs of the query and the gallery of the one test set of `cfg` decide. Writes calibration.json
    where `evaluate` would write, and returns its content: threshold, metric, far, tar, eer …
    """
    logbook.set_up_logging()
    if not 0 < far < 1:
        raise ValueError(f"The false accept rate is {far}; it is a share, such as 0.001.")
    names = _test_names(cfg)
    if len(names) > 1:
        raise ValueError(
            f"A threshold comes from one test set, not from {', '.join(names)}; name one in "
            "DATASETS.TESTS."
        )
    device = _seeded_device(cfg)
    model = _ready(cfg, model, device)
    ((name, sides),) = build.test_sets(cfg, _test_splits(cfg), device).items()
    amp = build.amp_dtype(cfg, device)
    query, gallery = assess.embeddings(cfg, model, name, sides, amp, keep=True)
    pairs = verify(query, gallery, **build.own(cfg.TEST, maker=verify))
    found = pairs.calibration(far)
    found |= {"weights": cfg.MODEL.WEIGHTS, "fingerprint": fingerprint(model), "dataset": name}
    found |= assess.settings(cfg)
    path = _output_folder(cfg) / "calibration.json"
    checkpoints.write_json(path, found)
    LOGGER.info(
        "A %s distance of at most %.4g means the same person: %.2f %% of same pairs pass, %g %% of "
        "different ones. Equal errors: %.2f %% at %.4g.\nWritten: %s",
        cfg.TEST.METRIC,
        found["threshold"],
        100 * found["tar"],
        100 * far,
        100 * found["eer"],
        found["eer_threshold"],
        path,
    )
    return found


def check(cfg: CfgNode) -> None:
    """Read the datasets of `cfg`, print their tables; a ValueError says why training would fail."""
    logbook.set_up_logging()
    _data(cfg)
    LOGGER.info("No problem found.")


def load(checkpoint: str | Path, device: str = "auto") -> Embedder:
    """The embedder of one of our checkpoints, in evaluation mode, with its ``config``.

    Raises ValueError for a file that brings no config, or does not fill the model whole.
    """
    saved = weights.read(Path(checkpoint))
    if "config" not in saved:
        raise ValueError(
            f"{checkpoint} brings no config, so its model is unknown; build one with a config file "
            "and MODEL.WEIGHTS."
        )
    cfg = configs.load("", ["MODEL.DEVICE", device], base=_recipe(saved))
    model = build.embedder(cfg)
    fitted = weights.fit(model, weights.state_of(saved))
    if not fitted.complete:
        raise ValueError(f"{checkpoint} does not fill its own model:\n{fitted.details()}")
    model.config = cfg
    return model.to(build.device(cfg)).eval()


def embed(model: Embedder, paths: Sequence[str | Path]) -> Vectors:
    """The vectors of picture files with a `model` from `load`; pids and camids are -1 (unknown)."""
    samples = [Sample((str(path),), -1, -1) for path in paths]
    device = next(model.parameters()).device
    return embed_batches(model, build.test_batches(model.config, samples, device))


def _recipe(saved: dict[str, Any]) -> dict[str, Any]:
    """The config in a checkpoint without what was of its run alone: where it began and went."""
    tree = configs.plain(saved["config"])
    tree["RESUME"] = tree["OUTPUT_DIR"] = tree["MODEL"]["WEIGHTS"] = ""
    return tree


def _seeded_device(cfg: CfgNode) -> torch.device:
    torch.manual_seed(cfg.SEED)
    if cfg.DETERMINISTIC:  # cuBLAS wants this before its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(cfg.DETERMINISTIC, warn_only=True)
    torch.backends.cudnn.benchmark = not cfg.DETERMINISTIC
    return build.device(cfg)


def _data(cfg: CfgNode) -> tuple[list[Sample], dict[str, Splits]]:
    """Training samples of all NAMES and the splits of each test set, looked through for trouble."""
    trains, tests = cfg.DATASETS.NAMES, _test_names(cfg)
    loaded = {name: build.splits(cfg, name) for name in dict.fromkeys([*trains, *tests])}
    samples = join_train([loaded[name].train for name in trains])
    num_instance = cfg.DATALOADER.SAMPLER.get("NUM_INSTANCE", 0)
    for place, name in enumerate(tests):
        found = preflight(
            loaded[name]._replace(train=samples),
            training=place == 0,  # the training pictures are the same for every test set
            num_instance=num_instance,
            people_per_batch=cfg.SOLVER.IMS_PER_BATCH // num_instance if num_instance else 0,
            camera_filter=cfg.TEST.CAMERA_FILTER,
        )
        _warn(name, found)
    return samples, {name: loaded[name] for name in tests}


def _trainer(
    cfg: CfgNode, samples: list[Sample], device: torch.device, *, pretrain: bool
) -> Trainer:
    """Everything that training needs, fresh."""
    model = build.embedder(cfg, pretrain=pretrain).to(device)
    objective = build.objective(cfg, model.dim, len({s.pid for s in samples})).to(device)
    generator = torch.Generator().manual_seed(cfg.SEED)
    batches = build.train_batches(cfg, samples, generator, device)
    return build.trainer(cfg, model, objective, batches, generator)


def _warn(name: str, warnings: list[str]) -> None:
    for warning in warnings:
        LOGGER.warning("%s: %s", name, warning)


def _fit(model: Embedder, path: str) -> weights.Fit:
    return weights.fit(model, weights.state_of(weights.read(Path(path))))


def _ready(cfg: CfgNode, model: Embedder | None, device: torch.device) -> Embedder:
    """`model`, or the one in MODEL.WEIGHTS, on the device, tried with a picture."""
    if model is None:
        if not cfg.MODEL.WEIGHTS:
            raise ValueError("There is nothing to test: give a checkpoint with MODEL.WEIGHTS.")
        model = build.embedder(cfg)
        fitted = _fit(model, cfg.MODEL.WEIGHTS)
        if not fitted.complete:
            raise ValueError(
                f"{cfg.MODEL.WEIGHTS} does not fill the model, so its figures would mean nothing; "
                f"test with the config it was trained with.\n{fitted.details()}"
            )
        LOGGER.info("Weights: %s", fitted)
    build.try_out(cfg, model.to(device))
    assess.rehearse(cfg)
    return model


def _test_names(cfg: CfgNode) -> list[str]:
    return cfg.DATASETS.TESTS or cfg.DATASETS.NAMES


def _test_splits(cfg: CfgNode) -> dict[str, Splits]:
    """The test sets, looked through for trouble."""
    tests = {name: build.splits(cfg, name) for name in _test_names(cfg)}
    for name, splits in tests.items():
        _warn(name, preflight(splits, camera_filter=cfg.TEST.CAMERA_FILTER, training=False))
    return tests


def _run_folder(cfg: CfgNode, start: Path | None, parent: Path) -> Path:
    """Where the run writes: a resumed one goes on where it was, unless that would mix two runs."""
    if not start:
        return checkpoints.new_run(cfg.OUTPUT_DIR, parent, again=bool(cfg.RESUME))
    elsewhere = cfg.OUTPUT_DIR and Path(cfg.OUTPUT_DIR).resolve() != start.parent.resolve()
    if not elsewhere and checkpoints.is_newest(start):
        return start.parent
    run = checkpoints.new_run(cfg.OUTPUT_DIR if elsewhere else "", parent)
    reason = "as OUTPUT_DIR asks" if elsewhere else f"since {start.parent} has later checkpoints"
    LOGGER.warning("The run goes on in %s, %s.", run, reason)
    return run


def _parent(cfg: CfgNode) -> Path:
    dataset = "+".join(Path(name).name for name in cfg.DATASETS.NAMES)
    backbone = cfg.MODEL.BACKBONE.get("TIMM_NAME", cfg.MODEL.BACKBONE.NAME)
    return Path("logs") / dataset / backbone.replace("/", "_") / cfg.METHOD


def _continue(cfg: CfgNode, trainer: Trainer, start: Path) -> dict[str, Any]:
    """Put the state of `start` into `trainer`; returns its best figure so far."""
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
    now, then = (flatten(configs.plain(c)) for c in (cfg, state["config"]))
    for key in sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k)):
        if key not in ("RESUME", "OUTPUT_DIR"):
            LOGGER.warning("%s was %s in the checkpoint, is %s", key, then.get(key), now.get(key))
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


def _output_folder(cfg: CfgNode) -> Path:
    beside = Path(cfg.MODEL.WEIGHTS).parent
    of_a_run = cfg.MODEL.WEIGHTS and (beside / "config.yml").is_file()
    own = beside / f"test_{Path(cfg.MODEL.WEIGHTS).stem}"
    return checkpoints.make_folder(Path(cfg.OUTPUT_DIR or (own if of_a_run else "output_dir")))
