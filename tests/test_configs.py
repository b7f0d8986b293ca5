"""Every file under configs/ is complete, builds, and takes a step."""

from pathlib import Path

import pytest
import torch

from reidtools import build
from reidtools.config.load import load

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.yml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_config_builds_and_learns(file):
    cfg = load(file, ["INPUT.SIZE_TRAIN", "[64, 32]", "MODEL.BACKBONE.PRETRAIN", "False"])
    torch.manual_seed(0)
    model = build.embedder(cfg).train()
    objective = build.objective(cfg, model.dim, 3)
    pids = torch.tensor([0, 0, 1, 1])
    losses = objective(model, {"images": torch.randn(4, 3, 64, 32), "pids": pids})
    assert losses.keys() == {n for n, node in cfg.MODEL.LOSSES.items() if node.WEIGHT}
    sum(losses.values()).backward()
    weight = next(p for p in model.parameters() if p.requires_grad)
    assert weight.grad.abs().sum() > 0 and torch.isfinite(weight.grad).all()


def test_there_are_the_documented_files():
    assert {file.stem for file in FILES} >= {
        *("base", "256_resnet50", "320_resnet50_ibn_a", "osnet_x1_0", "osnet_x0_25"),
        *("densenet121", "vit_base", "demo"),
    }
