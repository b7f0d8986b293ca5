"""Every file under configs/ is complete, builds, and takes a step."""

import json
from pathlib import Path

import pytest
import torch

from reidtools import build, texts
from reidtools.config.load import load
from reidtools.data.samples import Sample
from reidtools.solver import make_optimizer

SMALL = ["INPUT.SIZE_TRAIN", "[64, 32]", "MODEL.BACKBONE.PRETRAIN", "False"]
FRAGMENTS = {  # that go only over a certain file
    "clip_prompts": "clip_small.yml",
    "clip_prompts_graph": "clip_small.yml",
    "clip_captions": "clip_small.yml",
}
FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.yml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_config_builds_and_learns(file, tmp_path):
    base = FRAGMENTS.get(file.stem)
    words = [*SMALL, "MODEL.BACKBONE.CAMERAS", "6"] if "sie" in file.stem else SMALL
    if file.stem == "clip_captions":
        captions = tmp_path / "captions.json"
        captions.write_text(json.dumps({f"{pid}.jpg": ["somebody"] for pid in (7, 8, 9)}))
        words = [*SMALL, "DATASETS.CAPTIONS", str(captions)]
    cfg = load([file.parent / base, file] if base else file, words)
    torch.manual_seed(0)
    model = build.embedder(cfg).train()
    samples = [Sample((f"{pid}.jpg",), pid, 0) for pid in (7, 7, 8, 8, 9)]
    objective = build.objective(cfg, model, *texts.captioned(cfg, samples))
    pids = torch.tensor([0, 0, 1, 1])
    facts = {"pids": pids, "camids": torch.zeros(4, dtype=torch.long), "index": torch.arange(4)}
    losses = objective(model, {"images": torch.randn(4, 3, 64, 32), **facts})
    assert losses.keys() == {n for n, node in cfg.MODEL.LOSSES.items() if node.WEIGHT}
    sum(losses.values()).backward()
    learned = [*(objective if cfg.SOLVER.FREEZE else model).parameters()]
    weight = next(p for p in learned if p.requires_grad)
    assert weight.grad.abs().sum() > 0 and torch.isfinite(weight.grad).all()


@pytest.mark.parametrize(("shape", "size"), [("224", [224, 224]), ("256x128", [256, 128])])
def test_the_plain_densenet_is_what_its_document_says(shape, size):
    cfg = load(FILES[0].parent / f"densenet121_{shape}.yml", ["MODEL.BACKBONE.PRETRAIN", "False"])
    assert size == cfg.INPUT.SIZE_TRAIN and cfg.SOLVER.MAX_EPOCH == 20
    model, batch = build.embedder(cfg).eval(), torch.randn(1, 3, 64, 32)
    features, embeddings = model(batch)
    assert embeddings.shape == (1, 1024) and torch.equal(features, embeddings)
    pooled = model.backbone.features(batch).mean((2, 3))  # no ReLU after the last batch norm
    assert torch.allclose(embeddings, pooled, atol=1e-6) and pooled.min() < 0
    people = [Sample((f"{pid}.jpg",), pid, 0) for pid in range(751)]
    objective = build.objective(cfg, model, people)
    kinds = [type(m).__name__ for m in objective.losses["CrossEntropyLoss"].before]
    assert kinds == ["Linear", "BatchNorm1d", "LeakyReLU", "Dropout"]
    assert objective.losses["CrossEntropyLoss"].classifier.weight.shape == (751, 512)
    solver = cfg.SOLVER
    optimizer = make_optimizer({"objective": objective}, **build.own(solver, maker=make_optimizer))
    for group in optimizer.param_groups:
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.02, 0, 0)


def test_there_are_the_documented_files():
    assert {file.stem for file in FILES} >= {
        *("base", "256_resnet50", "320_resnet50_ibn_a", "osnet_x1_0", "osnet_x0_25"),
        *("densenet121", "densenet121_224", "densenet121_256x128", "vit_base", "demo"),
    }
