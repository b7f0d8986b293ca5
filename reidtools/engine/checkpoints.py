"""Files of a run: where a run lives, how its checkpoints are named, and saving that cannot tear."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reidtools import processes
from reidtools.files import make_folder, sweep, write_whole

AUTO = "auto"
LOGGER = logging.getLogger("reidtools")


def save(state: dict[str, Any], path: Path) -> None:
    """Save tensors and plain values, so that ``torch.load(weights_only=True)`` reads them back."""
    write_whole(path, lambda file: torch.save(state, file))


def new_run(output_dir: str, parent: Path, *, again: bool = False) -> Path:
    """The folder of a new run: `output_dir` if given, else the next free ``parent/exp<i>``; made.

    An `output_dir` that holds a run already, also one that has just begun, is a ValueError: nothing
    is overwritten. With `again` it may hold one that died before its first checkpoint.
    """
    if output_dir:
        run = make_folder(Path(output_dir))
        try:
            (run / "config.yml").touch(exist_ok=again)
        except FileExistsError as error:
            raise ValueError(
                f"{run.absolute()} already holds a run; go on with --resume, choose another "
                "OUTPUT_DIR or EXP_NAME (--exp_name), or delete that folder."
            ) from error
        return run
    make_folder(parent)
    number = max((_number(run) for run in parent.glob("exp*")), default=-1) + 1
    while True:
        try:
            run = parent / f"exp{number}"
            run.mkdir()
            return run
        except FileExistsError:  # another process was faster
            number += 1


def named_run(name: str, parent: Path) -> Path:
    """The folder of the run called `name`; a name that is no plain one is a ValueError."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(
            f"EXP_NAME {name!r} cannot name a folder; use letters, digits and . _ + - only."
        )
    return parent / name


def is_newest(checkpoint: Path) -> bool:
    """Whether no other checkpoint beside this one has come farther."""
    newest = latest_checkpoint(checkpoint.parent)
    return not newest or _age(checkpoint)[:2] >= _age(newest)[:2]  # 3.pth is what 3_last.pth is


def start_of(resume: str, output_dir: str, parent: Path) -> Path | None:
    """The checkpoint that `resume`, a file, a run folder or ``auto``, means; None without one.

    ``auto`` is the newest of `output_dir`, else of the newest ``parent/exp<i>``.
    """
    if resume == AUTO:
        runs = [run for run in parent.glob("exp*") if _number(run) >= 0]
        return latest_checkpoint(
            Path(output_dir) if output_dir else max(runs, key=_number, default=parent)
        )
    path = Path(resume)
    return latest_checkpoint(path) if path.is_dir() else path if path.is_file() else None


def find_start(resume: str, output_dir: str, parent: Path) -> Path | None:
    """As `start_of`, but a file or folder that has none is a FileNotFoundError.

    ``auto`` without a checkpoint is None, and a new run begins.
    """
    found = start_of(resume, output_dir, parent)
    if found or resume == AUTO:
        if not found:
            LOGGER.warning("There is no checkpoint to resume from yet; a new run begins.")
        return found
    path = Path(resume).absolute()
    if path.is_dir():
        raise FileNotFoundError(f"{path} holds no <epoch>.pth to resume from.")
    raise FileNotFoundError(f"There is no checkpoint {path} to resume from.")


def _number(run: Path) -> int:
    found = re.fullmatch(r"exp(\d+)", run.name)
    return int(found.group(1)) if found else -1


def latest_checkpoint(run: Path) -> Path | None:
    """The checkpoint in `run` to resume from: that which has come farthest, or None."""
    found = [path for path in run.glob("*.pth") if _EPOCH.fullmatch(path.name)]
    return max(found, key=_age, default=None)


_EPOCH = re.compile(r"(\d+)(|_last|_part)\.pth")


def _age(checkpoint: Path) -> tuple[int, bool, str]:
    """What is greater for the later of two checkpoints, going by their names."""
    named = _EPOCH.fullmatch(checkpoint.name)
    return (int(named[1]), named[2] != "_part", named[2]) if named else (-1, False, "")


class Checkpoints:
    """Keeps the checkpoints of a run: ``<epoch>.pth`` every `period` epochs, ``<epoch>_last.pth``.

    The newest ``_last`` replaces the one before it, and a ``<epoch>_part.pth``, saved within an
    epoch by a run that was asked to stop, so a run that dies loses at most an epoch; what it was
    writing then is deleted by the next one. With `published` the periodic ones, and the final one
    too, get the path that it gives for an epoch; `written` are those paths.
    """

    def __init__(self, run: Path, period: int, published: Callable[[int], Path] | None = None):
        self.run, self.period, self.published = run, period, published
        self.written: list[Path] = []
        sweep(run)

    def keep(
        self,
        state: dict[str, Any],
        epoch: int,
        *,
        best: bool = False,
        final: bool = False,
        part: bool = False,
    ) -> None:
        """Save `state` after `epoch`, also as ``best.pth`` if it is the `best` so far.

        Or, if it is a `part`, in the course of it. Of several processes the first does it.

        A full disk is an OSError; the checkpoint before is still there then.
        """
        if not processes.first():
            return
        if part:
            save(state, self.run / f"{epoch}_part.pth")
            return
        if best:
            save(state, self.run / "best.pth")
        due = bool(self.period) and epoch % self.period == 0
        if self.published and (due or final):
            self.written.append(self.published(epoch))
            sweep(self.written[-1].parent, self.written[-1].suffix)
            save(state, self.written[-1])
        elif due:
            save(state, self.run / f"{epoch}.pth")
        last = self.run / f"{epoch}_last.pth"
        save(state, last)
        for other in self.run.glob("*_*.pth"):
            if re.fullmatch(r"\d+_(last|part)\.pth", other.name) and _age(other) < _age(last):
                other.unlink()
