"""Runs that are stopped or killed as a user would, in a shell, go on as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
# Six epochs of 16 steps of 8 pictures. All of what a step depends on besides the network: an
# average that follows it, two batches a move of the weights, a backbone that is frozen at first.
WORDS = (
    "INPUT.SIZE_TRAIN [32,16] INPUT.PADDING 2 MODEL.DEVICE cpu SOLVER.IMS_PER_BATCH 8 "
    "DATASETS.TOY.PEOPLE 8 DATASETS.TOY.CAMERAS 2 DATASETS.TOY.PICTURES 8 SOLVER.MAX_EPOCH 6 "
    "SOLVER.LOG_PERIOD 1 TEST.EVAL_PERIOD 0 SOLVER.EMA.ENABLED True SOLVER.ACCUMULATE 2 "
    "MODEL.LOSSES.CenterLoss.WEIGHT 0.0005 MODEL.FREEZE_LAYERS [backbone] SOLVER.FREEZE_ITERS 20"
).split()
SOME = 36  # iterations: in the third epoch, after the backbone has begun to learn


def start(root, out, *more):
    """Types the training into `out`; the datasets are in `root`."""
    tool = [sys.executable, ROOT / "tools" / "train_net.py", *more]
    tool += ["--config-file", ROOT / "configs" / "demo.yml", *WORDS]
    words = [*tool, "DATASETS.ROOT", root, "OUTPUT_DIR", out]
    said, environment = out.with_suffix(".txt").open("a"), os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(list(map(str, words)), stdout=said, stderr=said, env=environment)


def iterations(out):
    """How many steps the run in `out` has reported; a line may be half written."""
    file = out / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return max((row.get("iteration", 0) for row in rows), default=0)


def model(out):
    return torch.load(out / "model_final.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A folder of datasets, and the model of a run that nobody has disturbed."""
    root = tmp_path_factory.mktemp("straight")
    assert start(root, root / "run").wait(300) == 0, (root / "run.txt").read_text()
    return root, model(root / "run")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "stopped"),
        (signal.SIGTERM, 143, "--resume goes on from there."),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(straight, tmp_path, number, code, said):
    """130 is 128 + SIGINT (2), 143 is 128 + SIGTERM (15): what shells and clusters look at."""
    root, undisturbed = straight
    out = tmp_path / "run"
    run, patience = start(root, out), time.monotonic() + 300
    while run.poll() is None and iterations(out) < SOME and time.monotonic() < patience:
        time.sleep(0.005)
    run.send_signal(number)
    assert run.wait(300) == code, out.with_suffix(".txt").read_text()
    told = out.with_suffix(".txt").read_text()
    assert told.rstrip().endswith(said) and "Traceback" not in told
    assert not (out / "model_final.pth").exists()

    assert start(root, out, "--resume").wait(300) == 0, out.with_suffix(".txt").read_text()
    found = model(out)
    assert found.keys() == undisturbed.keys()
    assert all(torch.equal(found[name], value) for name, value in undisturbed.items())
    assert not list(out.glob("*.partial")) and not list(out.glob("*_part.pth"))
