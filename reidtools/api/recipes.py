"""Which config a run has: that of the files, or that which a checkpoint brings."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from reidtools.config import load as configs
from reidtools.engine import checkpoints, logbook
from reidtools.modeling import weights

LOGGER = logging.getLogger("reidtools")
LOGS = Path("logs")


def get_config(
    path: str | Path | Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    *,
    fragment: str | Path = "",
) -> CfgNode:
    """The complete, frozen config of YAML files and ``KEY VALUE`` pairs; later files win.

    Without a file, the checkpoint or run named by RESUME, or MODEL.WEIGHTS, brings its own config,
    if it has one; RESUME auto goes to OUTPUT_DIR, or to the run called EXP_NAME. Otherwise the
    defaults count. A `fragment` is a file laid over either. A run that is resumed keeps its
    checkpoint's INPUT.SCALE unless the pairs say another.
    """
    logbook.set_up_logging()  # translations are told, and belong into the run's log
    files = [path] if isinstance(path, str | Path) else list(path)
    files = [file for file in files if file]
    cfg, notes = configs.resolve([*files, fragment], overrides)
    resume = cfg.OUTPUT_DIR or _named(cfg) if cfg.RESUME == checkpoints.AUTO else cfg.RESUME
    saved = _saved(resume or ("" if files else cfg.MODEL.WEIGHTS))
    own = recipe(saved) if saved else {}
    scale = own.get("INPUT", {}).get("SCALE", cfg.INPUT.SCALE)
    if saved and not files:
        cfg, notes = configs.resolve(fragment, overrides, own)
    elif scale != cfg.INPUT.SCALE and "INPUT.SCALE" not in overrides:
        cfg, _ = configs.resolve([*files, fragment], [*overrides, "INPUT.SCALE", str(scale)])
        notes.append(f"INPUT.SCALE is {scale:g}, as in the checkpoint that is resumed.")
    for note in notes:
        LOGGER.warning(note)
    return cfg


def runs_of(cfg: CfgNode) -> Path:
    """The folder of the runs with the dataset, backbone and method of `cfg`."""
    dataset = "+".join(Path(name).name for name in cfg.DATASETS.NAMES)
    backbone = cfg.MODEL.BACKBONE.get("TIMM_NAME", cfg.MODEL.BACKBONE.NAME)
    return LOGS / dataset / backbone.replace("/", "_") / cfg.METHOD


def _named(cfg: CfgNode) -> str:
    """The run called EXP_NAME, of whatever dataset and method if `cfg` leaves them open."""
    if not cfg.EXP_NAME:
        return ""
    run = checkpoints.named_run(cfg.EXP_NAME, runs_of(cfg))
    found = [run] if run.is_dir() else sorted(LOGS.glob(f"*/*/*/{cfg.EXP_NAME}"))
    if len(found) > 1:
        raise ValueError(
            f"Several runs are called {cfg.EXP_NAME}: {', '.join(map(str, found))}; name the one "
            "to go on with, as --resume PATH."
        )
    return str(found[0]) if found else ""


def _saved(source: str) -> dict[str, Any]:
    """The checkpoint at `source`, or the newest of the run there, if it brings a config."""
    path = Path(source or "none")
    path = (checkpoints.latest_checkpoint(path) or path) if path.is_dir() else path
    saved = weights.read(path) if path.is_file() else {}
    return saved if "config" in saved else {}


def recipe(saved: dict[str, Any]) -> dict[str, Any]:
    """The config in a checkpoint without what was of its run alone: where it began and went."""
    tree = configs.plain(saved["config"])
    tree["RESUME"] = tree["OUTPUT_DIR"] = tree["EXP_NAME"] = tree["MODEL"]["WEIGHTS"] = ""
    return tree
