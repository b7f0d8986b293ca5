"""Two processes on the CPU (gloo) compute what one does, and lose nothing when one of them dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from reidtools import processes
from reidtools.data.samplers import Part, RandomIdentitySampler, RandomSampler, SharedSampler

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
TOOLS = ROOT / "tools"
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TINY = (
    *("--config-file", ROOT / "configs" / "osnet_x0_25_short.yml", "INPUT.SIZE_TRAIN", "[32, 16]"),
    *("MODEL.BACKBONE.PRETRAIN", "False", "DATASETS.NAMES", "toy", "SOLVER.IMS_PER_BATCH", "16"),
    *("SOLVER.LOG_PERIOD", "1", "DATALOADER.NUM_WORKERS", "0", "OUTPUT_DIR", "run"),
)


def environment():
    own = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    return {**own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(folder, *command):
    words = [str(word) for word in command]
    out = (folder / "out.txt").open("w")
    return subprocess.Popen(words, cwd=folder, env=environment(), stdout=out, stderr=out)


def typed(folder, *command):
    """Types a command in `folder`: its exit code, and all that it said."""
    code = start(folder, *command).wait(timeout=300)
    return code, (folder / "out.txt").read_text()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """How far two processes are from one, by check and thing; see in_two.py."""
    folder = tmp_path_factory.mktemp("two")
    code, said = typed(folder, *TWO, HERE / "in_two.py", "found.json")
    assert code == 0, said
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize(
    "check",
    [
        "training",
        "training in parts",
        "training of a part, and an average",
        "training, each process mines alone",
    ],
)
def test_gradients_are_those_of_one_process(apart, check):
    """By the sum of five losses that mine in the whole batch, and weights two epochs later."""
    found = apart[check]
    assert sum(name.startswith("gradient of") for name in found) >= 4
    assert max(found.values()) < 1e-6, found


def test_divided_weights_are_those_of_one_process(apart):
    """Trained straight on, from a checkpoint of divided weights, and from it without dividing."""
    found = apart["training of divided weights"]
    assert {name.split()[0] for name in found} == {"straight", "divided", "whole"}
    assert max(found.values()) < 1e-4, found


@pytest.mark.parametrize(
    "check",
    [
        "evaluation",
        "evaluation of tracklets",
        "evaluation, single shot",
        "evaluation, re-ranked",
        "frozen",
        "chance",
    ],
)
def test_vectors_and_figures_are_those_of_one_process_to_the_last_bit(apart, check):
    assert set(apart[check].values()) == {0.0}, apart[check]


def test_alone_everything_is_ones_own():
    rows = torch.randn(3, 2)
    assert (processes.rank(), processes.count(), processes.first()) == (0, 1, True)
    assert processes.of_all("a") == ["a"]
    assert processes.from_first(lambda: "b") == "b"
    assert processes.rows_of_all(rows, [3]) is rows
    assert processes.share(5) == slice(0, 5)
    assert processes.Flag().any(True)
    with processes.joined(), processes.first_before_others():
        processes.mean([rows])


def as_one_of(monkeypatch, rank, count):
    monkeypatch.setattr(processes, "rank", lambda: rank)
    monkeypatch.setattr(processes, "count", lambda: count)
    monkeypatch.setattr(processes, "from_first", lambda make: make())


def test_shares_are_all_of_it_once(monkeypatch):
    as_one_of(monkeypatch, 1, 3)
    assert [range(10)[part] for part in processes.shares(10)] == [
        range(3),
        range(3, 6),
        range(6, 10),
    ]
    assert processes.share(2) == slice(0, 1)
    assert processes.shares(2)[0] == slice(0, 0)  # there are not enough


def parts_of(monkeypatch, make, count, each):
    found = []
    for rank in range(count):
        as_one_of(monkeypatch, rank, count)
        found.append(list(SharedSampler(make(), each)))
    return [list(parts) for parts in zip(*found, strict=True)]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_parts_of_a_batch_are_the_batch_and_people_stay_whole(monkeypatch, count):
    pids = np.repeat(np.arange(20), 8)

    def make():
        return RandomIdentitySampler(pids, 40, seed=3, num_instance=4)

    for whole, parts in zip(make(), parts_of(monkeypatch, make, count, 4), strict=True):
        assert [i for part in parts for i in part] == whole
        assert all(part.parts == tuple(map(len, parts)) for part in parts)
        shown = [{int(pids[i]) for i in part} for part in parts]
        assert sum(map(len, shown)) == 10  # nobody is in two parts
        assert max(map(len, parts)) - min(map(len, parts)) <= 4


def test_a_batch_too_small_for_all_shows_its_pictures_again(monkeypatch):
    *_, parts = parts_of(monkeypatch, lambda: RandomSampler(range(9), 8, 0, drop_last=False), 4, 1)
    assert [len(part) for part in parts] == [2, 2, 2, 2]
    assert len({i for part in parts for i in part}) == 1  # the ninth
    assert isinstance(parts[0], Part)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An epoch of two processes on the toy people, started by --num-gpus."""
    folder = tmp_path_factory.mktemp("run")
    words = ("train_net.py", "--num-gpus", 2, *TINY, "SOLVER.MAX_EPOCH", 1)
    code, said = typed(folder, sys.executable, TOOLS / words[0], *words[1:])
    assert code == 0, said
    return folder, said


