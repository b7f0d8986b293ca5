"""Pooling a map of four positions, on paper."""

import pytest
import torch

from reidtools.ops.pooling import POOLS, GeMPool, pool_layer

MAP = torch.tensor([[[[1.0, 2], [3, 4]], [[0, 0], [0, 8]]]])  # (1, 2, 2, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("avg", [2.5, 2.0]),
        ("max", [4.0, 8.0]),
        ("gem", [25 ** (1 / 3), 128 ** (1 / 3)]),  # (1 + 8 + 27 + 64) / 4 and 512 / 4
    ],
)
def test_on_paper(name, expected):
    assert pool_layer(name)(MAP)[0].tolist() == pytest.approx(expected)


def test_gem_lies_between_the_mean_and_the_maximum():
    torch.testing.assert_close(GeMPool(p=1.0)(MAP), pool_layer("avg")(MAP))
    torch.testing.assert_close(
        GeMPool(p=60.0)(MAP / 4), pool_layer("max")(MAP / 4), rtol=0.03, atol=0
    )


def test_gem_learns_its_exponent_and_copes_with_negative_values():
    layer = GeMPool()
    layer(-MAP).sum().backward()
    assert layer(-MAP)[0].tolist() == pytest.approx([1e-6, 1e-6])
    assert torch.isfinite(layer.p.grad).all()
    (parameter,) = layer.parameters()
    assert parameter is layer.p


@pytest.mark.parametrize("name", sorted(POOLS))
def test_space_is_gone_afterwards(name):
    assert pool_layer(name)(torch.rand(3, 5, 4, 2)).shape == (3, 5)


def test_an_unknown_layer_is_refused_with_a_suggestion():
    with pytest.raises(LookupError, match="Did you mean 'max'"):
        pool_layer("maxx")
