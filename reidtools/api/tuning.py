"""Fine-tuning: a run that goes on from a checkpoint of another, and puts its own beside it."""

import re
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from reidtools.api.recipes import tuning_folder
from reidtools.api.testing import filled
from reidtools.api.training import run_training
from reidtools.config import load as configs
from reidtools.engine import checkpoints, logbook
from reidtools.evaluation import Report
from reidtools.modeling import weights


class Tuning(NamedTuple):
    """Where a fine-tuning begins and writes: the checkpoint `source`, the folder `run`.

    `resume` is what RESUME becomes: empty for a new one.
    """

    source: str
    scale: float
    run: Path
    resume: str


def finetune(cfg: CfgNode) -> Report:
    """Train on from the checkpoint MODEL.WEIGHTS, beside it; returns the figures of the last test.

    The run's folder is <method>_x<scale> beside the checkpoint, where <scale> is
    DATASETS.LOW_SCALE. Its periodic checkpoints and its last lie beside the checkpoint itself, as
    <epoch>_x<scale>.pth, with epochs counted on from the checkpoint's. OUTPUT_DIR moves them all.
    RESUME goes on with such a run: auto with that of MODEL.WEIGHTS, a path with that run.

    Raises ValueError for weights that do not fill the model whole, and where checkpoints of another
    fine-tuning would be replaced.
    """
    logbook.set_up_logging()
    source, scale, run, resume = _tuning(cfg)
    beside = Path(source).parent
    if run.resolve().parent != beside.resolve():
        beside = run  # as OUTPUT_DIR asked
    values = {"MODEL.WEIGHTS": source, "DATASETS.LOW_SCALE": scale}
    cfg = configs.changed(cfg, {**values, "OUTPUT_DIR": str(run), "RESUME": resume})
    filled(cfg)  # or says what is missing
    first = 1 + epoch_of(source)

    def published(epoch: int) -> Path:
        return beside / f"{first + epoch}_x{scale:g}.pth"

    there = [path for path in map(published, range(cfg.SOLVER.MAX_EPOCH)) if path.exists()]
    if there and not resume:
        raise ValueError(
            f"{there[0]} is there already, from another fine-tuning; choose another OUTPUT_DIR, or "
            "delete it."
        )
    return run_training(cfg, published)


def _tuning(cfg: CfgNode) -> Tuning:
    """What `cfg` asks for: a new fine-tuning, or to go on with one."""
    source, scale, resume = cfg.MODEL.WEIGHTS, cfg.DATASETS.LOW_SCALE, cfg.RESUME
    named = Path(resume) if resume and resume != checkpoints.AUTO else None
    if named:
        run = named if named.is_dir() else named.parent
        if before := _settings(run, cfg.METHOD):
            tuned = before["MODEL"]["WEIGHTS"]
            _check_same(source or tuned, tuned, run)
            return Tuning(tuned, before["DATASETS"]["LOW_SCALE"], run, resume)
    if named and not source:  # SNU_ReID says MODEL.RESUME_TRAINING where it begins to tune
        source = resume
        cfg = configs.changed(cfg, {"MODEL.WEIGHTS": source})
    if not source:
        raise ValueError("There is nothing to fine-tune: give a checkpoint with MODEL.WEIGHTS.")
    run = tuning_folder(cfg)
    if resume == checkpoints.AUTO:
        if before := _settings(run, cfg.METHOD):
            _check_same(source, before["MODEL"]["WEIGHTS"], run)
        return Tuning(source, scale, run, resume)
    return Tuning(source, scale, run, "")


def _settings(run: Path, method: str) -> dict:
    """The config of a run of this `method` in the folder `run`; empty if there is none."""
    note = run / "config.yml"
    # A run that has just begun has an empty one.
    found = configs.plain(note.read_text(encoding="utf-8")) if note.is_file() else None
    return found if found and found.get("METHOD") == method else {}


def _check_same(asked: str, tuned: str, run: Path) -> None:
    if Path(asked).resolve() != Path(tuned).resolve():
        raise ValueError(f"{run} tunes {tuned}, not {asked}; choose another OUTPUT_DIR.")


def epoch_of(checkpoint: str) -> int:
    """The epoch a checkpoint was saved after: by its name (119_last, 129_x4), else what it says."""
    named = re.fullmatch(r"(\d+)(_last|_x[\d.]+)?", Path(checkpoint).stem)
    return int(named[1]) if named else weights.read(checkpoint, mapped=True).get("epoch", -1)