def lines(run, name="metrics.jsonl"):
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_num_gpus_starts_processes_of_which_the_first_writes(run):
    folder, said = run
    names = {path.name.split(".")[0] for path in (folder / "run").iterdir()}
    assert names >= {"0_last", "model_final", "best", "config", "log", "metrics", "environment"}
    steps = [row["iteration"] for row in lines(folder / "run") if "total" in row]
    assert steps == list(range(1, len(steps) + 1))  # each told once
    assert said.count("=> Loaded toy") == said.count("After epoch 0") == 1


def test_a_checkpoint_of_two_is_one_of_one(run, tmp_path, type_tool, monkeypatch):
    """Two epochs more in this process, from the checkpoint of two."""
    folder, _ = run
    state = torch.load(folder / "run" / "0_last.pth", weights_only=True)
    assert all(torch.is_tensor(value) for value in state["model"].values())
    assert not any(name.startswith("module") for name in state["model"])
    assert len(state["rng_of_others"]) == 1
    monkeypatch.chdir(tmp_path)
    start = ("--resume", folder / "run" / "0_last.pth", "SOLVER.MAX_EPOCH", 2)
    code, said, errors = type_tool(
        "train_net.py", *start, "OUTPUT_DIR", "on", "DATASETS.ROOT", folder / "datasets"
    )
    assert code == 0, errors
    assert "After epoch 1" in said


