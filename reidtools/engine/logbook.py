"""What a run says of itself: console, ``log.txt``, ``metrics.jsonl`` and TensorBoard events."""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from logging.handlers import MemoryHandler
from pathlib import Path

from termcolor import colored

from reidtools.engine.trainer import Progress

LOGGER = logging.getLogger("reidtools")


class _Console(logging.StreamHandler):
    """Writes through tqdm, so that a line never tears a progress bar; warnings go to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        warns = record.levelno >= logging.WARNING
        tqdm.write(self.format(record), file=sys.stderr if warns else sys.stdout)


class _Coloured(logging.Formatter):
    """Green time stamp on terminals, warnings in yellow."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = colored(self.formatTime(record, "%H:%M:%S"), "green")
        text = record.getMessage()
        return f"{stamp} {text if record.levelno < logging.WARNING else colored(text, 'yellow')}"


def set_up_logging() -> None:
    """Send what reidtools says to the console, and remember it until `log_to` names a file.

    What was said since an earlier call that found no file yet stays remembered.
    """
    if any(isinstance(handler, MemoryHandler) for handler in LOGGER.handlers):
        return
    for handler in list(LOGGER.handlers):
        LOGGER.removeHandler(handler)
        handler.close()
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    console = _Console()
    console.setFormatter(_Coloured())
    LOGGER.addHandler(console)
    LOGGER.addHandler(MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False))


def log_to(path: Path) -> None:
    """Append to the file at `path` what was said since `set_up_logging`, and all that follows."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in [h for h in LOGGER.handlers if isinstance(h, MemoryHandler)]:
        handler.setTarget(file)
        handler.flush()
        LOGGER.removeHandler(handler)
    LOGGER.addHandler(file)


class Logbook:
    """Writes the progress and the scores of a run into its folder.

    On a terminal the console shows a bar for the epoch, elsewhere a line for every report.
    `first_iteration` and `first_epoch` are where this process starts counting, for the time that is
    left. `also` gets what each epoch and each test gave, by name, and the epoch: a tracker
    elsewhere. A run that is the `stage` of another, such as ``stage1``, has its figures under the
    names of the CLIP-ReID document as well: train_loss_stage1, base_lr_stage1, val_mAP …
    """

    def __init__(
        self,
        run: Path,
        iterations_per_epoch: int,
        max_epoch: int,
        batch_size: int,
        first_iteration: int = 0,
        also: Callable[[Mapping[str, float], int], None] | None = None,
        *,
        first_epoch: int = 0,
        stage: str = "",
    ):
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.length, self.max_epoch = run, iterations_per_epoch, max_epoch
        self.batch_size, self.also = batch_size, also
        self.first_epoch, self.stage = first_epoch, stage
        self.events = SummaryWriter(str(run))
        self.metrics = (run / "metrics.jsonl").open("a", encoding="utf-8")
        self.seen, self.seen_at, self.trained = first_iteration, time.monotonic(), 0.0
        self.bar = None

    def write(self, progress: Progress) -> None:
        """Record one report of the trainer."""
        steps, now = progress.iteration - self.seen, time.monotonic()
        took, self.seen, self.seen_at = now - self.seen_at, progress.iteration, now
        self.trained += took
        left = (self.max_epoch - progress.passed) / (progress.passed - self.first_epoch)
        eta = timedelta(seconds=round(left * self.trained))
        speed = steps * self.batch_size / took
        means = progress.losses | progress.figures
        losses = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
        line = (
            f"epoch {progress.epoch}/{self.max_epoch - 1}  iteration {progress.iteration}  {losses}"
            f"  lr {progress.lr:.3g}  {speed:.0f} pictures/s  eta {eta}"
        )
        if sys.stdout.isatty():
            self._show(progress, f"{losses}  eta {eta}")
        if progress.epoch_done or not sys.stdout.isatty():
            LOGGER.info(line)
        self._record(
            {"epoch": progress.epoch, "iteration": progress.iteration, "lr": progress.lr}
            | progress.losses
            | ({"figures": progress.figures} if progress.figures else {})
            | {"pictures_per_second": round(speed, 1)}
        )
        scalars = {f"Loss/{name}": value for name, value in progress.losses.items()}
        scalars |= {f"Train/{name}": value for name, value in progress.figures.items()}
        scalars |= {"lr": progress.lr, "pictures_per_second": speed}
        if self.stage:
            named = {"train_loss": progress.losses["total"], "base_lr": progress.lr}
            if "top1_text" in progress.figures:
                named["train_acc"] = progress.figures["top1_text"]
            scalars |= {f"{name}_{self.stage}": value for name, value in named.items()}
        for name, value in scalars.items():
            self.events.add_scalar(name, value, progress.iteration)
        if progress.epoch_done and self.also:
            self.also(scalars, progress.epoch)

    def score(
        self,
        epoch: int,
        iteration: int,
        dataset: str,
        figures: dict[str, float],
        title: str = "",
    ) -> None:
        """Record what a test after `epoch` gave; its time does not count as training.

        The `title` is that of its table, if it is not the first.
        """
        about = {"title": title} if title else {}
        self._record({"epoch": epoch, "dataset": dataset} | about | figures)
        place = f"{title}/{dataset}" if title else dataset
        scalars = {f"{place}/{name}": value for name, value in figures.items()}
        if self.stage and not title:
            named = {"mAP": "val_mAP", **{f"Rank-{k}": f"val_rank{k}" for k in (1, 5, 10)}}
            scalars |= {named[name]: value for name, value in figures.items() if name in named}
        for name, value in scalars.items():
            self.events.add_scalar(name, value, iteration)
        if self.also:
            self.also(scalars, epoch)
        self.seen_at = time.monotonic()

    def close(self) -> None:
        """Flush and close all files."""
        if self.bar is not None:
            self.bar.close()
        self.events.close()
        self.metrics.close()

    def _record(self, row: dict) -> None:
        self.metrics.write(json.dumps(row) + "\n")
        self.metrics.flush()

    def _show(self, progress: Progress, text: str) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=self.length, leave=False, desc=f"epoch {progress.epoch}")
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(round((progress.passed - progress.epoch) * self.length) - self.bar.n)
        if progress.epoch_done:
            self.bar.close()
            self.bar = None
