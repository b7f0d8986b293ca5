"""The commands of docs/training.md and docs/folders.md, typed one after the other."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reidtools.data.datasets import load_dataset
from reidtools.data.datasets.toy import toy

ROOT = Path(__file__).parents[1]
CONFIG = f"--config_file {ROOT}/configs/demo.yml"
SMALL = (
    "DATASETS.NAMES market1501 DATASETS.ROOT_DIR ../datasets INPUT.SIZE_TRAIN [32,16] "
    "INPUT.PADDING 2 SOLVER.IMS_PER_BATCH 8 SOLVER.MAX_EPOCH 2 SOLVER.CHECKPOINT_PERIOD 1 "
    "MODEL.DEVICE cpu DATALOADER.SAMPLER.NUM_INSTANCE 2"
)
LAST = "./logs/market1501/osnet_x0_25/baseline/exp0/1_last.pth"
TEST = "../datasets/market1501/bounding_box_test"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for code, with drawn people in ../datasets/market1501."""
    above = tmp_path_factory.mktemp("snu")
    toy(above, people=6, cameras=3, pictures=2)
    (above / "datasets").mkdir()
    (above / "toy").rename(above / "datasets/market1501")
    (above / "code").mkdir()
    return above / "code"


@pytest.fixture
def typed(place, monkeypatch, type_tool):
    """Types a command in the folder for code; returns what it printed."""
    monkeypatch.chdir(place)

    def run(command):
        code, out, err = type_tool(*command.split())
        assert code == 0, err
        return out

    return run


def test_training_at_a_low_resolution(typed):
    out = typed(f"train_net.py {CONFIG} --scale 4 {SMALL}")
    assert Path(LAST).is_file() and Path(LAST).with_name("0.pth").is_file()
    assert "Figures of market1501 are of query and gallery at LR(x4) - LR(x4)." in out
    for pair in ("HR - HR", "LR(x4) - HR", "HR - LR(x4)", "LR(x4) - LR(x4)"):
        assert f"| market1501 {pair}" in out
    assert "INPUT:" in (config := Path(LAST).with_name("config.yml").read_text())
    assert "SCALE: 4.0" in config


def test_ctl_and_its_resuming(typed):
    out = typed(f"train_ctl.py {CONFIG} --scale 4 {SMALL}")
    run = Path("logs/market1501/osnet_x0_25/ctl/exp0")
    assert "CentroidTripletLoss" in out and "ground-truth ids" in out
    old = f"MODEL.RESUME_TRAINING True MODEL.PRETRAIN_PATH ./{run}/1_last.pth SOLVER.MAX_EPOCH 3"
    out = typed(f"train_ctl.py {CONFIG} {SMALL} {old}")
    assert f"Resuming {run}/1_last.pth" in out and (run / "2_last.pth").is_file()
    saved = torch.load(run / "2_last.pth", weights_only=True)
    assert "SCALE: 4.0" in saved["config"]  # that of the checkpoint


@pytest.mark.parametrize("kind", ["", "_ctl"])
def test_octuplet_fine_tuning(typed, kind):
    method = "ctl" if kind else "baseline"
    start = Path(f"logs/market1501/osnet_x0_25/{method}/exp0/{2 if kind else 1}_last.pth")
    out = typed(
        f"finetune_octuplet{kind}.py {CONFIG} --scale 4 {SMALL} MODEL.PRETRAIN_PATH ./{start}"
    )
    first = 3 if kind else 2
    names = {path.name for path in start.parent.glob("*_x4.pth")}
    assert names == {f"{first}_x4.pth", f"{first + 1}_x4.pth"}
    assert "OctupletLoss" in out and ("ground-truth ids" in out) == bool(kind)


def test_testing_prints_both_blocks(typed):
    out = typed(f"test.py {CONFIG} {SMALL} MODEL.PRETRAIN_PATH {LAST} TEST.VISUALIZE yes")
    block = out[out.index("Test baseline: market1501\n") :].splitlines()
    assert [line.split(":")[0] for line in block[1:7]] == [
        *(f"top-k, Rank-{k:<3}" for k in (1, 5, 10, 20, 50)),
        "mAP",
    ]
    assert block[7] == "Test CTL (oracle ids): market1501"
    folder = Path(LAST).with_name("test_1_last")
    assert (folder / "metrics.json").is_file()
    queries = {path.stem for path in Path("../datasets/market1501/query").glob("*.jpg")}
    assert {path.stem for path in (folder / "visrank").glob("*.png")} == queries
    out = typed(f"test.py --query-scale 4 --gallery-scale 1 {SMALL} MODEL.WEIGHTS {LAST}")
    assert "| market1501 LR(x4) - HR" in out and "HR - LR(x4)" not in out
    assert json.loads((folder / "metrics.json").read_text())["resolutions"] == {
        "market1501": "LR(x4) - HR"
    }


def test_embeddings_then_similar_pictures(typed):
    typed(
        f"create_embeddings.py {CONFIG} INPUT.SIZE_TRAIN [32,16] DATASETS.ROOT_DIR {TEST} "
        f"MODEL.PRETRAIN_PATH {LAST}"
    )
    paths = np.load("output_dir/paths.npy").tolist()
    assert paths == sorted(map(str, Path(TEST).glob("*.jpg")))
    assert np.load("output_dir/embeddings.npy").shape == (len(paths), 512)
    typed(
        f"get_similar.py {CONFIG} INPUT.SIZE_TRAIN [32,16] --gallery_data output_dir --topk 3 "
        f"DATASETS.ROOT_DIR ../datasets/market1501/query MODEL.PRETRAIN_PATH {LAST}"
    )
    found = json.loads(Path("output_dir/results.json").read_text())
    assert list(found) == np.load("output_dir/query_paths.npy").tolist()
    assert all(len(hits["paths"]) == 3 for hits in found.values())
    assert np.load("output_dir/query_embeddings.npy").shape == (len(found), 512)


def test_who_is_it(typed):
    query = Path("../datasets/market1501/query")
    out = typed(
        f"infer.py --query_dir {query} DATASETS.ROOT_DIR {TEST} MODEL.PRETRAIN_PATH {LAST}"
    ).splitlines()
    header, *rows = csv.reader(Path("output_dir/result.csv").read_text().splitlines())
    assert header == ["query filename", "predicted class", "predicted path", "distance"]
    assert [row[0] for row in rows] == sorted(path.name for path in query.glob("*.jpg"))
    right = sum(int(row[0][:4]) == int(row[1]) for row in rows)
    assert out[-1] == f"Accuracy: {right / len(rows):.4f} ( {right} / {len(rows)} )"
    assert out[-2].startswith("Without same-camera and same-frame hits: Accuracy: ")
    assert out[-4].endswith(".jpg") and out[-3].startswith("Pred: ") and "GT: " in out[-3]


def test_a_low_resolution_copy_is_a_dataset(typed, place):
    out = typed("makelr.py --scale 2 --data_dir ../datasets/market1501")
    assert "market1501x2" in out and " 0 failed" in out
    root = place.parent / "datasets"
    small, large = (load_dataset(name, root) for name in ("market1501x2", "market1501"))
    assert [len(split) for split in small] == [len(split) for split in large]
    assert typed("makelr.py --scale 2 --data_dir ../datasets/market1501").count(" 0 failed") == 1
    out = typed(f"train_net.py {CONFIG} {SMALL} DATASETS.NAMES market1501x2 --print-config")
    assert "- market1501x2" in out
