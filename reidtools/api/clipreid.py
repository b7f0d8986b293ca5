"""CLIP-ReID (Li et al., 2023, arXiv:2211.13977): a training of stages, each a run of its own."""

import logging
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from reidtools.api.exporting import export_model
from reidtools.api.recipes import brought, run_parent
from reidtools.api.training import run_training
from reidtools.config import load as configs
from reidtools.config.clip_file import CLIP
from reidtools.engine import checkpoints, logbook
from reidtools.evaluation import Report
from reidtools.export.formats import require_onnx
from reidtools.files import make_folder
from reidtools.modeling import weights
from reidtools.modeling.clip_files import as_published

LOGGER = logging.getLogger("reidtools")
NAMES = {ours: theirs for theirs, ours in CLIP.items()}
LAST = "stage2"
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

    None where there was nothing left to train.
    """
    logbook.set_up_logging()
    if export:
        require_onnx()
    report, source, folder = None, "", Path()
    for cfg in stages:
        folder = clipreid_folder(cfg)
        file, run = folder / file_name(cfg), folder / cfg.LOG.STAGE
        cfg = _of_stage(cfg, source, run)
        if file.is_file():
            _check_same(file, weights.read(file).get("config", ""), cfg)
            LOGGER.info("Loading from checkpoint %s: %s is done.", file, cfg.LOG.STAGE)
        else:
            if run.is_dir() and (run / "config.yml").is_file():
                _check_same(run, (run / "config.yml").read_text(encoding="utf-8"), cfg)
            make_folder(folder)
            LOGGER.info("%s, %d epochs, for %s", cfg.LOG.STAGE, cfg.SOLVER.MAX_EPOCH, file)
            report = run_training(cfg)
            _publish(run, file, cfg)
        source = str(file)
    if export:
        final = configs.load("", ["MODEL.WEIGHTS", source], base=brought(source))
        export_model(final, source.removesuffix(".pth") + "_onnx_format.onnx")
    return report


def clipreid_folder(cfg: CfgNode) -> Path:
    """Where the files of such a training lie; see `train_clipreid`."""
    return Path(cfg.OUTPUT_DIR) if cfg.OUTPUT_DIR else run_parent(cfg) / cfg.EXP_NAME


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


def _of_stage(cfg: CfgNode, source: str, run: Path) -> CfgNode:
    """`cfg` as the run of a stage, which begins with the file `source`, or goes on in `run`."""
    values = {"OUTPUT_DIR": str(run), "RESUME": checkpoints.AUTO if run.is_dir() else ""}
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
            f"{made} is of another config: {'; '.join(other[:4])}. Delete it to train anew, choose "
            "another OUTPUT_DIR or EXP_NAME, or go back to its config."
        )


def _publish(run: Path, file: Path, cfg: CfgNode) -> None:
    """Write what the finished `run` has learned in the layout of CLIP-ReID."""
    last = checkpoints.latest_checkpoint(run)
    assert last, f"{run} has trained and kept nothing"
    state = as_published(weights.read(last), tokens=cfg.LOG.STAGE != LAST)
    text = (run / "config.yml").read_text(encoding="utf-8")
    checkpoints.save(weights.with_notes(state, config=text), file)
    LOGGER.info("Written: %s", file)
