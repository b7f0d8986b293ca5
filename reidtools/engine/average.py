"""The moving average of a model's weights: it knows better than any one step."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """A second `model` whose weights are the exponential moving average of those of the first
    (Polyak & Juditsky, 1992; as in Mean Teacher, Tarvainen & Valpola, 2017, arXiv:1703.01780).

    decay: how much of the average an update keeps. Of the first updates it is less,
        ``(1 + t) / (10 + t)`` of the t-th, counted from 0, so that in a short run the average is
        not what training began with.

    Running statistics of batch norms are averaged like weights: those of the moving model are of
    activations by its last few weights, and the average's weights are older than that. Whole
    numbers, such as counts of batches, are copied. It makes no gradients and is in evaluation mode.

    Raises ValueError for a decay that is no share.
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; choose a share from 0 to below 1, such as 0.999.")
        self.decay, self.updates = decay, 0
        self.model = deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards `model`, whose weights have just moved."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        own, other = self.model.state_dict(), model.state_dict()
        floats = [name for name, tensor in own.items() if tensor.is_floating_point()]
        averaged: list[Tensor] = [own[name] for name in floats]
        get_ema_multi_avg_fn(decay)(averaged, [other[name] for name in floats], self.updates)
        for name in own.keys() - set(floats):
            own[name].copy_(other[name])

    def load(self, state: Mapping[str, Any], updates: int) -> None:
        """Go on from the average `state` after so many updates."""
        self.model.load_state_dict(state)
        self.updates = updates
