"""Pairwise distances, against a loop over pairs and on paper."""

from itertools import pairwise as neighbours

import pytest
import torch

from reidtools.ops.distances import DISTANCES, chunks, nearest, paired, pairwise, triangle

NAIVE = {
    "arccos": lambda a, b: torch.arccos(a @ b / (a.norm() * b.norm())),
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
    least = 0.0045 if metric == "arccos" else 1.1e-6  # the angle of a cosine 1e-5 below 1
    torch.testing.assert_close(distances, torch.zeros_like(distances), atol=least, rtol=0)
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


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_chunks_are_the_rows_of_the_whole_and_may_be_written_into(metric):
    a, b = vectors(700, 5), vectors(400, 6)
    whole = pairwise(a, b, metric)
    for memory_mb, count in ((0, 700), (1, 3), (99, 1)):
        seen = []
        for rows, part in chunks(a, b, metric, memory_mb):
            torch.testing.assert_close(part, whole[rows], atol=1e-9, rtol=1e-9)
            assert part.numel() * part.element_size() <= max(memory_mb * 2**20, 400 * 8)
            part.fill_(torch.nan)
            seen.append(rows)
        assert len(seen) == count and seen[0].start == 0 and seen[-1].stop == 700
        assert all(one.stop == after.start for one, after in neighbours(seen))


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_a_triangle_is_the_upper_half(metric):
    a = vectors(300, 9)
    whole = pairwise(a, a, metric)
    for memory_mb in (0, 99):
        last = 0
        for rows, part in triangle(a, metric, memory_mb):
            torch.testing.assert_close(part, whole[rows, rows.start :], atol=1e-5, rtol=1e-9)
            assert rows.start == last
            last = rows.stop
            part.fill_(torch.nan)
        assert last == 300


def test_chunks_of_nothing():
    assert not list(chunks(torch.ones(0, 4), torch.ones(3, 4)))
    ((_, part),) = chunks(torch.ones(2, 4), torch.ones(0, 4))
    assert part.shape == (2, 0)


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_paired_is_the_diagonal(metric):
    a, b = vectors(5, 7), vectors(5, 8)
    torch.testing.assert_close(paired(a, b, metric), pairwise(a, b, metric).diagonal())


@pytest.mark.parametrize("k", [1, 4, 30, 31, 99])
def test_nearest_is_the_head_of_a_stable_sort(k):
    generator = torch.Generator().manual_seed(k)
    for high in (3, 1000):  # many equal values, few
        distances = torch.randint(0, high, (50, 31), generator=generator).float()
        values, columns = nearest(distances, k)
        expected = distances.sort(dim=1, stable=True)
        assert torch.equal(columns, expected.indices[:, :k])
        assert torch.equal(values, expected.values[:, :k])
