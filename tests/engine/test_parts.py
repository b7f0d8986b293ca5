import pytest
import torch
from torch import nn

from reidtools.engine.objective import Objective
from reidtools.engine.parts import in_parts
from reidtools.losses import CrossEntropyLoss, TripletLoss
from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck


class Counting(nn.Module):
    """A small net that knows how many rows it saw at a time."""

    def __init__(self, norm=False, dropout=0.0):
        super().__init__()
        self.linear, self.sizes = nn.Linear(12, 8), []
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def frames(self, images):
        self.sizes.append(len(images))
        return self.dropout(self.norm(self.linear(images.flatten(1)))).tanh()


def images(count=7):
    return torch.randn(count, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def test_gradients_are_those_of_the_whole():
    torch.manual_seed(0)
    net, x = Counting(), images()
    net.frames(x).square().mean().backward()
    whole = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.sizes.clear()
    in_parts(net, x, 3).square().mean().backward()
    assert sorted(net.sizes) == [2, 2, 2, 2, 3, 3]  # forward, and again on the way back
    for got, own in zip((p.grad for p in net.parameters()), whole, strict=True):
        assert torch.allclose(got, own, atol=1e-7)


def test_chance_is_the_same_on_the_way_back():
    """Dropout: the gradient is that of the output that was seen."""
    torch.manual_seed(0)
    net, x = Counting(dropout=0.5), images(6).requires_grad_()
    out = in_parts(net, x, 2)
    out.sum().backward()
    dropped = (out == 0).all(1)
    assert 0 < (out == 0).sum() < out.numel()
    assert (x.grad[dropped] == 0).all() and x.grad.abs().sum() > 0
    own = 1 - out.detach() ** 2  # tanh'; 1 where dropped, times the mask 0 or 2
    mask = 2.0 * (out.detach() != 0)
    assert torch.allclose(x.grad.flatten(1), (own * mask) @ net.linear.weight, atol=1e-5)


def test_running_statistics_count_each_part_once():
    torch.manual_seed(0)
    net, other, x = Counting(norm=True), Counting(norm=True), images(6)
    other.load_state_dict(net.state_dict())
    in_parts(net, x, 3).sum().backward()
    for part in x.split(3):
        other.frames(part)
    assert net.norm.num_batches_tracked == 2 and net.norm.momentum == 0.1
    assert torch.equal(net.norm.running_mean, other.norm.running_mean)
    assert torch.equal(net.norm.running_var, other.norm.running_var)


@pytest.mark.parametrize("tracklets", [False, True])
def test_losses_see_the_whole_batch(tracklets):
    torch.manual_seed(0)
    batch = {"images": images(8), "pids": torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])}
    if tracklets:
        batch["images"] = torch.randn(8, 3, 3, 2, 2)
    backbone = Counting()
    backbone.forward = backbone.frames
    embedder = Embedder(backbone, BNNeck(8, True))
    losses = {"TripletLoss": TripletLoss(), "CrossEntropyLoss": CrossEntropyLoss(8, 4)}
    weights = dict.fromkeys(losses, 1.0)
    results = []
    for micro_batch in (0, 3):
        objective = Objective(losses, weights, micro_batch=micro_batch)
        embedder.zero_grad()
        found = objective(embedder, batch)
        sum(found.values()).backward()
        grads = [p.grad.clone() for p in embedder.parameters() if p.requires_grad]
        results.append([*found.values(), *grads])
    assert len(results[0]) == 5  # two losses, the weight and bias of linear, the weight of the neck
    for whole, parts in zip(*results, strict=True):
        assert torch.allclose(whole, parts, atol=1e-6)


def test_without_gradients_nothing_is_computed_again():
    net = Counting()
    with torch.no_grad():
        assert in_parts(net, images(), 4).shape == (7, 8)
    assert net.sizes == [4, 3]


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (32, 31, [16, 16]),  # not 31 and 1, which batch norm could not see
        (5, 2, [3, 2]),
        (4, 1, [2, 2]),
        (3, 1, [3]),
        (1, 8, [1]),
        (1600, 64, [64] * 25),
    ],
)
def test_no_part_is_a_single_row(count, size, sizes):
    net = Counting()
    with torch.no_grad():
        in_parts(net, images(count), size)
    assert net.sizes == sizes
