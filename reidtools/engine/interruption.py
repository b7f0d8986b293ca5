"""Ctrl-C and SIGTERM: a run that is asked to stop finishes its step and is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from reidtools import processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within ``with Interruption() as interruption:`` the signals only set `asked`.

    Where nothing would be lost, in `at_once`, they stop the program as they usually would, and so
    does a second one. (Not of processes that were started together: who started them passes on what
    the terminal has sent them already.) In threads other than the first signals cannot be caught,
    and stay what they were.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._deferred = True
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = bool(self.asked), number
        if not self._deferred or (again and processes.launched() == 1):
            self.stop()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A part of the work that may end anywhere, because what came before it is saved."""
        self._deferred = False
        try:
            if self.asked:
                self.stop()
            yield
        finally:
            self._deferred = True

    def is_asked(self) -> bool:
        """Whether this process had a signal."""
        return bool(self.asked)

    def stop(self) -> NoReturn:
        """End the program as the signal would have: `KeyboardInterrupt`, or exit code 143.

        Also where it was another process that had the signal.
        """
        if self.asked == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)
