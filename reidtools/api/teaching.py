"""The trained network that a run learns from: MODEL.TEACHER."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from reidtools import build
from reidtools.api.recipes import brought, recipe
from reidtools.api.testing import filled
from reidtools.config import load as configs
from reidtools.data.transforms import Normalize
from reidtools.engine.teacher import Teacher, between
from reidtools.modeling import Embedder, layouts, weights
from reidtools.registry import LOSSES, facts

LOGGER = logging.getLogger("reidtools")
CLASSIFIER = "losses.CrossEntropyLoss."  # in an objective of ours
FIRST = "CrossEntropyLoss.0."  # in files of others, as `layouts` names it


def teacher_of(cfg: CfgNode, device: torch.device) -> Teacher | None:
    """The network in the file MODEL.TEACHER, tried with a picture; None where none is named.

    Its own config, or the tensors of weights of others, say what it is. Errors: those of reading a
    file of weights; ValueError where they do not fill the network, or where no loss would listen.
    """
    path = cfg.MODEL.TEACHER
    if not path:
        return None
    losses = cfg.MODEL.LOSSES.items()
    if not any(node.WEIGHT and "teacher" in facts(LOSSES[name]) for name, node in losses):
        raise ValueError(
            f"Nothing is learned from MODEL.TEACHER {path}: add DistillationLoss to MODEL.LOSSES, "
            "or leave MODEL.TEACHER empty."
        )
    with torch.random.fork_rng(devices=[]):  # a student begins as it would without a teacher
        saved = weights.read(path, mapped=True)
        words = ["MODEL.DEVICE", cfg.MODEL.DEVICE, "MODEL.WEIGHTS", path]
        words += ["MODEL.WEIGHTS_FORMAT", format] if (format := cfg.MODEL.WEIGHTS_FORMAT) else []
        own = configs.load("", words, base=brought(path, format))
        network = filled(own).to(device)
        classifier, people = _classifier(own, network, saved)
    teacher = Teacher(
        network,
        build.size_test(own),
        between(*(Normalize(**build.own(c.INPUT, maker=Normalize)) for c in (cfg, own))),
        classifier.to(device) if classifier else None,
        people,
        by_camera=network.by_camera and own.DATASETS.NAMES == cfg.DATASETS.NAMES,
        at_a_time=cfg.SOLVER.MICRO_BATCH,
    )
    if network.by_camera and not teacher.by_camera:
        LOGGER.warning("The teacher is not told of cameras: it was trained with those of others.")
    teacher(torch.zeros(1, 3, *cfg.INPUT.SIZE_TRAIN, device=device))
    LOGGER.info("Teacher: %s of %s, %d values", own.MODEL.BACKBONE.NAME, path, teacher.dim)
    return teacher


def _classifier(
    cfg: CfgNode, network: Embedder, saved: Mapping[str, Any]
) -> tuple[nn.Module | None, int]:
    """What made logits of the embeddings of a checkpoint's network, and of how many people.

    It is that of CrossEntropyLoss in one of ours, and the last layer in files of others, of which
    a linear one is all that their tensors tell. None where there is none, or one for each of
    several branches.
    """
    widths, found = network.heads.widths["embeddings"], saved.get("objective", {})
    state = {k.removeprefix(CLASSIFIER): v for k, v in found.items() if k.startswith(CLASSIFIER)}
    ours = bool(recipe(saved))
    if not ours:
        theirs = weights.state_of(dict(saved))
        rows = layouts.of_objective(theirs, layouts.layout_of(theirs, cfg.MODEL.WEIGHTS_FORMAT))
        state = {k.removeprefix(FIRST): v for k, v in rows.items() if k.startswith(FIRST)}
    if "classifier.weight" not in state or len(widths) > 1:
        return None, 0
    people, length = state["classifier.weight"].shape
    if ours:
        known = {"dim": widths[0], "num_people": people}
        options = build.chosen(cfg.MODEL.LOSSES.CrossEntropyLoss)
        loss = LOSSES.build("CrossEntropyLoss", known, options)
        loss.load_state_dict(state)
        return Answers(loss.before, loss.classifier, loss.classifier.scale), people
    if length != widths[0]:
        return None, 0
    linear = nn.Linear(length, people, bias="classifier.bias" in state)
    linear.load_state_dict({k.removeprefix("classifier."): v for k, v in state.items()})
    LOGGER.warning("The classifier of %s is taken for a linear one.", cfg.MODEL.WEIGHTS)
    return Answers(nn.Identity(), linear, 1.0), people


class Answers(nn.Module):
    """Logits of an identity loss: what its softmax takes, but for a margin."""

    def __init__(self, before: nn.Module, classifier: nn.Module, scale: float):
        super().__init__()
        self.before, self.classifier, self.scale = before, classifier, scale
        self.requires_grad_(False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, D) -> (B, C)."""
        return self.scale * self.classifier(self.before(embeddings))
