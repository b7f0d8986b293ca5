"""Batch norms disappear in the convolutions before them, and nothing else changes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reidtools.modeling.folding import folded
from reidtools.registry import BACKBONES

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SIZE = (64, 32)


def trained(network):
    """`network` with statistics as training leaves them, for inference."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, NORMS):
            for values in (part.running_var, part.weight.data):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
            for values in (part.running_mean, part.bias.data):
                values.copy_(torch.randn(values.shape, generator=generator))
    return network.eval()


def norms_of(network):
    return sum(isinstance(part, NORMS) for part in network.modules())


def same(network, other, images):
    with torch.inference_mode():
        torch.testing.assert_close(other(images), network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("osnet_x0_25", 0),  # its last layer, Linear-BatchNorm-ReLU, as well
        ("osnet_ain_x1_0", 0),  # instance norms stay
        ("resnet18", 0),
        ("resnet50_ibn_a", 13),  # those that see half of the channels, beside an instance norm
        ("densenet121", 62),  # of 121: those that stand before a convolution
    ],
)
def test_networks_of_ours(name, left):
    torch.manual_seed(0)
    network = trained(BACKBONES.build(name, {"image_size": SIZE}, {}))
    images = torch.randn(3, 3, *SIZE)
    quick = folded(network, images)
    assert norms_of(quick) == left
    with torch.inference_mode():
        right, found = network(images), quick(images)
    assert (found - right).abs().max() <= 1e-5 * right.abs().max()


def test_the_network_stays_as_it_is():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    folded(network, torch.randn(1, 3, 8, 8))
    assert network.training and norms_of(network) == 1
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_also_in_the_midst_of_inference():
    """Where weights are made in inference mode no later training could use them."""
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)))
    with torch.inference_mode():
        images = torch.randn(2, 3, 8, 8)
        quick = folded(network, images)
    assert not any(tensor.is_inference() for tensor in quick.parameters())
    same(network, quick, images)


def test_memory_stays_in_its_order():
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    network.to(memory_format=torch.channels_last)
    quick = folded(network, torch.randn(1, 3, 8, 8))
    assert quick[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_without_learned_scale_and_shift():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)).eval()
    network[1].running_mean.fill_(2)
    network[1].running_var.fill_(9)
    quick, images = folded(network, torch.randn(1, 3, 8, 8)), torch.randn(2, 3, 8, 8)
    assert norms_of(quick) == 0
    same(network, quick, images)


class Twice(nn.Module):
    """A convolution and a norm that `see` uses as it likes."""

    def __init__(self, see):
        super().__init__()
        self.see = see
        self.conv, self.other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norm, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.see(self, x)


@pytest.mark.parametrize(
    "see",
    [
        lambda net, x: net.norm(net.conv(net.norm(net.conv(x)))),  # used twice
        lambda net, x: net.norm(net.conv(x)) + net.norm(net.other(x)),  # one norm for two
        lambda net, x: net.norm(y := net.conv(x)) + net.second(y),  # two norms of one output
        lambda net, x: net.norm(y := net.conv(x)) + net.other(y),  # a convolution sees it, too
        lambda net, x: net.norm(F.relu_(net.conv(x))),  # in place: the very same tensor
        lambda net, x: net.norm(net.conv(x).sigmoid()),  # something in between
        lambda net, x: net.norm(x),  # nothing before it
        lambda net, x: net.conv(x),  # never used
    ],
)
def test_norms_that_do_not_belong_to_one_convolution_stay(see):
    network = trained(Twice(see))
    assert folded(network, torch.randn(1, 3, 4, 4)) is None


def test_norms_of_batch_statistics_stay():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    assert folded(network, torch.randn(1, 3, 4, 4)) is None


def test_a_network_without_norms_is_not_copied(monkeypatch):
    monkeypatch.setattr("copy.deepcopy", lambda *_: pytest.fail("copied"))
    assert folded(nn.Conv2d(3, 3, 1), torch.randn(1, 3, 4, 4)) is None
