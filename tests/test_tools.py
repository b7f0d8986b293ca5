"""The documented commands, typed as documented, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
CONFIGS = TOOLS.parent / "configs"
QUICK = (
    "DATASETS.TOY.PEOPLE 4 DATASETS.TOY.CAMERAS 2 DATASETS.TOY.PICTURES 2 INPUT.SIZE_TRAIN [32,16] "
    "INPUT.PADDING 2 SOLVER.IMS_PER_BATCH 16 MODEL.DEVICE cpu"
).split()


def run(tool, *words, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TOOLS / tool), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which train_net.py has trained for two epochs."""
    folder = tmp_path_factory.mktemp("run")
    config = CONFIGS / "demo.yml"
    done = run("train_net.py", "--config-file", config, *QUICK, "SOLVER.MAX_EPOCH", 2, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_training_prints_table_and_files(trained):
    folder, out = trained
    run_folder = folder / "logs/toy/osnet_x0_25/baseline/exp0"
    assert "| subset   |" in out and "| Dataset   |" in out and "mINP" in out
    for name in ("0.pth", "1_last.pth", "best.pth", "model_final.pth", "metrics.json"):
        assert f"exp0/{name}" in out and (run_folder / name).is_file()


def test_the_two_ways_to_test_agree(trained):
    folder, _ = trained
    weights = "logs/toy/osnet_x0_25/baseline/exp0/1_last.pth"
    config = CONFIGS / "demo.yml"
    first = run("test.py", "--config-file", config, *QUICK, "MODEL.WEIGHTS", weights, cwd=folder)
    assert first.returncode == 0, first.stderr
    old = ("MODEL.PRETRAIN_PATH", weights)
    again = run("train_net.py", "--config_file", config, "--eval-only", *QUICK, *old, cwd=folder)
    own = run("test.py", "MODEL.WEIGHTS", weights, cwd=folder)  # its own config
    tables = [
        next(line for line in done.stdout.splitlines() if line.startswith("| toy"))
        for done in (first, again, own)
    ]
    assert tables[0] == tables[1] == tables[2]
    block = own.stdout[own.stdout.index("Test baseline") :].splitlines()
    rank_1, mean = (float(table) for table in (tables[0].split("|")[2], tables[0].split("|")[7]))
    assert block[1] == f"top-k, Rank-1  :{rank_1:.1f}%" and block[5].startswith("top-k, Rank-50 :")
    assert block[6].startswith("mAP: 0.") and abs(100 * float(block[6][5:]) - mean) < 0.006
    assert block[7] == "Test CTL (oracle ids): toy" and block[8].startswith("top-k, Rank-1  :")


def test_a_threshold(trained):
    folder, _ = trained
    weights = "logs/toy/osnet_x0_25/baseline/exp0/1_last.pth"
    done = run("calibrate.py", "--far", 0.2, "MODEL.WEIGHTS", weights, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "means the same person" in done.stdout
    assert (folder / weights).parent.joinpath("test_1_last/calibration.json").is_file()
    wrong = run("calibrate.py", "--far", 0, "MODEL.WEIGHTS", weights, cwd=folder)
    assert wrong.returncode == 1 and "share" in wrong.stderr


def test_resuming_with_a_path_the_old_way(trained):
    folder, _ = trained
    words = "MODEL.RESUME_TRAINING True MODEL.PRETRAIN_PATH".split()
    last = "logs/toy/osnet_x0_25/baseline/exp0/1_last.pth"
    config = ("--config-file", CONFIGS / "demo.yml")
    done = run("train_net.py", *config, *QUICK, *words, last, "SOLVER.MAX_EPOCH", 3, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Resuming" in done.stdout and "SOLVER.MAX_EPOCH was 2" in done.stderr
    log = (folder / last).with_name("log.txt").read_text()
    assert "MODEL.PRETRAIN_PATH are read as RESUME" in log
    assert (folder / last).with_name("2_last.pth").is_file()


def test_print_config_resolves_and_stops(tmp_path):
    config = CONFIGS / "256_resnet50.yml"
    words = ("--print-config", "SOLVER.BASE_LR", "1e-3", "DATASETS.NAMES", "market1501")
    done = run("train_net.py", "--config-file", config, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "BASE_LR: 0.001" in done.stdout and "LAST_STRIDE: 1" in done.stdout
    assert not list(tmp_path.iterdir())


def test_check_data(tmp_path):
    done = run("check_data.py", "--config-file", CONFIGS / "demo.yml", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| # ids |" in done.stdout.replace("  ", "") and "No problem found" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--config-file none.yml", "no config file"),
        ("DATASETS.NAMES market1501 MODEL.LOSSES TripletLoss", "DATASETS.ROOT"),
        ("MODEL.BACKBONE.NAMR x", "Did you mean 'NAME'"),
        ("--eval-only", "MODEL.WEIGHTS"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(tmp_path, words, message):
    done = run("train_net.py", *words.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
