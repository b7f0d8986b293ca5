"""What training minimises: a weighted sum of losses over the facts of a batch."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from reidtools import processes
from reidtools.engine.parts import in_parts
from reidtools.ops.degrade import degrade
from reidtools.registry import facts, unknown

BRANCHES = ("features", "embeddings", "joint", "low_features")
NUMBERS = ("pids", "camids", "index")
FACTS = (*BRANCHES, *NUMBERS, "amp", "taught")
TRAINING_ONLY = {"num_people", "captions"}  # who is built with one of them knows no strangers


class Objective(nn.Module):
    """``objective(embedder, batch) -> {"TripletLoss": tensor, ...}``, each loss already weighted.

    A loss receives the facts that its ``forward`` names, as a pytest test receives fixtures:
    ``features`` (B, D) before the neck, ``embeddings`` (B, D) after it, ``pids`` (B,) training
    labels, ``camids`` (B,), ``index`` (B,) places in the training set, ``low_features`` (B, D):
    features of the same pictures `low_scale` times as coarse, which cost a second pass and are made
    only if wanted; ``joint`` (B, D): features that CLIP compares with texts; ``amp``: the dtype of
    autocast or None, for a loss that has a network of its own; ``taught``: what a `teacher` says of
    the same pictures, ``embeddings`` (B, E) and maybe ``logits`` (B, C). A loss that wants
    something else is refused when the objective is built.

    Where the head has several branches, such as three ``features``, a loss sees one after the other
    and they are added up, weighted by the embedder's `shares`; a `ModuleList` of losses has one for
    each. A batch without ``images`` has
    its branches already: it was embedded once, before (see `embed_once`).

    With `micro_batch` no more than that many pictures are in the network at a time: their
    activations are not kept but computed again on the way back (arXiv:1604.06174), and the losses
    still see the whole batch, so that batch-hard mining is what it would be at once. Only batch
    norm in the backbone sees each part by itself.

    Where a batch has ``parts``, it is one of several processes' part of a larger batch. With
    `gather` features of all parts come together before the neck, with their gradients: the losses,
    and the batch norm of the neck, see the whole batch in every process, and mine in all of it.
    Without it each process sees its own part, and the mean of all gradients is what counts.

    `figures` are what the losses measured besides in the last call, such as the ``top1`` of a
    classifier: shares, detached.
    Everything that knows a label (classifier, centres) lives in the losses, hence here.
    """

    def __init__(
        self,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        low_scale: float = 1,
        micro_batch: int = 0,
        teacher: Callable[[Tensor, Tensor | None], dict[str, Tensor]] | None = None,
        gather: bool = True,
    ):
        super().__init__()
        if not losses:
            raise ValueError("There is no loss to minimise; name at least one under MODEL.LOSSES.")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)
        self.wants = {name: facts(_first(loss).forward) for name, loss in losses.items()}
        for name, wanted in self.wants.items():
            for fact in wanted:
                if fact not in FACTS:
                    raise unknown(f"fact wanted by {name}", fact, FACTS)
            if "low_features" in wanted and low_scale == 1:
                raise ValueError(
                    f"{name} compares two resolutions; set DATASETS.LOW_SCALE, such as 4, to how "
                    "many times as coarse the second is."
                )
            if "taught" in wanted and teacher is None:
                raise ValueError(
                    f"{name} learns from a trained network; name its checkpoint in MODEL.TEACHER."
                )
        self.low_scale, self.micro_batch, self.teacher = low_scale, micro_batch, teacher
        self.gather = gather
        self.figures: dict[str, Tensor] = {}

    def forward(self, embedder: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        losses = self._measure(embedder, batch, self.losses)
        self.figures = {
            name: value
            for loss in self.losses.values()
            for name, value in getattr(_first(loss), "figures", {}).items()
        }
        return losses

    def of_strangers(self, embedder: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The losses of a batch of people who were not trained on: those that have no classifier.

        They are the losses built without a fact of `TRAINING_ONLY`; there may be none.
        """
        free = {
            name: loss
            for name, loss in self.losses.items()
            if TRAINING_ONLY.isdisjoint(facts(type(_first(loss))))
        }
        return self._measure(embedder, batch, free) if free else {}

    def set_epoch(self, epoch: int) -> None:
        """Tell the losses that want to know, such as those that draw captions."""
        for part in self.losses.modules():
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)

    def _measure(
        self, embedder: nn.Module, batch: Mapping[str, Any], losses: Mapping[str, nn.Module]
    ) -> dict[str, Tensor]:
        device = batch["pids"].device.type
        amp = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        parts = batch["parts"] if self.gather and "parts" in batch else (len(batch["pids"]),)
        known = {**_of_all(batch, parts), "amp": amp}
        if "images" in batch:
            known |= self._branches(embedder, batch, batch["images"], parts)
            if any("low_features" in self.wants[name] for name in losses):
                coarse = degrade(batch["images"], self.low_scale)
                known["low_features"] = self._branches(embedder, batch, coarse, parts)["features"]
            if self.teacher and any("taught" in self.wants[name] for name in losses):
                taught = self.teacher(batch["images"], batch.get("camids"))
                known["taught"] = {k: processes.rows_of_all(v, parts) for k, v in taught.items()}
        for name in BRANCHES:
            known[name] = tuple(branch.float() for branch in known.get(name, ()))
        shares = embedder.shares
        alike = processes.same_chance(batch["pids"].device) if len(parts) > 1 else nullcontext()
        # Distances and log-sums lose too much in half precision, whatever the network runs in.
        with torch.autocast(device, enabled=False), alike:
            return {
                name: self.weights[name] * _sum_of(loss, self.wants[name], known, shares)
                for name, loss in losses.items()
            }

    def _branches(
        self, embedder: nn.Module, batch: Mapping[str, Any], images: Tensor, parts: Sequence[int]
    ) -> dict[str, tuple[Tensor, ...]]:
        """What the head of `embedder` makes for losses of `images`, those of the batch.

        And of those of the other processes, which have `parts` of them.
        """
        seen = embedder.in_a_row(images, batch.get("camids"))
        if self.micro_batch:
            frames = in_parts(embedder, seen[0], self.micro_batch, *seen[1:])
        else:
            frames = embedder.frames(*seen)
        each = len(frames) // len(images)
        frames = processes.rows_of_all(frames, [part * each for part in parts])
        return embedder.branches(frames, sum(parts))


