"""A run that is killed while it saves: kill -9 at 30 moments, none of which costs a checkpoint."""

import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch

from reidtools.engine.checkpoints import Checkpoints, latest_checkpoint, save
from reidtools.files import sweep, write_whole
from reidtools.modeling import weights

KILLS = 30
NUMBER = 8  # bytes
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def state_after(epoch):
    """0.4 MB, each value of which tells the epoch: a mixture of two would show."""
    tensors = {f"w{i}": torch.full((1000, 10), float(epoch)) for i in range(10)}
    return {"model": tensors, "at": epoch}


def epoch_of(checkpoint):
    return int(checkpoint.stem.removesuffix("_last"))


def save_for_ever(run, begun, ready):
    """What dies in the middle: epoch after epoch, each noted in `begun` before it is saved."""
    keeper = Checkpoints(run, period=3)
    epoch = epoch_of(latest_checkpoint(run))
    os.write(ready, b"!")
    while True:
        epoch += 1
        begun[:NUMBER] = epoch.to_bytes(NUMBER)
        keeper.keep(state_after(epoch), epoch, best=epoch % 2 == 0)


def kill_in_turn(run):
    """Kill `KILLS` savers, one after the other; what each left in `run`."""
    chance, begun, found = random.Random(0), mmap.mmap(-1, NUMBER), []
    Checkpoints(run, period=3).keep(state_after(0), 0)
    for _ in range(KILLS):
        told, ready = os.pipe()
        child = os.fork()
        if not child:
            try:
                save_for_ever(run, begun, ready)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(ready)
        os.read(told, 1)
        os.close(told)
        time.sleep(chance.uniform(0.01, 0.06))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        newest = latest_checkpoint(run)
        state = weights.read(newest)
        values = torch.stack(list(state["model"].values())).unique().tolist()
        rest = [weights.read(path)["at"] for path in run.glob("*.pth")]
        found.append(
            {
                "signal": os.WTERMSIG(status),
                "begun": int.from_bytes(begun[:NUMBER]),
                "told": [epoch_of(newest), state["at"], *values],
                "later": max(rest),
                "halves": len(list(run.glob("*.partial"))),
            }
        )
    return found


def test_a_killed_run_has_its_newest_checkpoint_or_the_one_before(tmp_path):
    root = Path(__file__).parents[2]
    script = [sys.executable, __file__, str(tmp_path)]
    about = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, env=about, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr, done.stderr
    rounds = json.loads(done.stdout)
    assert len(rounds) == KILLS
    for now in rounds:
        assert now["signal"] == signal.SIGKILL  # and not an error of its own
        assert len(set(now["told"])) == 1  # name, number and every value are of one epoch
        assert now["told"][0] in (now["begun"], now["begun"] - 1)
        assert now["later"] <= now["begun"]
        assert now["halves"] <= 1  # its own: that of the one before has been swept up
    assert any(now["halves"] for now in rounds)  # else nobody was killed while saving
    Checkpoints(tmp_path, period=3).keep(state_after(999), 999)
    assert [path.name for path in tmp_path.glob("*_last.pth")] == ["999_last.pth"]
    assert not list(tmp_path.glob("*.partial"))


def test_files_that_a_process_is_at_work_on_stay(tmp_path):
    left = tmp_path / "3_last.pth.4711.partial"
    left.write_bytes(b"half")
    (tmp_path / "notes.partial").touch()  # of somebody else
    (tmp_path / "crops.7.partial").mkdir()

    def fill(file):
        file.write(b"whole")
        own = f"4_last.pth.{os.getpid()}.partial"
        there = sorted(path.name for path in tmp_path.iterdir())
        assert there == [left.name, own, "crops.7.partial", "notes.partial"]
        sweep(tmp_path)  # as another process would: it has not got the lock of this one
        there = sorted(path.name for path in tmp_path.iterdir())
        assert there == [own, "crops.7.partial", "notes.partial"]

    write_whole(tmp_path / "4_last.pth", fill)
    assert (tmp_path / "4_last.pth").read_bytes() == b"whole"


def test_beside_published_checkpoints_only_their_halves_are_deleted(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("124_x4.pth.4711.partial", "film.mp4.4711.partial"):
        (tmp_path / name).touch()
    Checkpoints(run, 5, lambda epoch: tmp_path / f"{120 + epoch}_x4.pth").keep({}, 5)
    there = sorted(path.name for path in tmp_path.iterdir())
    assert there == ["125_x4.pth", "film.mp4.4711.partial", "run"]


def test_a_file_that_was_swept_up_too_early_is_begun_again(tmp_path, monkeypatch):
    """Another process may look between the first moment of a file and its lock."""
    import fcntl

    partial, lock, rounds = tmp_path / f"1.pth.{os.getpid()}.partial", fcntl.flock, []

    def late(file, how):
        if how == fcntl.LOCK_EX and not rounds:
            rounds.append(1)
            sweep(tmp_path)
            assert not partial.exists()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    save(state_after(1), tmp_path / "1.pth")
    assert rounds and weights.read(tmp_path / "1.pth")["at"] == 1


if __name__ == "__main__":
    print(json.dumps(kill_in_turn(Path(sys.argv[1]))))
