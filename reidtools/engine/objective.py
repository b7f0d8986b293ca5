"""What training minimises: a weighted sum of losses over the facts of a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reidtools.engine.parts import in_parts
from reidtools.ops.degrade import degrade
from reidtools.registry import facts, unknown

FACTS = ("features", "embeddings", "low_features", "pids", "camids")


class Objective(nn.Module):
    """``objective(embedder, batch) -> {"TripletLoss": tensor, ...}``, each loss already weighted.

    A loss receives the facts that its ``forward`` names, as a pytest test receives fixtures:
    ``features`` (B, D) before the neck, ``embeddings`` (B, D) after it, ``pids`` (B,) training
    labels, ``camids`` (B,), ``low_features`` (B, D): features of the same pictures `low_scale`
    times as coarse, which cost a second pass and are made only if wanted. A loss that wants
    something else is refused when the objective is built.

    With `micro_batch` no more than that many pictures are in the network at a time: their
    activations are not kept but computed again on the way back (arXiv:1604.06174), and the losses
    still see the whole batch, so that batch-hard mining is what it would be at once. Only batch
    norm in the backbone sees each part by itself.

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
    ):
        super().__init__()
        if not losses:
            raise ValueError("There is no loss to minimise; name at least one under MODEL.LOSSES.")
        self.losses, self.weights = nn.ModuleDict(losses), dict(weights)
        self.wants = {name: facts(loss.forward) for name, loss in losses.items()}
        for name, wanted in self.wants.items():
            for fact in wanted:
                if fact not in FACTS:
                    raise unknown(f"fact wanted by {name}", fact, FACTS)
            if "low_features" in wanted and low_scale == 1:
                raise ValueError(
                    f"{name} compares two resolutions; set DATASETS.LOW_SCALE, such as 4, to how "
                    "many times as coarse the second is."
                )
        self.low_scale, self.micro_batch = low_scale, micro_batch
        self.figures: dict[str, Tensor] = {}

    def forward(self, embedder: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        losses = self._measure(embedder, batch, self.losses)
        self.figures = {
            name: value
            for loss in self.losses.values()
            for name, value in getattr(loss, "figures", {}).items()
        }
        return losses

    def of_strangers(self, embedder: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The losses of a batch of people who were not trained on: those that have no classifier.

        They are the losses built without the fact ``num_people``; there may be none.
        """
        free = {n: loss for n, loss in self.losses.items() if "num_people" not in facts(type(loss))}
        return self._measure(embedder, batch, free) if free else {}

    def _measure(
        self, embedder: nn.Module, batch: Mapping[str, Any], losses: Mapping[str, nn.Module]
    ) -> dict[str, Tensor]:
        features, embeddings = self._embed(embedder, batch["images"])
        known = {**batch, "features": features.float(), "embeddings": embeddings.float()}
        if any("low_features" in self.wants[name] for name in losses):
            low_features, _ = self._embed(embedder, degrade(batch["images"], self.low_scale))
            known["low_features"] = low_features.float()
        # Distances and log-sums lose too much in half precision, whatever the network runs in.
        with torch.autocast(features.device.type, enabled=False):
            return {
                name: self.weights[name] * loss(**{fact: known[fact] for fact in self.wants[name]})
                for name, loss in losses.items()
            }

    def _embed(self, embedder: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
        if not self.micro_batch:
            return embedder(images)
        frames = in_parts(embedder, images.flatten(0, -4), self.micro_batch)
        return embedder.pool(frames, len(images))
