"""What a run says of itself: console, ``log.txt``, ``metrics.jsonl`` and TensorBoard events."""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from logging.handlers import MemoryHandler
from pathlib import Path

import torch
from termcolor import colored

from reidtools import processes
from reidtools.engine.events import Events
from reidtools.engine.trainer import Progress
from reidtools.files import Lines

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


class _LogFile(logging.Handler):
    """Appends to a file, which may lie on a full disk."""

    def __init__(self, path: Path):
        super().__init__()
        self.lines = Lines(path)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.write(self.format(record))

    def close(self) -> None:
        self.lines.close()
        super().close()


def set_up_logging() -> None:
    """Send what reidtools says to the console, and remember it until `log_to` names a file.

    What was said since an earlier call that found no file yet stays remembered.
    """
    if not processes.first():  # it would say everything again
        LOGGER.setLevel(logging.ERROR)
        return
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
    file = _LogFile(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for handler in [h for h in LOGGER.handlers if isinstance(h, MemoryHandler)]:
        handler.setTarget(file)
        handler.flush()
        LOGGER.removeHandler(handler)
    LOGGER.addHandler(file)


def peak_memory() -> int:
    """The most bytes in use since `forget_peak`: of the GPU that has most, where one computes.

    Else they are those of the whole process since it began, which no system forgets; 0 where the
    system does not tell.
    """
    if torch.cuda.is_initialized():
        return max(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak() -> None:
    """Let the GPUs' peak begin anew."""
    if torch.cuda.is_initialized():
        for place in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(place)


class Silent:
    """Takes what a `Logbook` takes, and writes nothing."""

    def write(self, progress: Progress) -> None:
        """Nothing is written."""

    def score(self, *given: object) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """There is nothing to close."""


class Logbook:
    """Writes the progress and the scores of a run into its folder.

    On a terminal the console shows a bar for the epoch, elsewhere a line for every report.
    `first_iteration` and `first_epoch` are where this process starts counting, for the time that is
    left. `also` gets what each epoch and each test gave, by name, and the epoch: a tracker
    elsewhere. The report of an epoch tells its `peak_memory`. A run that is the `stage` of another,
    such as ``stage1``, has its figures under the names of the CLIP-ReID document as well:
    train_loss_stage1, base_lr_stage1, val_mAP …
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
        first_epoch: float = 0,
        stage: str = "",
    ):
        self.run, self.length, self.max_epoch = run, iterations_per_epoch, max_epoch
        self.batch_size, self.also = batch_size, also
        self.first_epoch, self.stage = first_epoch, stage
        self.events = Events(run)
        self.metrics = Lines(run / "metrics.jsonl")
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
        skipped = {"skipped": progress.skipped} if progress.skipped else {}
        line += f"  skipped {progress.skipped}" if skipped else ""
        peak = round(peak_memory() / 1e6) if progress.epoch_done else 0
        memory = {"peak_memory_mb": peak} if peak else {}
        line += f"  memory {peak / 1000:.1f} GB" if memory else ""
        if sys.stdout.isatty():
            self._show(progress, f"{losses}  eta {eta}")
        if progress.epoch_done or not sys.stdout.isatty():
            LOGGER.info(line)
        self._record(
            {"epoch": progress.epoch, "iteration": progress.iteration, "lr": progress.lr}
            | progress.losses
            | ({"figures": progress.figures} if progress.figures else {})
            | {"pictures_per_second": round(speed, 1)}
            | skipped
            | memory
        )
        scalars = {f"Loss/{name}": value for name, value in progress.losses.items()}
        scalars |= {f"Train/{name}": value for name, value in progress.figures.items()}
        scalars |= {"lr": progress.lr, "pictures_per_second": speed, **memory}
        if self.stage:
            named = {"train_loss": progress.losses["total"], "base_lr": progress.lr}
            if "top1_text" in progress.figures:
                named["train_acc"] = progress.figures["top1_text"]
            scalars |= {f"{name}_{self.stage}": value for name, value in named.items()}
        for name, value in scalars.items():
            self.events.add_scalar(name, value, progress.iteration)
        if progress.epoch_done:
            forget_peak()
            if self.also:
                self.also(scalars, progress.epoch)

    def score(
        self,
        epoch: int,
        iteration: int,
        dataset: str,
        figures: dict[str, float],
        title: str = "",
    ) -> None:
        """Record what a test after `epoch` gave; its time and memory are not those of training.

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
        forget_peak()
        self.seen_at = time.monotonic()

    def close(self) -> None:
        """Flush and close all files."""
        if self.bar is not None:
            self.bar.close()
        self.events.close()
        self.metrics.close()

    def _record(self, row: dict) -> None:
        self.metrics.write(json.dumps(row))

    def _show(self, progress: Progress, text: str) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=self.length, leave=False, desc=f"epoch {progress.epoch}")
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(round((progress.passed - progress.epoch) * self.length) - self.bar.n)
        if progress.epoch_done:
            self.bar.close()
            self.bar = None
