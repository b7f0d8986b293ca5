"""Batch norm over all processes, in one: the same network (tests/processes has two)."""

import pytest
import torch
from torch import nn

from reidtools.modeling.sync_norm import SyncedOnCpu, synchronize
from reidtools.registry import BACKBONES


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x1_0", "resnet18"])
def test_a_network_stays_what_it_is(name):
    torch.manual_seed(0)
    network = BACKBONES.build(name, {"image_size": (64, 32)}, {})
    images, names = torch.randn(4, 3, 64, 32), list(network.state_dict())
    network.train()(images)  # so that running statistics are some
    right, weights = network.eval()(images), {id(w) for w in network.parameters()}
    synchronize(network)
    assert any(isinstance(module, SyncedOnCpu) for module in network.modules())
    assert list(network.state_dict()) == names
    assert {id(w) for w in network.parameters()} == weights
    assert torch.equal(network(images), right)


def test_in_training_it_is_batch_norm():
    torch.manual_seed(0)
    images = torch.randn(6, 3, 5, 4)
    plain = nn.Sequential(nn.BatchNorm2d(3))
    other = nn.Sequential(nn.BatchNorm2d(3))
    synchronize(other)
    found = [net(images.clone().requires_grad_()) for net in (plain, other)]
    torch.testing.assert_close(*found)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)


def test_a_norm_with_something_inside_is_refused():
    """timm's have their activation in them; as a plain one it would be lost."""
    timm_norms = pytest.importorskip("timm.layers")
    network = nn.Sequential(nn.Conv2d(3, 4, 1), timm_norms.BatchNormAct2d(4))
    with pytest.raises(ValueError, match="BatchNormAct2d; set it False"):
        synchronize(network)
