"""Optimizers of one kernel unscale gradients themselves, and leave a step out that overflowed."""

import pytest
import torch
from torch import nn

from reidtools.solver import make_optimizer
from reidtools.solver.optimizers import OPTIMIZERS


def step(opt, scale, gradients, clips):
    """Weights after steps by `gradients`, which a scaler multiplied by `scale`."""
    torch.manual_seed(0)
    layer = nn.Linear(2, 1)
    optimizer = make_optimizer({"embedder": layer}, opt=opt, base_lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
    for gradient in gradients:
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(gradient * sum(weight.sum() for weight in layer.parameters())).backward()
        if clips:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_value_(layer.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    return layer.state_dict(), scaler.get_scale()


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("opt", sorted(OPTIMIZERS))
def test_gradients_are_unscaled_once_and_infinite_ones_move_nothing(opt, clips):
    one, _ = step(opt, 1.0, [0.5, 0.25], clips)
    scaled, kept = step(opt, 1024.0, [0.5, 0.25], clips)
    skipped, halved = step(opt, 1024.0, [0.5, float("inf"), 0.25], clips)
    assert (kept, halved) == (1024, 512)  # the scaler backs off by a half
    for name, tensor in one.items():
        torch.testing.assert_close(scaled[name], tensor)
        torch.testing.assert_close(skipped[name], tensor)
