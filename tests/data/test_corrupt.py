"""A corrupt picture that looks whole from its ends is found by a reading thread in training."""

from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs/demo.yml"
QUICK = (
    "DATASETS.TOY.PEOPLE 4 DATASETS.TOY.CAMERAS 2 DATASETS.TOY.PICTURES 2 INPUT.SIZE_TRAIN [32,16] "
    "INPUT.PADDING 2 SOLVER.IMS_PER_BATCH 16 SOLVER.MAX_EPOCH 1 MODEL.DEVICE cpu"
).split()


@pytest.mark.parametrize("cache", ["off", "ram", "disk"])
def test_it_is_named_in_one_line(type_tool, tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache"
    words = (*QUICK, "DATALOADER.CACHE", cache, "DATALOADER.CACHE_DIR", folder)
    code, _, err = type_tool("check_data.py", "--config-file", CONFIG, *QUICK)
    assert code == 0, err
    broken = max((tmp_path / "datasets/toy/bounding_box_train").glob("*.jpg"))
    broken.write_bytes(b"\xff\xd8\xff" + bytes(2000) + b"\xff\xd9")
    code, out, err = type_tool("train_net.py", "--config-file", CONFIG, *words)
    assert code == 1
    said = [line for line in err.splitlines() if "error" in line]
    assert len(said) == 1 and "Traceback" not in err + out
    assert f"{broken.name} is not a readable picture; restore or remove it." in said[0]
    assert folder.exists() == (cache == "disk")
