"""Servers that start together and leave no child behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from reidtools.engine import dashboards
from reidtools.engine.dashboards import Service, serve

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "dashboards.py"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and ps are those of POSIX")
# A server with a child of its own, which a plain terminate() would leave behind.
PARENT = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]])
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes(word):
    """The processes with `word` in their command."""
    lines = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True).stdout
    return [line for line in lines.splitlines() if word in line and not line.startswith("ps ")]


@pytest.fixture
def busy():
    """A port that something listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@posix
def test_a_service_ends_with_its_children(tmp_path):
    port, word = free_port(), f"child-of-{tmp_path}"
    service = Service("x", [sys.executable, "-c", PARENT, str(port), word], "127.0.0.1", port)
    try:
        while not service.answers():
            service.check()
            time.sleep(0.05)
        assert len(processes(word)) == 2
    finally:
        service.stop()
    assert not processes(word)


def test_its_last_words_are_told():
    command = [sys.executable, "-c", "raise SystemExit('no database')"]
    service = Service("x", command, "127.0.0.1", free_port())
    service.process.wait()
    with pytest.raises(ValueError, match="x ended with code 1.*no database"):
        service.check()
    service.stop()


def test_a_port_that_is_taken_starts_nothing(busy, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ValueError, match=rf"port {busy} of 127.*stop what uses it.* --my-port"):
        Service("x", ["x"], "127.0.0.1", busy, option="--my-port")
    with pytest.raises(ValueError, match="port 70000"):
        Service("x", ["x"], "127.0.0.1", 70000)


def test_addresses_are_for_browsers():
    class Bare(Service):
        def __init__(self, host):
            self.host, self.port = host, 80

    found = [Bare(host).address for host in ("0.0.0.0", "::", "::1", "here.example")]
    assert found == [
        *("http://127.0.0.1:80", "http://[::1]:80", "http://[::1]:80"),
        "http://here.example:80",
    ]


def test_one_that_dies_takes_the_other_with_it(tmp_path, monkeypatch):
    started = []

    def maker(code):
        def make(logdir, host, port):
            started.append(Service("x", [sys.executable, "-c", code], host, port))
            return started[-1]

        return make

    code = "import time; time.sleep(600)"
    made = {"tensorboard": maker(code), "mlflow": maker("raise SystemExit(3)")}
    monkeypatch.setattr(dashboards, "MAKERS", made)
    monkeypatch.setattr(dashboards, "find_spec", lambda name: object())
    with pytest.raises(ValueError, match="ended with code 3"):
        serve(tmp_path, tensorboard_port=free_port(), mlflow_port=free_port())
    assert [service.process.returncode for service in started] == [-signal.SIGTERM, 3]
    with pytest.raises(TimeoutError, match="did not answer within 0 seconds"):
        serve(tmp_path, tensorboard_port=free_port(), mlflow_port=0, patience=0)
    assert started[-1].process.returncode is not None


def test_a_missing_mlflow_is_left_out_with_a_word(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dashboards, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="nothing to start"):
        serve(tmp_path, tensorboard_port=0)
    assert "reidtools[mlflow]" in capsys.readouterr().out


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_tool_stops_all_that_it_started(tmp_path, number):
    """TensorBoard, and MLflow once where it is installed."""
    both = number == signal.SIGINT and find_spec("mlflow") is not None
    port, other = free_port(), free_port() if both else 0
    command = [sys.executable, str(TOOL), "--logdir", str(tmp_path / "runs")]
    command += ["--tensorboard-port", str(port), "--mlflow-port", str(other)]
    tool = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said = [tool.stdout.readline() for _ in range(2 + both)]
        assert said[0] == f"TensorBoard: http://127.0.0.1:{port}\n"
        assert not both or said[1] == f"MLflow:      http://127.0.0.1:{other}\n"
        assert "Ctrl-C" in said[-1] and len(processes(str(tmp_path))) >= 2 + both
    finally:
        tool.send_signal(number)
        rest, _ = tool.communicate(timeout=60)
    assert (rest, tool.returncode) == ("Stopped.\n", 0)
    assert not processes(str(tmp_path))


def test_a_mistake_is_one_sentence(tmp_path, busy):
    words = ["--logdir", str(tmp_path), "--tensorboard-port", str(busy), "--mlflow-port", "0"]
    done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: TensorBoard cannot listen") and "Trace" not in done.stderr


@posix
def test_the_script_calls_the_tool():
    done = subprocess.run([ROOT / "dashboards.sh", "--help"], capture_output=True, text=True)
    # Where it finds no .venv, python3 shows the help as well: it needs nothing else.
    assert done.returncode == 0 and "--tensorboard-port" in done.stdout
