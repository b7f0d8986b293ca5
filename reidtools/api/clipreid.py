"""CLIP-ReID (Li et al., 2023, arXiv:2211.13977): a training of stages, each a run of its own."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from yacs.config import CfgNode

from reidtools import processes
from reidtools.api.exporting import export_model
from reidtools.api.recipes import brought, run_parent
from reidtools.api.training import run_training
from reidtools.api.tuning import epoch_of
from reidtools.config import load as configs
from reidtools.config.clip_file import CLIP
from reidtools.engine import checkpoints, logbook
from reidtools.evaluation import Report
from reidtools.export.formats import require_onnx
from reidtools.files import locked, sha256_of
from reidtools.modeling import weights
from reidtools.modeling.clip_files import as_published

LOGGER = logging.getLogger("reidtools")
NAMES = {ours: theirs for theirs, ours in CLIP.items()}
ONLY, LAST = {"stage0": "CaptionLoss", "stage1": "PromptLoss"}, "stage2"
# What may change between two calls without making it another training.
FREE = (
    *("LOG.", "TEST.", "OUTPUT_DIR", "RESUME", "EXP_NAME", "MODEL.WEIGHTS", "MODEL.DEVICE"),
    *("MODEL.BACKBONE.CAMERAS", "MODEL.BACKBONE.GRAD_CHECKPOINT", "MODEL.BACKBONE.PRETRAIN_PATH"),
    *("DATASETS.ROOT", "DATASETS.TESTS", "DATALOADER.NUM_WORKERS", "DATALOADER.CACHE"),
    *("SOLVER.LOG_PERIOD", "SOLVER.CHECKPOINT_PERIOD", "MODEL.TEXT.VOCAB"),
)


def train_clipreid(stages: Sequence[CfgNode], *, export: bool = False) -> Report | None:
    """Train the `stages`, each from the file of the one before; the figures of the last test.

    LOG.STAGE of each says which it is: stage0 (captions), stage1 (prompts), stage2 (the image
    tower). A stage whose file is there is skipped; if it is of another config that is a ValueError.
    A stage that was stopped goes on. All is written into OUTPUT_DIR, else
    logs/<dataset>/<backbone>/clipreid: the runs, in folders called like their stages, and what the
    authors' code writes, in its layout: ``RN50_stage1_60.pth``, ``CLIP-ReID_RN50_final.pth``. With
    `export` the image tower is written as ONNX as well.

    None where there was nothing left to train. ValueError where another process trains there. In
    each of several processes (torchrun) it does its part of the work; the first writes.
    """
    logbook.set_up_logging()
    with processes.joined():
        return _train_all(stages, export)


def _train_all(stages: Sequence[CfgNode], export: bool) -> Report | None:
    if export:
        require_onnx()
        if stages[-1].LOG.STAGE != LAST:
            raise ValueError("--export writes the image tower of stage 2; let that be trained.")
    report, source = None, ""
    with locked(clipreid_folder(stages[0])) if processes.first() else nullcontext():
        for cfg in stages:
            file = clipreid_folder(cfg) / file_name(cfg)
            report = _train_stage(_of_stage(cfg, source), file) or report
            source = str(file)
    if export and processes.first():
        final = configs.load("", ["MODEL.WEIGHTS", source], base=brought(source))
        export_model(final, source.removesuffix(".pth") + "_onnx_format.onnx")
    return report


def _train_stage(cfg: CfgNode, file: Path) -> Report | None:
    """Train what the stage of `cfg` lacks and write its `file`; None if that is there already."""
    lacks = processes.from_first(lambda: _lacks(cfg, file))
    if not lacks:
        return None
    report = run_training(cfg) if "training" in lacks else Report()
    processes.from_first(lambda: _publish(file, cfg))
    return report


def _lacks(cfg: CfgNode, file: Path) -> set[str]:
    """What of the stage of `cfg` is not there yet: its ``training``, its ``file``."""
    run, beginning = Path(cfg.OUTPUT_DIR), _beginning(cfg)
    if file.is_file():
        made = weights.read(file, mapped=True)
        _check_same(file, made.get("config", ""), cfg)
        if made.get("beginning", beginning) != beginning:
            raise ValueError(
                f"{file} began with other weights or captions than there are now; delete it and "
                f"{run} to train anew, or choose another OUTPUT_DIR or EXP_NAME."
            )
        LOGGER.info("Loading from checkpoint %s: %s is done.", file, cfg.LOG.STAGE)
        return set()
    if (run / "config.yml").is_file():
        _check_same(run, (run / "config.yml").read_text(encoding="utf-8"), cfg)
    LOGGER.info("%s, %d epochs, for %s", cfg.LOG.STAGE, cfg.SOLVER.MAX_EPOCH, file)
    last = checkpoints.latest_checkpoint(run)
    done = bool(last) and epoch_of(str(last)) == cfg.SOLVER.MAX_EPOCH - 1
    if done:
        LOGGER.info("%s has been trained to its end.", run)
    return {"file"} if done else {"training", "file"}


def _beginning(cfg: CfgNode) -> str:
    """What a stage begins with besides its config: the sums of its weights and captions."""
    paths = [path for path in (cfg.MODEL.WEIGHTS, cfg.DATASETS.CAPTIONS) if path]
    return " ".join(sha256_of(Path(path)) for path in paths if Path(path).is_file())


def clipreid_folder(cfg: CfgNode) -> Path:
    """Where the files of such a training lie; see `train_clipreid`."""
    if cfg.OUTPUT_DIR:
        return Path(cfg.OUTPUT_DIR)
    return checkpoints.named_run(cfg.EXP_NAME, run_parent(cfg)) if cfg.EXP_NAME else run_parent(cfg)


def with_final(cfg: CfgNode) -> CfgNode:
    """`cfg` with MODEL.WEIGHTS: where it names none, the file that its training ends with."""
    if cfg.MODEL.WEIGHTS:
        return cfg
    file = clipreid_folder(cfg) / file_name(cfg)
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no {file}; train it with tools/train_clipreid.py, or name a checkpoint, "
            "such as a published one, in MODEL.WEIGHTS."
        )
    return configs.changed(cfg, {"MODEL.WEIGHTS": str(file)})


def file_name(cfg: CfgNode) -> str:
    """What the file of a stage is called; ValueError for a backbone that is no tower of CLIP."""
    name, stage = cfg.MODEL.BACKBONE.NAME, cfg.LOG.STAGE
    if name not in NAMES or not stage:
        raise ValueError(
            f"CLIP-ReID trains the towers {' and '.join(NAMES)}, in stages that LOG.STAGE names, "
            f"not {name} ({stage or 'no stage'}); use configs/clip_rn50.yml or a file like it."
        )
    if stage == LAST:
        return f"CLIP-ReID_{NAMES[name]}_final.pth"
    return f"{NAMES[name]}_{stage}_{cfg.SOLVER.MAX_EPOCH}.pth"


def _of_stage(cfg: CfgNode, source: str) -> CfgNode:
    """`cfg` as the run of a stage, which begins with the file `source` or goes on.

    Before stage 2 there is one loss only, whatever others are asked for.
    """
    run = clipreid_folder(cfg) / cfg.LOG.STAGE
    begun = processes.from_first(run.is_dir)
    values = {"OUTPUT_DIR": str(run), "RESUME": checkpoints.AUTO if begun else ""}
    if only := ONLY.get(cfg.LOG.STAGE):
        values |= {f"MODEL.LOSSES.{name}.WEIGHT": 0.0 for name in cfg.MODEL.LOSSES if name != only}
    return configs.changed(cfg, {**values, "MODEL.WEIGHTS": source or cfg.MODEL.WEIGHTS})


def _check_same(made: Path, before: str, cfg: CfgNode) -> None:
    """Raise a ValueError if `made` is of another config than `cfg`; `before` is the text of its."""
    if not before:
        LOGGER.warning("%s brings no config, and is taken for one of this training.", made)
        return
    other = [
        f"{key} was {then}, is {now}"
        for key, (then, now) in configs.differences(before, cfg).items()
        if not key.startswith(FREE)
    ]
    if other:
        raise ValueError(
            f"{made} is of another config: {'; '.join(other[:4])}. Delete the file and the folder "
            "of this stage to train it anew, choose another OUTPUT_DIR or EXP_NAME, or go back to "
            "its config."
        )


def _publish(file: Path, cfg: CfgNode) -> None:
    """Write what the finished run of `cfg` has learned in the layout of CLIP-ReID."""
    run, beginning = Path(cfg.OUTPUT_DIR), _beginning(cfg)
    last = checkpoints.latest_checkpoint(run)
    assert last, f"{run} has trained and kept nothing"
    state = as_published(weights.read(last), tokens=cfg.LOG.STAGE != LAST)
    text = (run / "config.yml").read_text(encoding="utf-8")
    checkpoints.save(weights.with_notes(state, config=text, beginning=beginning), file)
    LOGGER.info("Written: %s", file)
