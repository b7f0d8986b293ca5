"""Every file under configs/ is complete, builds, and trains for two iterations."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch

from reidtools import build, texts
from reidtools.config.load import differences, load
from reidtools.data.samples import Sample
from reidtools.solver import make_optimizer

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("**/*.yml"))
SMALL = ["INPUT.SIZE_TRAIN", "[64, 32]", "MODEL.BACKBONE.PRETRAIN", "False"]
SMALL += ["DATASETS.NAMES", "toy", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.LOG_PERIOD", "1"]
BASES = {  # what a fragment goes over that is nothing alone
    **dict.fromkeys(("clip_prompts", "clip_prompts_graph", "clip_captions"), "clip_small.yml"),
    **{
        file.stem: "ladder/0_standard.yml"
        for file in FILES
        if file.parent.name == "ladder" and file.stem != "0_standard"
    },
}
SMALLER = {
    **{file.stem: ["MODEL.BACKBONE.NAME", "resnet18"] for file in FILES if file.match("ladder/*")},
    "mgn": ["INPUT.SIZE_TRAIN", "[96, 32]"],  # which falls into three
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("datasets")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_config_builds_and_trains(file, root, tmp_path):
    base = BASES.get(file.stem)
    words = [*SMALL, "DATASETS.ROOT", str(root), *SMALLER.get(file.stem, [])]
    files = [CONFIGS / base, file] if base else [file]
    cfg = load(files, words)
    samples = build.splits(cfg, "toy").train
    if cfg.MODEL.BACKBONE.get("SIE_CAMERA"):
        words += ["MODEL.BACKBONE.CAMERAS", str(1 + max(sample.camid for sample in samples))]
    if file.stem == "clip_captions":
        captions = tmp_path / "captions.json"
        told = {Path(sample.paths[0]).name: ["somebody"] for sample in samples}
        captions.write_text(json.dumps(told))
        words += ["DATASETS.CAPTIONS", str(captions)]
    if "NUM_INSTANCE" in cfg.DATALOADER.SAMPLER:
        words += ["DATALOADER.SAMPLER.NUM_INSTANCE", "4"]
    cfg, device = load(files, words), torch.device("cpu")
    torch.manual_seed(0)
    model = build.embedder(cfg)
    samples, captions = texts.captioned(cfg, samples)
    objective = build.objective(cfg, model, samples, captions)
    looks = build.features_of(cfg, model, objective, samples, device)
    generator = torch.Generator().manual_seed(0)
    if cfg.SOLVER.FREEZE:
        batches = build.frozen_batches(cfg, model, objective, samples, looks, device)
    else:
        batches = build.train_batches(cfg, samples, generator, device, looks)
    trainer = build.trainer(cfg, model, objective, batches, generator)
    learned = [weight for module in (model, objective) for weight in module.parameters()]
    before = [weight.detach().clone() for weight in learned]
    for progress in islice(trainer, 2):
        wanted = {name for name, node in cfg.MODEL.LOSSES.items() if node.WEIGHT}
        assert progress.losses.keys() == wanted | {"total"}
    assert trainer.iteration == 2
    moved = [not torch.equal(a, b) for a, b in zip(before, learned, strict=True)]
    assert any(moved) and all(torch.isfinite(weight).all() for weight in learned)


RUNGS = {  # what each buys its place by
    "1_warmup": {"SOLVER.WARMUP_EPOCHS": (0, 10)},
    "2_erasing": {"INPUT.REA_PROB": (0.0, 0.5)},
    "3_smoothing": {"MODEL.LOSSES.CrossEntropyLoss.EPSILON": (0.0, 0.1)},
    "4_last_stride": {"MODEL.BACKBONE.LAST_STRIDE": (2, 1)},
    "5_neck": {"MODEL.HEADS.NAME": ("Linear", "BNNeck")},
    "6_center": {"MODEL.LOSSES.CenterLoss.WEIGHT": (0.0, 0.0005)},
    "7_reranking": {"TEST.RERANK.ENABLED": (False, True)},
}


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18"])
def test_every_rung_of_the_ladder_is_one_switch(backbone):
    files = [CONFIGS / "ladder" / "0_standard.yml"]
    words = ["MODEL.BACKBONE.NAME", backbone]
    for rung, switch in RUNGS.items():
        before, files = load(files, words), [*files, CONFIGS / "ladder" / f"{rung}.yml"]
        changed = differences(before, load(files, words))
        own = {k: v for k, v in changed.items() if not k.startswith("MODEL.HEADS.") or k in switch}
        assert own == switch
    whole = differences(load(CONFIGS / "256_resnet50.yml", words), load(files[:-1], words))
    assert whole.keys() == {"METHOD"}


def test_recipes_keep_their_parts_on_another_backbone():
    """As docs/recipes.md types them."""
    for recipe, name, kept in (
        ("fastreid_bot", "resnet50_ibn_a", {"STEM_CEIL": True, "LAST_STRIDE": 1}),
        ("agw", "resnet50_ibn_a", {"STEM_CEIL": True, "WITH_NL": True}),
        ("sbs", "resnet101_ibn_a", {"STEM_CEIL": True, "WITH_NL": True}),
        ("sbs", "resnest50", {"LAST_STRIDE": 1}),
        ("solider", "solider_swin_base", {"SEMANTIC_WEIGHT": 0.2}),
    ):
        words = ["MODEL.BACKBONE.NAME", name]
        backbone = load(CONFIGS / "recipes" / f"{recipe}.yml", words).MODEL.BACKBONE
        assert {key: backbone[key] for key in kept} == kept


@pytest.mark.parametrize(("shape", "size"), [("224", [224, 224]), ("256x128", [256, 128])])
def test_the_plain_densenet_is_what_its_document_says(shape, size):
    cfg = load(CONFIGS / f"densenet121_{shape}.yml", ["MODEL.BACKBONE.PRETRAIN", "False"])
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
