"""IPG: features fused with those of generated pictures, by hand and by a naive loop."""

import math

import pytest
import torch

from reidtools.evaluation import Vectors, fuse_generated


def unnamed(rows):
    rows = torch.as_tensor(rows, dtype=torch.float64)
    return Vectors(rows, [1] * len(rows), [0] * len(rows))


def test_the_mean_of_two_poses_by_hand():
    """(1, 0) + 2 * ((0, 2) + (2, 0)) / 2 = (3, 2)."""
    poses = [(unnamed([[0, 2]]), [0]), (unnamed([[2, 0]]), [0])]
    (fused,) = fuse_generated(unnamed([[1, 0]]), poses).vectors.tolist()
    assert fused == pytest.approx([3 / math.sqrt(13), 2 / math.sqrt(13)])


def test_the_sum_by_hand():
    """As the README of Pose2ID: (1, 0) + 1 * ((0, 2) + (2, 0)) = (3, 2), the same here."""
    poses = [(unnamed([[0, 2]]), [0]), (unnamed([[2, 0]]), [0])]
    (fused,) = fuse_generated(unnamed([[1, 0]]), poses, eta=1, reduce="sum").vectors.tolist()
    assert fused == pytest.approx([3 / math.sqrt(13), 2 / math.sqrt(13)])


def test_lengths_count():
    """A generated feature ten times as long pulls ten times as much: (1, 0) + 1 * (0, 10)."""
    fused = fuse_generated(unnamed([[1, 0]]), [(unnamed([[0, 10]]), [0])], eta=1).vectors
    assert fused[0, 1] / fused[0, 0] == pytest.approx(10)


def test_a_missing_picture_is_the_original():
    """Row 0 has the second pose only: (1, 0) + 2 * ((1, 0) + (0, 1)) / 2 = (2, 1); row 1 none."""
    poses = [(None, []), (unnamed([[0, 1]]), [0])]
    fused = fuse_generated(unnamed([[1, 0], [0, 3]]), poses).vectors
    assert fused[0].tolist() == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5)])
    assert fused[1].tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize("reduce", ["mean", "sum"])
def test_it_is_the_naive_loop(reduce):
    generator = torch.Generator().manual_seed(0)
    own = unnamed(torch.randn(12, 5, generator=generator, dtype=torch.float64))
    made = torch.randn(8, 12, 5, generator=generator, dtype=torch.float64)
    there = torch.rand(8, 12, generator=generator) < 0.7
    rows = [there[p].nonzero().flatten().tolist() for p in range(8)]
    poses = ((unnamed(made[p, rows[p]]), rows[p]) for p in range(8))  # one at a time
    fused = fuse_generated(own, poses, eta=0.7, reduce=reduce)
    for i, f in enumerate(own.vectors):
        parts = torch.stack([made[p, i] if there[p, i] else f for p in range(8)])
        wanted = f + 0.7 * (parts.mean(0) if reduce == "mean" else parts.sum(0))
        assert torch.allclose(fused.vectors[i], wanted / wanted.norm())
    assert torch.equal(fused.pids, own.pids)


def test_eta_0_only_normalises_and_what_was_given_stays():
    own = unnamed([[3, 4]])
    assert fuse_generated(own, [(unnamed([[9, 9]]), [0])], eta=0).vectors.tolist() == [[0.6, 0.8]]
    assert own.vectors.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("poses", "options", "error", "message"),
    [
        ([], {}, ValueError, "no pose"),
        ([(unnamed([[1, 2, 3]]), [0])], {}, ValueError, "2 dimensions, .* 3; embed both"),
        ([(unnamed([[1, 2]]), [0, 1])], {}, ValueError, "1 generated pictures names 2 rows"),
        ([(unnamed([[1, 2], [3, 4]]), [0, 0])], {}, ValueError, "none twice"),
        ([(unnamed([[1, 2]]), [2])], {}, ValueError, "names 1 rows of 2"),
        ([(unnamed([[1, 2]]), [0])], {"eta": -1.0}, ValueError, "eta is -1"),
        ([(unnamed([[1, 2]]), [0])], {"reduce": "means"}, LookupError, "Did you mean 'mean'"),
    ],
)
def test_what_does_not_fit_is_refused(poses, options, error, message):
    with pytest.raises(error, match=message):
        fuse_generated(unnamed([[1, 0], [0, 1]]), poses, **options)
