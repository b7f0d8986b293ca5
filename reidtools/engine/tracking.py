"""A run's settings, figures and files on an MLflow server, if one is asked for."""

import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reidtools.extras import require
from reidtools.files import write_json

LOGGER = logging.getLogger("reidtools")
SERVER = "http://127.0.0.1:8080"  # where tools/dashboards.py starts one
FILES = ("config.yml", "environment.txt", "log.txt", "metrics.json", "metrics.jsonl")
NOTE = "mlflow.json"
BATCH = 100  # parameters in one request, and of figures well below the most that MLflow takes
LONGEST = 500  # characters of a parameter: what every version of MLflow takes
# An answer that takes longer counts as none. MLflow's own patience is minutes, for every request.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def require_mlflow(uri: str = "") -> None:
    """Raise an error if no run could be sent to `uri`: no MLflow here, or a password in `uri`."""
    require("mlflow", "LOG.MLFLOW needs MLflow", "mlflow")
    if urlsplit(address(uri)).password:
        raise ValueError(
            "LOG.MLFLOW_URI, or MLFLOW_TRACKING_URI, holds a password, which would be saved with "
            "the run; put it into the environment variables MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD."
        )


def address(uri: str) -> str:
    """`uri`, else that of the environment, else the server of tools/dashboards.py."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI", "") or SERVER


class Tracker:
    """Sends a run to an MLflow server (https://mlflow.org); leaving its context ends it there.

    `params` become the parameters. What `log` is given are the metrics, by epoch; at the end come
    the artefacts (`FILES` of the folder `run`), the tag ``Training time`` and the status: FINISHED,
    KILLED after Ctrl-C, FAILED after an error. A resumed run goes on with its MLflow run, whose id
    lies in ``mlflow.json``; its parameters stay, since MLflow lets none be changed.

    The run neither waits for the server nor dies of it: one that is down, or says no, is a warning.
    It is asked again at the earliest after `pause` seconds, and then gets what it missed.

    Args:
        uri: of the server, or a file like ``sqlite:///mlflow.db``; empty is MLFLOW_TRACKING_URI of
            the environment, else the server of tools/dashboards.py.
        experiment: the MLflow experiment that the run belongs to; made if it is not there.
        name: of the MLflow run; empty is the name of the folder.
    """

    def __init__(
        self,
        run: Path,
        params: Mapping[str, Any],
        *,
        uri: str = "",
        experiment: str = "reidtools",
        name: str = "",
        pause: float = 60,
    ):
        require_mlflow(uri)
        self.run, self.name, self.experiment = run, name or run.name, experiment
        self.uri = address(uri)
        self.pause, self.begun, self.next = pause, time.monotonic(), 0.0
        self.params = {_name(key): str(value)[:LONGEST] for key, value in params.items()}
        self.metrics: list[tuple[str, float, int, int]] = []  # name, value, ms since 1970, epoch
        self.client: Any = None
        self.run_id, self.answered = "", True

    def __enter__(self) -> "Tracker":
        self._attempt()
        return self

    def log(self, figures: Mapping[str, float], epoch: int) -> None:
        """Send `figures`, those of `epoch`; what is no finite number is left out."""
        now = round(1000 * time.time())
        self.metrics += [
            (_name(name), value, now, epoch)
            for name, value in figures.items()
            if math.isfinite(value)
        ]
        if time.monotonic() >= self.next:
            self._attempt()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = "FINISHED" if kind is None else "FAILED"
        status = "KILLED" if kind and not issubclass(kind, Exception) else status
        self._attempt(status)
        if not self.answered:
            LOGGER.warning("MLflow has not got the whole of this run; %s has.", self.run)

    def _attempt(self, status: str = "") -> None:
        """Send all that is to be sent, and the end of the run if it has a `status`."""
        try:
            self._send()
            if status:
                self._end(status)
        except Exception as error:  # of MLflow, HTTP, databases …: none is worth a training
            if self.answered:
                LOGGER.warning(
                    "MLflow at %s did not take this run (%.200s); the run goes on without it. "
                    "Start a server with tools/dashboards.py, or name another in LOG.MLFLOW_URI.",
                    self.uri,
                    _reason(error),
                )
            self.answered, self.next = False, time.monotonic() + self.pause
        else:
            if not self.answered:
                LOGGER.info("MLflow at %s answers again, and has got what it missed.", self.uri)
            self.answered = True

    def _send(self) -> None:
        self.client = self.client or _client(self.uri)
        if not self.run_id:
            self.run_id = self._noted() or self._made()
        from mlflow.entities import Metric, Param

        while self.params:
            some = list(self.params.items())[:BATCH]
            self.client.log_batch(self.run_id, params=[Param(*param) for param in some])
            for key, _ in some:
                del self.params[key]
        while self.metrics:
            self.client.log_batch(self.run_id, [Metric(*row) for row in self.metrics[:BATCH]])
            del self.metrics[:BATCH]

    def _noted(self) -> str:
        """The MLflow run that this folder has on this server already, set to run again."""
        from mlflow.exceptions import MlflowException

        note = self.run / NOTE
        known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
        if known.get("uri") != self.uri:
            return ""
        try:
            if self.client.get_run(known["run_id"]).info.lifecycle_stage != "active":
                return ""
            self.client.update_run(known["run_id"], status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""  # the server answers, and has no such run any more
        self.params = {}
        LOGGER.info("MLflow: going on with run %s at %s", known["run_id"], self.uri)
        return known["run_id"]

    def _made(self) -> str:
        """A new MLflow run in the experiment."""
        from mlflow.exceptions import MlflowException

        find = self.client.get_experiment_by_name
        found = find(self.experiment)
        if not found:
            try:
                self.client.create_experiment(self.experiment)
            except MlflowException:
                if not find(self.experiment):  # else another run was faster
                    raise
            found = find(self.experiment)
        tags = {"Experiment": self.name, "Folder": str(self.run.absolute())}
        made = self.client.create_run(found.experiment_id, run_name=self.name, tags=tags)
        made = made.info.run_id
        write_json(self.run / NOTE, {"uri": self.uri, "run_id": made})
        LOGGER.info("MLflow: run %s of %s at %s", self.name, self.experiment, self.uri)
        return made

    def _end(self, status: str) -> None:
        minutes = (time.monotonic() - self.begun) / 60
        self.client.set_tag(self.run_id, "Training time", f"{minutes:.2f} mins")
        try:
            for name in FILES:
                if (self.run / name).is_file():
                    self.client.log_artifact(self.run_id, str(self.run / name))
        finally:  # whatever became of the files, the run is over
            self.client.set_terminated(self.run_id, status)


def _client(uri: str) -> Any:
    """MLflow's client, which gives up soon and tells nobody else that it is used."""
    for name, value in {**PATIENCE, "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _reason(error: BaseException) -> str:
    """Why it failed: what the system said, if that is at the bottom of it, else the first line."""
    link: BaseException | None = error
    while link:
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        link = link.__cause__ or link.__context__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _name(text: str) -> str:
    """`text` in the letters that MLflow allows in names: TAR@FAR becomes TAR_FAR."""
    parts = (re.sub(r"[^\w. -]", "_", part).strip(" .") for part in text.split("/"))
    return "/".join(part for part in parts if part)
