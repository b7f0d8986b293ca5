"""Files of a run: where a run lives, how its checkpoints are named, and saving that cannot tear."""

import json
import logging
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

AUTO = "auto"
LOGGER = logging.getLogger("reidtools")


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill the file `path`, all or nothing: readers see the old file or the new one."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); make room or choose another "
            "folder."
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def save(state: dict[str, Any], path: Path) -> None:
    """Save tensors and plain values, so that ``torch.load(weights_only=True)`` reads them back."""
    write_whole(path, lambda file: torch.save(state, file))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON, all or nothing; what is no number becomes null."""
    text = json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    return None if isinstance(content, float) and not math.isfinite(content) else content


def make_folder(path: Path, key: str = "OUTPUT_DIR") -> Path:
    """Make the folder at `path`, and those above it; one that cannot be made is an OSError.

    `key` is the setting that names it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"The folder {path.absolute()} cannot be made ({error.strerror}); choose another {key}."
        ) from error
    return path


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
                f"OUTPUT_DIR {run.absolute()} already holds a run; go on with --resume, choose "
                "another folder or delete this one."
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


def is_newest(checkpoint: Path) -> bool:
    """Whether no other checkpoint beside this one is of a later epoch."""
    newest, own = latest_checkpoint(checkpoint.parent), _EPOCH.fullmatch(checkpoint.name)
    return not newest or bool(own and int(own[1]) >= int(_EPOCH.fullmatch(newest.name)[1]))


def find_start(resume: str, output_dir: str, parent: Path) -> Path | None:
    """The checkpoint to go on from: `resume`, a file, a run folder or ``auto``.

    ``auto`` is the newest of `output_dir`, else of the newest ``parent/exp<i>``; without one it is
    None, and a new run begins. Raises FileNotFoundError for a file or folder that has none.
    """
    if resume == AUTO:
        runs = [run for run in parent.glob("exp*") if _number(run) >= 0]
        run = Path(output_dir) if output_dir else max(runs, key=_number, default=parent)
        found = latest_checkpoint(run)
        if not found:
            LOGGER.warning("There is no checkpoint to resume from yet; a new run begins.")
        return found
    path = Path(resume)
    found = latest_checkpoint(path) if path.is_dir() else path
    if not found:
        raise FileNotFoundError(f"{path.absolute()} holds no <epoch>.pth to resume from.")
    if not found.is_file():
        raise FileNotFoundError(f"There is no checkpoint {found.absolute()} to resume from.")
    return found


def _number(run: Path) -> int:
    found = re.fullmatch(r"exp(\d+)", run.name)
    return int(found.group(1)) if found else -1


def latest_checkpoint(run: Path) -> Path | None:
    """The checkpoint in `run` to resume from: the one of the highest epoch, or None."""
    found = [(int(m.group(1)), p) for p in run.glob("*.pth") if (m := _EPOCH.fullmatch(p.name))]
    return max(found)[1] if found else None


_EPOCH = re.compile(r"(\d+)(?:_last)?\.pth")


class Checkpoints:
    """Keeps the checkpoints of a run: ``<epoch>.pth`` every `period` epochs, ``<epoch>_last.pth``.

    The newest ``_last`` replaces the one before it, so a run that dies loses at most an epoch.
    """

    def __init__(self, run: Path, period: int):
        self.run, self.period = run, period

    def keep(self, state: dict[str, Any], epoch: int, best: bool = False) -> None:
        """Save `state` after `epoch`, also as ``best.pth`` if it is the `best` so far."""
        if best:
            save(state, self.run / "best.pth")
        if self.period and epoch % self.period == 0:
            save(state, self.run / f"{epoch}.pth")
        last = self.run / f"{epoch}_last.pth"
        save(state, last)
        for other in self.run.glob("*_last.pth"):
            if int(other.name.removesuffix("_last.pth")) < epoch:
                other.unlink()
