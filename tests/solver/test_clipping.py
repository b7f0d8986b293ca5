"""Gradients (3, 4) and (0, 12): lengths 5 and 12, together 13."""

import pytest
import torch

from reidtools.solver import make_clipper


def clipped(**options):
    weights = [torch.zeros(2, requires_grad=True) for _ in range(3)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 12.0])
    make_clipper(**options)(weights)
    assert weights[2].grad is None  # a weight that took no part
    return [weight.grad.tolist() for weight in weights[:2]]


def test_norm_shortens_all_gradients_by_one_factor():
    halves = clipped(clip_type="norm", clip_value=6.5)
    assert halves == [pytest.approx([1.5, 2]), pytest.approx([0, 6])]


def test_gradients_that_are_short_enough_stay():
    for kind in ("norm", "norm_each", "value"):
        assert clipped(clip_type=kind, clip_value=13.5) == [[3, 4], [0, 12]]


def test_norm_each_shortens_every_gradient_by_itself():
    """As FastReID's norm does: only the second is longer than 6."""
    found = clipped(clip_type="norm_each", clip_value=6)
    assert found == [[3, 4], pytest.approx([0, 6])]


def test_value_cuts_every_number():
    assert clipped(clip_type="value", clip_value=3.5) == [[3, 3.5], [0, 3.5]]


def test_the_norm_may_be_another():
    """The largest number is 12, and the sum of sizes is 19."""
    largest = clipped(clip_value=6, norm_type=float("inf"))
    assert largest == [pytest.approx([1.5, 2]), pytest.approx([0, 6])]
    total = clipped(clip_value=9.5, norm_type=1)
    assert total == [pytest.approx([1.5, 2]), pytest.approx([0, 6])]


def test_it_is_5_by_length_if_nothing_is_said():
    assert clipped() == clipped(clip_type="norm", clip_value=5.0, norm_type=2.0)


@pytest.mark.parametrize("options", [{"clip_value": 0}, {"norm_type": -1}])
def test_what_leaves_nothing_is_refused(options):
    with pytest.raises(ValueError, match=r"above 0.*ENABLED"):
        make_clipper(**options)


def test_a_slip_in_the_name_is_told():
    with pytest.raises(LookupError, match="Did you mean 'norm'"):
        make_clipper(clip_type="nrom")
