"""Training that begins with a file of weights takes its classifier, if the people are the same."""

import logging

import pytest
import torch

import reidtools as rt
from reidtools import build
from reidtools.api.filling import fill_objective
from reidtools.config.load import load
from reidtools.modeling import weights
from reidtools.registry import BACKBONES

SMALL = [
    *("INPUT.SIZE_TRAIN", "[32, 16]", "MODEL.BACKBONE.PRETRAIN", "False", "DATASETS.NAMES", "toy"),
    *("MODEL.BACKBONE.NAME", "resnet18", "MODEL.LOSSES.CrossEntropyLoss.EPSILON", "0.1"),
    *("MODEL.LOSSES.CenterLoss.WEIGHT", "0.001", "SOLVER.IMS_PER_BATCH", "8"),
]


@pytest.fixture
def filled(tmp_path, caplog):
    """The objective of a training on toy people that begins with a file, and its samples."""

    def fill(content, *typed):
        file = tmp_path / "start.pth"
        torch.save(content, file)
        cfg = load("", [*SMALL, "DATASETS.ROOT", str(tmp_path), "MODEL.WEIGHTS", str(file), *typed])
        samples = build.splits(cfg, "toy").train
        objective = build.objective(cfg, build.embedder(cfg), samples)
        caplog.set_level(logging.INFO, "reidtools")
        fill_objective(cfg, objective, weights.read(file), str(file), samples)
        return objective, samples

    return fill


def state_of_fastreid(people):
    backbone = {f"backbone.{k}": v for k, v in BACKBONES["resnet18"]().state_dict().items()}
    rows = torch.arange(people).float()[:, None].expand(people, 512).clone()
    return {"model": backbone | {"heads.weight": rows}}


def test_fastreid_s_people_are_in_the_order_of_their_numbers_as_text(filled, caplog):
    """Labels there are the places of '10', '2', '3' …; ours those of 2, 3, 10."""
    objective, samples = filled(state_of_fastreid(64), "DATASETS.NAMES", "toy")
    pids = sorted({sample.pid for sample in samples})
    assert len(pids) == 64
    theirs = {pid: place for place, pid in enumerate(sorted(pids, key=str))}
    rows = objective.losses["CrossEntropyLoss"].classifier.weight[:, 0].tolist()
    assert rows == [theirs[pid] for pid in pids] != sorted(rows)
    assert "CrossEntropyLoss.classifier.weight go on as in" in caplog.text
    assert "64 people, taken for the same" in caplog.text


def test_other_people_begin_anew(filled, caplog):
    objective, _ = filled(state_of_fastreid(7))
    assert objective.losses["CrossEntropyLoss"].classifier.weight.std() < 0.002
    assert "those of" in caplog.text and "are of 7 people, not of 64" in caplog.text


def test_centroids_reid_has_centres_as_well(filled):
    body = {f"backbone.base.{k}": v for k, v in BACKBONES["resnet18"]().state_dict().items()}
    body |= {f"bn.{k}": v for k, v in torch.nn.BatchNorm1d(512).state_dict().items()}
    rows = torch.arange(64).float()[:, None].expand(64, 512).clone()
    theirs = {"fc_query.weight": rows, "center_loss.centers": -rows}
    objective, _ = filled({"state_dict": body | theirs})
    assert torch.equal(objective.losses["CrossEntropyLoss"].classifier.weight, rows)
    assert torch.equal(objective.losses["CenterLoss"].centers, -rows)


def test_each_branch_has_its_own(filled):
    """The five classifiers of TransReID with JPM."""
    names = [f"classifier{f'_{i}' if i else ''}.weight" for i in range(5)]
    state = {name: torch.full((64, 384), float(i)) for i, name in enumerate(names)}
    state["b1.0.norm1.weight"] = torch.ones(384)
    options = ["MODEL.BACKBONE.NAME", "transreid_deit_small", "MODEL.BACKBONE.JPM", "True"]
    options += ["INPUT.SIZE_TRAIN", "[64, 32]", "MODEL.HEADS.NAME", "PartNecks"]
    objective, _ = filled(state, *options, "MODEL.LOSSES.CenterLoss.WEIGHT", "0")
    each = objective.losses["CrossEntropyLoss"]
    assert [int(loss.classifier.weight[0, 0]) for loss in each] == [0, 1, 2, 3, 4]


def test_ours_goes_on_with_the_same_datasets_only(tmp_path):
    root = ["DATASETS.ROOT", str(tmp_path), "SOLVER.MAX_EPOCH", "1", "TEST.EVAL_PERIOD", "0"]
    run = tmp_path / "run"
    rt.train(load("", [*SMALL, *root, "OUTPUT_DIR", str(run)]))
    last = next(run.glob("*_last.pth"))
    kept = weights.read(last)["objective"]["losses.CrossEntropyLoss.classifier.weight"]

    def classifier(*typed):
        cfg = load("", [*SMALL, *root, "MODEL.WEIGHTS", str(last), *typed])
        samples = build.splits(cfg, "toy").train
        objective = build.objective(cfg, build.embedder(cfg), samples)
        fill_objective(cfg, objective, weights.read(last), str(last), samples)
        return objective.losses["CrossEntropyLoss"].classifier.weight

    assert torch.equal(classifier(), kept)
    assert not torch.equal(classifier("DATASETS.NAMES", "[toy, toy_mars]"), kept)


def test_people_whose_order_is_not_sure_begin_anew(filled, caplog, monkeypatch):
    """Others number them as a set of Python gives them, which is no order for high numbers."""
    high = [2049, 1, 4098, *range(10, 71)]
    assert list(set(high)) != sorted(high)
    splits = build.splits

    def renumbered(cfg, name):
        found = splits(cfg, name)
        numbers = dict(zip(sorted({s.pid for s in found.train}), sorted(high), strict=True))
        return found._replace(train=[s._replace(pid=numbers[s.pid]) for s in found.train])

    monkeypatch.setattr(build, "splits", renumbered)
    body = {f"backbone.base.{k}": v for k, v in BACKBONES["resnet18"]().state_dict().items()}
    filled({"state_dict": body | {"fc_query.weight": torch.ones(64, 512)}})
    assert "in which order the file has these people is not sure" in caplog.text


def test_a_resnet_of_torchreid_has_a_classifier_too(filled):
    state = BACKBONES["resnet18"](last_stride=2).state_dict()
    rows = torch.arange(64).float()[:, None].expand(64, 512).clone()
    state |= {"classifier.weight": rows, "classifier.bias": torch.ones(64)}
    words = ["MODEL.LOSSES.CrossEntropyLoss.BIAS", "True"]
    classifier = filled({"state_dict": state}, *words)[0].losses["CrossEntropyLoss"].classifier
    assert torch.equal(classifier.weight, rows) and classifier.bias.tolist() == [1.0] * 64


def test_focal_loss_has_a_classifier_too(filled):
    words = ["MODEL.LOSSES.CrossEntropyLoss.WEIGHT", "0", "MODEL.LOSSES.FocalLoss.ALPHA", "1"]
    objective, _ = filled(state_of_fastreid(64), *words)
    assert objective.losses["FocalLoss"].classifier.weight[:, 0].max() == 63
