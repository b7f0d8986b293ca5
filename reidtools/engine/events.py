"""TensorBoard's events of a run, which a full disk ends, and not the run."""

import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("reidtools")


class Events:
    """TensorBoard's ``SummaryWriter`` into the folder `run`, where no error of the disk is raised.

    After the first one nothing more is written, for a file of events that has a hole cannot be read
    on; the log says so. Errors: an OSError where it cannot begin.
    """

    def __init__(self, run: Path):
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.before = run, threading.excepthook
        # A thread of TensorBoard's does the writing, and its error would be a traceback.
        threading.excepthook = self._told_by_us
        try:
            self.writer: Any = SummaryWriter(str(run))
        except BaseException:
            threading.excepthook = self.before
            raise

    def add_scalar(self, name: str, value: float, iteration: int) -> None:
        if self.writer is None:
            return
        try:
            self.writer.add_scalar(name, value, iteration)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is still to be written."""
        try:
            if self.writer is not None:
                self.writer.close()
        except OSError as error:
            self._give_up(error)
        finally:
            threading.excepthook = self.before

    def _give_up(self, error: OSError) -> None:
        LOGGER.warning(
            "TensorBoard's events in %s cannot be written (%s), and end here; metrics.jsonl has "
            "all figures. Make room, and a resumed run begins a new file of them.",
            self.run,
            error.strerror or error,
        )
        writer, self.writer = self.writer, None
        with suppress(OSError):  # the same again, as it has something to write yet
            writer.close()

    def _told_by_us(self, failed: Any) -> None:
        """What is said of a thread that an error ended: nothing if it is TensorBoard's and full."""
        theirs = type(failed.thread).__module__.startswith("tensorboard.")
        if not (theirs and isinstance(failed.exc_value, OSError)):
            self.before(failed)
