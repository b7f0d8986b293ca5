"""A run on a real MLflow server, and without one. The server needs MLflow: pip install mlflow."""

import json
import socket
import time
from importlib.util import find_spec

import pytest

from reidtools.engine import dashboards, tracking
from reidtools.engine.tracking import Tracker, require_mlflow

real = pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")
PARAMS = {f"TEST.K{number}": number for number in range(120)} | {"INPUT.SIZE": [256, 128]}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of an MLflow server with a store of its own."""
    service = dashboards.MAKERS["mlflow"](tmp_path_factory.mktemp("s"), "127.0.0.1", free_port())
    try:
        while not service.answers():
            service.check()
            time.sleep(0.2)
        yield service.address
    finally:
        service.stop()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "exp0"
    folder.mkdir()
    (folder / "config.yml").write_text("SEED: 1\n")
    (folder / "log.txt").write_text("epoch 0\n")
    return folder


def found(server, run):
    """The MLflow run of a folder, and MLflow's client."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server)
    return client.get_run(json.loads((run / tracking.NOTE).read_text())["run_id"]), client


@real
def test_a_run_arrives_whole(server, run):
    with Tracker(run, PARAMS, uri=server, experiment="toy/osnet/ctl", name="hog") as tracker:
        tracker.log({"Loss/total": 2.5, "nan": float("nan")}, 0)
        tracker.log({"Loss/total": 1.5, "toy@x/TAR@FAR=0.001": 80.0}, 1)
        (run / "metrics.json").write_text("{}")
    arrived, client = found(server, run)
    assert arrived.info.run_name == "hog" and arrived.info.status == "FINISHED"
    assert client.get_experiment(arrived.info.experiment_id).name == "toy/osnet/ctl"
    assert len(arrived.data.params) == 121 and arrived.data.params["INPUT.SIZE"] == "[256, 128]"
    losses = client.get_metric_history(arrived.info.run_id, "Loss/total")
    assert [(m.step, m.value) for m in losses] == [(0, 2.5), (1, 1.5)]
    assert arrived.data.metrics == {"Loss/total": 1.5, "toy_x/TAR_FAR_0.001": 80.0}
    assert arrived.data.tags["Experiment"] == "hog"
    assert arrived.data.tags["Training time"].endswith(" mins")
    files = {file.path for file in client.list_artifacts(arrived.info.run_id)}
    assert files == {"config.yml", "log.txt", "metrics.json"}


@real
def test_a_resumed_run_goes_on_and_one_that_was_deleted_begins_anew(server, run):
    with Tracker(run, {"MAX_EPOCH": 1}, uri=server) as tracker:
        tracker.log({"lr": 0.1}, 0)
    first, client = found(server, run)
    with Tracker(run, {"MAX_EPOCH": 2}, uri=server) as tracker:  # MLflow would refuse that change
        tracker.log({"lr": 0.2}, 1)
    again, _ = found(server, run)
    assert again.info.run_id == first.info.run_id and again.data.params == {"MAX_EPOCH": "1"}
    assert len(client.get_metric_history(first.info.run_id, "lr")) == 2
    client.delete_run(first.info.run_id)
    with Tracker(run, {}, uri=server):
        pass
    assert found(server, run)[0].info.run_id != first.info.run_id


@real
@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")]
)
def test_how_a_run_ended_is_told(server, run, error, status):
    with pytest.raises(error), Tracker(run, {}, uri=server):
        raise error
    assert found(server, run)[0].info.status == status


@real
def test_a_server_that_is_down_is_a_warning(run, caplog):
    with Tracker(run, PARAMS, uri=f"http://127.0.0.1:{free_port()}") as tracker:
        for epoch in range(5):
            tracker.log({"lr": 0.1}, epoch)
    first, last = caplog.messages
    assert "did not take this run (Connection refused)" in first
    assert "tools/dashboards.py" in first
    assert str(run) in last


def test_what_a_server_missed_is_sent_when_it_answers(run, caplog, monkeypatch):
    """A stand-in server, as a real one takes too long to come back."""
    caplog.set_level("INFO", "reidtools")
    sent, down = [], [True]

    def send(tracker):
        if down[0]:
            raise ConnectionError("refused")
        sent.extend(tracker.metrics)
        tracker.metrics.clear()

    monkeypatch.setattr(tracking, "require_mlflow", lambda uri: None)
    monkeypatch.setattr(Tracker, "_send", send)
    monkeypatch.setattr(Tracker, "_end", lambda tracker, status: sent.append(status))
    with Tracker(run, {}, pause=0) as tracker:
        tracker.log({"lr": 0.1}, 0)
        tracker.log({"lr": 0.2}, 1)
        down[0] = False
        tracker.log({"lr": 0.3}, 2)
        assert [(row[1], row[3]) for row in sent] == [(0.1, 0), (0.2, 1), (0.3, 2)]
        tracker.pause, down[0] = 60, True
        tracker.log({"lr": 0.4}, 3)
        down[0] = False
        tracker.log({"lr": 0.5}, 4)  # too early to ask again
        assert len(sent) == 3
    assert len(sent) == 6 and sent[-1] == "FINISHED"
    told = [message.split(" (")[0].rsplit(" ", 3)[-1] for message in caplog.messages]
    assert told == ["run", "missed.", "run", "missed."]


def test_what_cannot_work_is_said_at_once(run, monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: object())
    require_mlflow("http://127.0.0.1:8080")
    with pytest.raises(ValueError, match="password.*MLFLOW_TRACKING_PASSWORD"):
        require_mlflow("http://me:secret@host:8080")
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'reidtools\[mlflow\]'"):
        Tracker(run, {})
