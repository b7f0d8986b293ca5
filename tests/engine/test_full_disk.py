"""A full disk: a sentence instead of a traceback, and what was there before is still there."""

import json
import subprocess
from contextlib import contextmanager

import pytest
import torch
from test_logbook import scalars

from reidtools.engine import logbook
from reidtools.engine.checkpoints import Checkpoints, latest_checkpoint
from reidtools.engine.events import Events
from reidtools.engine.trainer import Progress
from reidtools.files import Lines, write_whole
from reidtools.modeling import weights
from reidtools.visualize.history import read_history

resource = pytest.importorskip("resource")  # not on Windows
STATE = {"model": {f"w{i}": torch.full((300,), float(i)) for i in range(20)}}  # some 30 kB
TOY = {"NAMES": "toy", "TOY.PEOPLE": 4, "TOY.CAMERAS": 2, "TOY.PICTURES": 2}
SMALL = {
    **{f"DATASETS.{key}": value for key, value in TOY.items()},
    "DATASETS.ROOT": "data",
    "MODEL.BACKBONE.NAME": "osnet_x0_25",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.LOSSES.CrossEntropyLoss.EPSILON": 0.1,
    "MODEL.DEVICE": "cpu",
    "INPUT.SIZE_TRAIN": "[32,16]",
    "INPUT.PADDING": 2,
    "SOLVER.IMS_PER_BATCH": 16,
    "TEST.EVAL_PERIOD": 0,
}


@contextmanager
def full_at(size):
    """No file can grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("room", [0, 500, 9_000, 29_000])
@pytest.mark.parametrize("best", [False, True])
def test_the_checkpoint_before_stays_whole(tmp_path, room, best):
    keeper = Checkpoints(tmp_path, 0)
    keeper.keep(STATE, 0)
    assert (tmp_path / "0_last.pth").stat().st_size > 29_000
    which = "best" if best else "1_last"
    with full_at(room), pytest.raises(OSError, match=rf"{which}\.pth cannot .*make room or choose"):
        keeper.keep(STATE, 1, best=best)
    assert names(tmp_path) == ["0_last.pth"]
    read = weights.read(latest_checkpoint(tmp_path))["model"]
    assert all(torch.equal(read[name], tensor) for name, tensor in STATE["model"].items())
    keeper.keep(STATE, 1)  # there is room again
    assert names(tmp_path) == ["1_last.pth"]


def test_a_disk_without_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    try:
        keeper = Checkpoints(disk, 0)
        keeper.keep(STATE, 0)
        with pytest.raises(OSError, match="No space left on device.*make room"):
            keeper.keep(STATE, 1)
        assert names(disk) == ["0_last.pth"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_error_that_is_not_the_disk_s_stays_what_it_is(tmp_path):
    def wrong(file):
        raise RuntimeError("a fault of ours")

    try:
        raise OSError(28, "No space left on device")
    except OSError:  # handled already: what comes next has nothing to do with it
        with pytest.raises(RuntimeError, match="a fault of ours"):
            write_whole(tmp_path / "a.pth", wrong)
    assert not names(tmp_path)


def test_lines_wait_for_room_and_none_is_lost(tmp_path, caplog):
    caplog.set_level("WARNING", "reidtools")
    lines = Lines(tmp_path / "log.txt")
    lines.write("first")
    with full_at(10):
        lines.write("second")  # of which 4 bytes fit
        lines.write("third")
        assert (tmp_path / "log.txt").read_text() == "first\nseco"
        assert caplog.text.count("log.txt cannot be written (File too large)") == 1
    lines.write("fourth")
    lines.close()
    assert (tmp_path / "log.txt").read_text().split() == ["first", "second", "third", "fourth"]


def test_a_line_that_was_left_half_is_ended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = [{"epoch": 0, "iteration": i, "total": 1.0 + i} for i in range(3)]
    path.write_text(json.dumps(whole[0]) + "\n" + json.dumps(whole[1])[:20])  # killed here
    assert read_history(path).losses["total"] == ((1,), (1.0,))
    lines = Lines(path)
    lines.write(json.dumps(whole[2]))
    lines.close()
    assert read_history(path).losses["total"] == ((1,), (2.0,))  # the mean of 1 and 3


def test_a_log_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(OSError, match=r"gone.log\.txt cannot be written .*make room or choose"):
        Lines(tmp_path / "gone" / "log.txt")


def test_a_run_outlives_its_log(tmp_path, capsys):
    logbook.set_up_logging()
    logbook.log_to(tmp_path / "log.txt")
    book = logbook.Logbook(tmp_path, iterations_per_epoch=10, max_epoch=2, batch_size=4)
    book.write(Progress(0, 10, 1e-3, True, 1.0, {"total": 0.5}))
    with full_at(0):
        book.write(Progress(1, 20, 1e-3, True, 2.0, {"total": 0.4}))
    logbook.LOGGER.info("there is room again")
    book.score(1, 20, "toy", {"mAP": 25.0})
    book.close()
    text, err = (tmp_path / "log.txt").read_text(), capsys.readouterr().err
    assert "iteration 20" in text and "room again" in text
    for name in ("log.txt", "metrics.jsonl"):
        assert err.count(f"{name} cannot be written (File too large); its lines wait") == 1
    assert "Traceback" not in err and "Logging error" not in err
    assert read_history(tmp_path / "metrics.jsonl").losses["total"] == ((1, 2), (0.5, 0.4))


def test_tensorboard_s_events_end_with_a_sentence(tmp_path, capsys):
    logbook.set_up_logging()
    events = Events(tmp_path)
    events.add_scalar("Loss/total", 0.5, 10)
    events.writer.flush()
    with full_at(200):
        for iteration in range(11, 500):  # its thread notices when its buffer is full
            events.add_scalar("Loss/total", 0.25, iteration)
        events.close()
    err = capsys.readouterr().err
    assert err.count("TensorBoard's events in") == 1 and "cannot be written (File too large)" in err
    assert "Traceback" not in err
    assert scalars(tmp_path)  # what was written can be read


def test_training_stops_with_a_sentence_and_resumes(tmp_path, monkeypatch, type_tool):
    monkeypatch.chdir(tmp_path)
    words = [word for pair in (SMALL | {"OUTPUT_DIR": "run"}).items() for word in pair]
    code, _, err = type_tool("train_net.py", *words, "SOLVER.MAX_EPOCH", 1)
    assert code == 0, err
    before = names(tmp_path / "run")
    more = (*words, "SOLVER.MAX_EPOCH", 2, "--resume")
    with full_at(500_000):
        code, _, err = type_tool("train_net.py", *more)
    assert code == 1
    assert err.splitlines()[-1] == (
        "error: run/1_last.pth cannot be written (File too large); make room "
        "or choose another folder."
    )
    assert "Traceback" not in err
    events = [name for name in names(tmp_path / "run") if name.startswith("events")]
    assert len(events) == 2 and set(names(tmp_path / "run")) == {*before, *events}
    code, out, err = type_tool("train_net.py", *more)
    assert code == 0 and "Resuming run/0_last.pth" in out, err
    assert latest_checkpoint(tmp_path / "run").name == "1_last.pth"