def _of_all(batch: Mapping[str, Any], parts: Sequence[int]) -> dict[str, Any]:
    """The facts of a batch that are known before the network, from all processes."""
    if len(parts) == 1:
        return dict(batch)
    numbers = [name for name in NUMBERS if name in batch]
    rows = processes.rows_of_all(torch.stack([batch[name] for name in numbers], 1), parts)
    known = dict(zip(numbers, rows.unbind(1), strict=True))
    for name in BRANCHES:
        if name in batch:
            known[name] = tuple(processes.rows_of_all(rows, parts) for rows in batch[name])
    return {**batch, **known}


def _first(loss: nn.Module) -> nn.Module:
    """A loss itself, or the first of those for several branches."""
    return loss[0] if isinstance(loss, nn.ModuleList) else loss


def _sum_of(
    loss: nn.Module,
    wanted: Sequence[str],
    known: Mapping[str, Any],
    shares: Mapping[str, Sequence[float]],
) -> Tensor:
    """The loss of every branch, added up with the `shares` of the first fact that has branches."""
    first = next((fact for fact in wanted if fact in BRANCHES), "")
    count = len(known[first]) if first else 1
    each = loss if isinstance(loss, nn.ModuleList) else [loss] * count
    values = [
        module(**{fact: known[fact][i] if fact in BRANCHES else known[fact] for fact in wanted})
        for i, module in enumerate(each)
    ]
    each_share = shares.get(first, (1.0,) * count)
    values = [share * value for share, value in zip(each_share, values, strict=True)]
    return sum(values[1:], values[0])
