"""Computed again on the way back: nobody notices, but the memory."""

import pytest
import torch
from torch import nn

from reidtools.ops.recompute import again


class Net(nn.Module):
    """Counts how often it is called."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(dropout), nn.Tanh()
        )
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layers(x)

    def half(self, x, y):
        return self(x) / 2 + y


def net(**options):
    torch.manual_seed(0)
    return Net(**options)


def inputs():
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def backward(model, output):
    output.square().sum().backward()
    return [weight.grad for weight in model.parameters()]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_output_gradients_and_chance_are_those_of_a_plain_call(dropout):
    plain, other = net(dropout=dropout), net(dropout=dropout)
    torch.manual_seed(2)
    expected = plain(inputs())
    torch.manual_seed(2)
    found = again(other, inputs())
    assert torch.equal(found, expected)
    for own, theirs in zip(backward(other, found), backward(plain, expected), strict=True):
        assert torch.equal(own, theirs)
    assert (plain.calls, other.calls) == (1, 2)


def test_chance_goes_on_as_after_a_plain_call():
    """The second computation rewinds the generator; what is drawn after it must not repeat."""
    draws = []
    for call in (lambda model, x: model(x), again):
        model = net(dropout=0.5)
        torch.manual_seed(2)
        backward(model, call(model, inputs()))
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_batch_norms_count_once():
    plain, other = net(), net()
    for _ in range(3):
        backward(plain, plain(inputs()))
        backward(other, again(other, inputs()))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    norm = other.layers[1]
    assert norm.num_batches_tracked == 3 and norm.momentum == 0.1


def test_statistics_that_are_means_of_all_batches_stay_so():
    """Batch norm with momentum None counts batches to know what a batch weighs."""
    plain, other = net(), net()
    for model in (plain, other):
        model.layers[1].momentum = None
    for x in (inputs(), 3 * inputs()):
        backward(plain, plain(x))
        backward(other, again(other, x))
    assert other.layers[1].momentum is None
    for name, tensor in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_another_computation_of_the_module():
    model, more = net(), torch.ones(6, 4, requires_grad=True)
    output = again(model, inputs(), more, call=model.half)
    assert torch.equal(output, net().half(inputs(), more))
    output.sum().backward()
    assert model.calls == 2 and torch.equal(more.grad, torch.ones(6, 4))


def test_without_gradients_it_is_a_plain_call():
    model = net()
    with torch.no_grad():
        assert torch.equal(again(model, inputs()), net()(inputs()))
    assert model.calls == 1
