"""Pairwise distances, against a loop over pairs and on paper."""

import pytest
import torch

from reidtools.ops.distances import DISTANCES, pairwise

NAIVE = {
    "euclidean": lambda a, b: (a - b).norm(),
    "squared_euclidean": lambda a, b: (a - b).pow(2).sum(),
    "cosine": lambda a, b: 1 - a @ b / (a.norm() * b.norm()),
}


def vectors(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 7, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_agrees_with_a_naive_loop(metric):
    a, b = vectors(4, 0), vectors(6, 1)
    expected = torch.stack([torch.stack([NAIVE[metric](x, y) for y in b]) for x in a])
    torch.testing.assert_close(pairwise(a, b, metric), expected)


def test_on_paper():
    a, b = torch.tensor([[0.0, 3], [4, 0]]), torch.tensor([[0.0, 3], [4, 0], [0, -3]])
    assert pairwise(a, b, "squared_euclidean").tolist() == [[0, 25, 36], [25, 0, 25]]
    torch.testing.assert_close(
        pairwise(a, b), torch.tensor([[0.0, 5, 6], [5, 0, 5]]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(pairwise(a, b, "cosine"), torch.tensor([[0.0, 1, 2], [1, 0, 1]]))


def test_euclidean_is_the_default():
    a, b = vectors(2, 2), vectors(3, 3)
    assert torch.equal(pairwise(a, b), pairwise(a, b, "euclidean"))


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_a_vector_is_at_distance_nought_from_itself_with_a_finite_gradient(metric):
    a = torch.ones(3, 5, dtype=torch.float64).requires_grad_()
    distances = pairwise(a, a, metric)
    torch.testing.assert_close(distances, torch.zeros_like(distances), atol=1.1e-6, rtol=0)
    distances.sum().backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean"])
def test_rounding_never_makes_a_distance_negative(metric):
    a = 1000 + torch.randn(50, 64, generator=torch.Generator().manual_seed(4))
    assert (pairwise(a, a, metric) >= 0).all()


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_a_vector_of_zeros_has_a_distance(metric):
    assert torch.isfinite(pairwise(torch.zeros(1, 4), torch.ones(2, 4), metric)).all()


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_an_empty_gallery_has_no_columns(metric):
    assert pairwise(torch.ones(2, 4), torch.ones(0, 4), metric).shape == (2, 0)


def test_an_unknown_metric_is_refused_with_a_suggestion():
    with pytest.raises(LookupError, match="Did you mean 'cosine'"):
        pairwise(torch.ones(1, 2), torch.ones(1, 2), "cosin")