def test_a_test_by_two_is_one_by_one(run, tmp_path, type_tool, monkeypatch):
    folder, _ = run
    words = ("MODEL.WEIGHTS", "run/best.pth", "TEST.FLIP", "normalized", "OUTPUT_DIR")
    code, said = typed(folder, *TWO, TOOLS / "test.py", *words, "two")
    assert code == 0, said
    monkeypatch.chdir(folder)
    assert type_tool("test.py", *words, "one")[0] == 0
    one, two = (json.loads((folder / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one == two


def test_a_folder_is_embedded_in_two_and_merged(run, type_tool, monkeypatch):
    folder, _ = run
    pictures = next((folder / "datasets").rglob("query"))
    (pictures / "broken.jpg").write_bytes(b"no picture")
    words = ("MODEL.WEIGHTS", "run/best.pth", "DATASETS.ROOT", pictures, "TEST.IMS_PER_BATCH", 7)
    code, said = typed(folder, *TWO, TOOLS / "create_embeddings.py", *words, "OUTPUT_DIR", "two")
    assert code == 0, said
    assert said.count("broken.jpg") == 1
    monkeypatch.chdir(folder)
    assert type_tool("create_embeddings.py", *words, "OUTPUT_DIR", "one")[0] == 0
    (pictures / "broken.jpg").unlink()
    one, two = (
        [np.load(folder / name / file) for file in ("embeddings.npy", "paths.npy")]
        for name in ("one", "two")
    )
    np.testing.assert_allclose(one[0], two[0], atol=1e-5)
    assert one[1].tolist() == two[1].tolist() and len(two[1]) == 101


def test_the_process_that_has_the_error_tells_it(run):
    """The last picture is in the share of the second process."""
    folder, _ = run
    pictures = next((folder / "datasets").rglob("query"))
    broken = pictures / "zzz.jpg"
    broken.write_bytes(b"no picture")
    words = ("MODEL.WEIGHTS", "run/best.pth", "DATASETS.ROOT", pictures, "TEST.IMS_PER_BATCH", 7)
    code, said = typed(folder, *TWO, TOOLS / "create_embeddings.py", "--strict", *words)
    broken.unlink()
    assert code != 0
    assert said.count("zzz.jpg is no picture") + said.count(f"{broken}") >= 1, said
    assert said.index("zzz.jpg") < said.index("cannot go on alone")


def test_divided_weights_by_the_tool(tmp_path):
    """An epoch and its test, and what weights that are divided do not go with."""
    words = (*TINY, "SOLVER.FSDP", "True", "SOLVER.MAX_EPOCH", 1)
    code, said = typed(tmp_path, *TWO, TOOLS / "train_net.py", *words)
    assert code == 0, said
    assert "After epoch 0" in said
    graph = ("DATALOADER.SAMPLER.NAME", "GraphSampler", "OUTPUT_DIR", "other")
    code, said = typed(tmp_path, *TWO, TOOLS / "train_net.py", *words, *graph)
    assert code != 0
    assert "SOLVER.FSDP does not go with the sampler GraphSampler" in said


def children_of(pid):
    """The processes that `pid` has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []


def begun(tmp_path, *words):
    """A long run of two processes that has taken some steps, and their numbers."""
    process = start(tmp_path, *TWO, TOOLS / "train_net.py", *TINY, *words)
    told = tmp_path / "run" / "metrics.jsonl"
    end = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < end:
        if told.exists() and len(told.read_text().splitlines()) > 60:  # in the second epoch
            return process, children_of(process.pid)
        time.sleep(0.05)
    pytest.fail((tmp_path / "out.txt").read_text())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_killed_process_ends_the_run_and_the_last_checkpoint_resumes(
    tmp_path, type_tool, monkeypatch
):
    process, (_, second) = begun(tmp_path, "SOLVER.MAX_EPOCH", 50, "TEST.EVAL_PERIOD", 0)
    os.kill(second, signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    monkeypatch.chdir(tmp_path)
    newest = max(int(p.name.split("_")[0]) for p in (tmp_path / "run").glob("*_last.pth"))
    words = ("--resume", "run", "SOLVER.MAX_EPOCH", newest + 2)
    code, said, errors = type_tool("train_net.py", *words)
    assert code == 0, errors
    assert f"After epoch {newest + 1}" in said


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_run_that_is_asked_to_stop_is_saved_within_the_epoch(tmp_path, type_tool, monkeypatch):
    """As a cluster does it before it takes a machine away; gone on with in one process."""
    process, _ = begun(tmp_path, "SOLVER.MAX_EPOCH", 50, "TEST.EVAL_PERIOD", 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) != 0
    said = (tmp_path / "out.txt").read_text()
    assert said.count("Asked to stop: saved after iteration") == 1, said
    (saved,) = (tmp_path / "run").glob("*_part.pth")
    epoch, steps = int(saved.name.split("_")[0]), lines(tmp_path / "run")[-1]["iteration"]
    monkeypatch.chdir(tmp_path)
    code, _, errors = type_tool("train_net.py", "--resume", "run", "SOLVER.MAX_EPOCH", epoch + 1)
    assert code == 0, errors
    after = [row["iteration"] for row in lines(tmp_path / "run") if "total" in row]
    assert after == list(range(1, len(after) + 1))  # none twice, none left out
    assert steps in after
    assert not list((tmp_path / "run").glob("*_part.pth"))


def test_several_processes_are_for_tools_that_share_work(type_tool, monkeypatch):
    code, _, errors = type_tool("calibrate.py", "--num-gpus", "2", "--far", "0.1")
    assert code == 2
    assert "--num-gpus 1" in errors
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    code, _, errors = type_tool("calibrate.py", "--far", "0.1")
    assert code == 2
    assert "start it with python" in errors


def test_machines_must_meet(type_tool):
    words = ("--num-gpus", "2", "--num-machines", "2")
    code, _, errors = type_tool("train_net.py", *words)
    assert code == 2
    assert "--dist-url tcp://ADDRESS:PORT" in errors
    code, _, errors = type_tool(
        "train_net.py", *words, "--dist-url", "tcp://a:1", "--machine-rank", 2
    )
    assert code == 2
    assert "from 0 to 1" in errors
