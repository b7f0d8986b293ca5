"""Principal components: by hand, against the eigenvectors of the covariance, at the edges."""

import numpy as np
import pytest
import torch

from reidtools.ops import pca


def vectors(count, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator) * torch.arange(1, dim + 1) + 7


def test_by_hand():
    """Three points on a line along (3, 4), and nothing beside it."""
    found = pca.fit(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]), 2)
    assert torch.allclose(found.mean, torch.tensor([3.0, 4.0]).double())
    assert torch.allclose(found.components[0], torch.tensor([0.6, 0.8]).double())
    assert torch.allclose(found.variances, torch.tensor([25.0, 0.0]).double())  # (25 + 0 + 25) / 2
    assert torch.allclose(found.transform([[9.0, 12.0]])[:, 0], torch.tensor([10.0]).double())


@pytest.mark.parametrize(("count", "dim"), [(40, 6), (6, 40), (7, 6), (6, 6)])
def test_they_are_the_eigenvectors_of_the_covariance(count, dim):
    given = vectors(count, dim)
    kept = min(count - 1, dim)
    found = pca.fit(given, kept)
    values, axes = np.linalg.eigh(np.cov(given.double().numpy().T))
    assert np.allclose(found.variances, values[::-1][:kept])
    expected = axes.T[::-1][:kept]
    signs = np.sign(np.take_along_axis(expected, abs(expected).argmax(1)[:, None], 1))
    assert np.allclose(found.components, expected * signs, atol=1e-7)
    assert torch.allclose(found.components @ found.components.T, torch.eye(kept).double())
    places = found.transform(given)
    assert places.dtype == torch.double
    assert torch.allclose(places.var(0), found.variances)


def test_all_components_lose_nothing():
    given = vectors(5, 30)
    found = pca.fit(given, 4)
    back = found.transform(given) @ found.components + found.mean
    assert torch.allclose(back, given.double())


def test_the_largest_value_of_an_axis_is_positive():
    for seed in range(5):
        axes = pca.fit(vectors(20, 5, seed), 5).components
        assert (axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all()


def test_small_variances_do_not_drown():
    """Far from zero, and with an axis a hundred million times as narrow as the other."""
    line = torch.arange(10.0).double()
    wiggle = torch.tensor([1.0, -1] * 5).double() * 1e-8
    found = pca.fit(torch.stack([line, wiggle], 1) + 1e3, 2)
    assert found.variances[1].item() == pytest.approx(wiggle.var().item(), rel=0.05)


@pytest.mark.parametrize(("count", "dim", "kept"), [(3, 8, 2), (9, 4, 4), (200, 150, 128)])
def test_there_are_as_many_as_there_can_be(count, dim, kept):
    assert pca.fit(vectors(count, dim), 128).components.shape == (kept, dim)


def test_equal_vectors_lie_on_one_point():
    found = pca.fit(torch.ones(4, 3), 2)
    assert found.variances.tolist() == [0, 0]
    assert found.transform(torch.ones(2, 3)).abs().max() == 0


def test_mistakes():
    for wrong in (torch.ones(1, 4), torch.ones(4), torch.ones(3, 0)):
        with pytest.raises(ValueError, match="two or more"):
            pca.fit(wrong, 2)
    with pytest.raises(ValueError, match="1 or more"):
        pca.fit(torch.ones(3, 4), 0)
    with pytest.raises(ValueError, match="no numbers"):
        pca.fit(torch.tensor([[1.0], [float("nan")]]), 1)
    with pytest.raises(ValueError, match=r"4 values, and the vectors given are \(2, 5\)"):
        pca.fit(torch.eye(4), 2).transform(torch.ones(2, 5))
