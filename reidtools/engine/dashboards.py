"""TensorBoard and MLflow's server, started together and stopped together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from reidtools.files import make_folder

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # the last one is a terminal that was closed
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
GRACE = 10  # seconds from SIGTERM to SIGKILL
# What only serves language models, four of whose workers come with every server, and reports home.
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class Service:
    """A web server in a process group of its own, so that all that it starts ends with it.

    It listens on `host`:`port`; once it answers ``/<health>`` it is up. `option` is the word that
    changes its port. What it says is kept for the error that it dies of.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        host: str,
        port: int,
        *,
        health: str = "",
        option: str = "port",
        environment: Mapping[str, str] | None = None,
    ):
        self.name, self.host, self.port, self.health = name, host, port, health
        _check_free(name, host, port, option)
        self.said = TemporaryFile()  # noqa: SIM115 - closed by stop
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C reaches it through `stop` only
            env={**os.environ, **(environment or {})},
        )

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
        host = everywhere.get(self.host, f"[{self.host}]" if ":" in self.host else self.host)
        return f"http://{host}:{self.port}"

    def check(self) -> None:
        """Raise a ValueError with its last words if it has ended."""
        if self.process.poll() is None:
            return
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        raise ValueError(
            f"{self.name} ended with code {self.process.returncode}; its last words tell what to "
            f"mend: {' | '.join(lines[-5:]) or 'none'}."
        )

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with DIRECT.open(f"{self.address}/{self.health}", timeout=5) as answer:
                return answer.status == 200
        except OSError:  # URLError among them
            return False

    def ask_to_end(self) -> None:
        """Ask it and whatever it started to end."""
        self._send("SIGTERM")

    def stop(self) -> None:
        """End it and whatever it started: politely, after some seconds by force."""
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        left = self._send("SIGKILL")  # to what is left of the group
        self.process.wait()
        end = time.monotonic() + 2  # dead children may stay listed where nobody reaps orphans
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left = self._send("SIGKILL")
        self.said.close()

    def _send(self, name: str) -> bool:
        """Send a signal to the group; whether there was anybody to get it."""
        if not hasattr(os, "killpg"):
            self.process.terminate()
            return False
        try:
            os.killpg(self.process.pid, getattr(signal, name))
        except (ProcessLookupError, PermissionError):  # the latter on macOS, when all have ended
            return False
        return True


def serve(
    logdir: str | Path,
    *,
    host: str = "127.0.0.1",
    tensorboard_port: int = 6006,
    mlflow_port: int = 8080,
    patience: float = 180,
) -> None:
    """Run TensorBoard over the runs in `logdir`, and an MLflow server that stores there as well.

    Prints their addresses when both answer, and returns after Ctrl-C, SIGTERM or SIGHUP, when both
    and all their children have ended. A port of 0 leaves one out; MLflow is also left out where it
    is not installed. Neither asks for a password: a `host` other than this machine is told.

    Raises ValueError when a port is taken, or when one of them ends by itself, TimeoutError when
    one does not answer within `patience` seconds.
    """
    makers = {"tensorboard": tensorboard_port, "mlflow": mlflow_port}
    if mlflow_port and find_spec("mlflow") is None:
        del makers["mlflow"]
        print("MLflow is not installed; to have it, run pip install 'reidtools[mlflow]'.")
    if not any(makers.values()):
        raise ValueError("There is nothing to start; give --tensorboard-port a port.")
    if host not in ("127.0.0.1", "localhost", "::1"):
        print(f"All who reach {host} can look and write: there is no password.")
    logdir, services = make_folder(Path(logdir).absolute(), "--logdir"), []
    with _stopped_by_signals() as stop:
        try:
            for name, port in makers.items():
                if port:
                    services.append(MAKERS[name](logdir, host, port))
            _wait(services, stop, patience)
            if not stop.is_set():
                for service in services:
                    print(f"{service.name + ':':<12} {service.address}")
                print("Stop both with Ctrl-C." if services[1:] else "Stop it with Ctrl-C.")
                sys.stdout.flush()
            while not stop.wait(0.5):
                for service in services:
                    service.check()
        finally:
            for service in services:
                service.ask_to_end()  # all at once, as each may take its time
            for service in services:
                service.stop()
            print("Stopped.", flush=True)


def _tensorboard(logdir: Path, host: str, port: int) -> Service:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", host]
    command += ["--port", str(port), "--reload_multifile", "true"]
    return Service("TensorBoard", command, host, port, option="--tensorboard-port")


def _mlflow(logdir: Path, host: str, port: int) -> Service:
    store = make_folder(logdir / "mlflow", "--logdir")
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{(store / 'mlflow.db').as_posix()}"]
    command += ["--artifacts-destination", str(store / "artifacts"), "--workers", "1"]
    about = {"health": "health", "option": "--mlflow-port", "environment": QUIET}
    return Service("MLflow", command, host, port, **about)


MAKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow}


def _wait(services: Sequence[Service], stop: threading.Event, patience: float) -> None:
    """Return when all answer, or when `stop` is set."""
    end, missing = time.monotonic() + patience, list(services)
    while missing and not stop.wait(0.2):
        for service in services:
            service.check()
        missing = [service for service in missing if not service.answers()]
        if missing and time.monotonic() > end:
            raise TimeoutError(
                f"{missing[0].name} did not answer within {patience:g} seconds; try again when the "
                "machine is less busy."
            )


def _check_free(name: str, host: str, port: int, option: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name == "posix":  # a port whose last user has just ended is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{name} cannot listen on port {port} of {host} ({why}); stop what uses it, or "
                f"choose another with {option}."
            ) from error


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the signals to stop set; they do what they did before afterwards."""
    stop = threading.Event()
    known = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in known}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
