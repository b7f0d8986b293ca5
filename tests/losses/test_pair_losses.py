"""Circle loss and CosFace on pairs: on paper, as naive loops, and FastReID's numbers."""

import math

import pytest
import torch
from golden_losses import arrays, assert_gradients, assert_value, each_of, matching
from torch.nn import functional as F

from reidtools.losses import CircleLoss, CosFaceLoss

LOSSES = [CircleLoss, CosFaceLoss]
each_loss = pytest.mark.parametrize("loss", LOSSES)
# Cosines: 0.8 within person 0, 0 and 0.6 to person 1, who has one picture.
FEATURES = torch.tensor([[2.0, 0.0], [0.8, 0.6], [0.0, 5.0]])
PIDS = torch.tensor([0, 0, 1])


def test_circle_on_paper():
    """margin 0.25, so that positives should reach 0.75 and negatives 0.25."""
    pull = -2 * (1.25 - 0.8) * (0.8 - 0.75)
    far, near = 2 * (0 + 0.25) * (0 - 0.25), 2 * (0.6 + 0.25) * (0.6 - 0.25)
    expected = (math.log1p(math.exp(pull + far)) + math.log1p(math.exp(pull + near))) / 3
    value = CircleLoss(margin=0.25, gamma=2)(FEATURES, PIDS)
    assert value.item() == pytest.approx(expected)


def test_cosface_on_paper():
    far, near = 2 * (0 - 0.8 + 0.25), 2 * (0.6 - 0.8 + 0.25)
    expected = (math.log1p(math.exp(far)) + math.log1p(math.exp(near))) / 3
    value = CosFaceLoss(margin=0.25, gamma=2)(FEATURES, PIDS)
    assert value.item() == pytest.approx(expected)


def naive(loss, features, pids):
    """The sums of the papers' formulas, one pair at a time."""
    unit, m, g = F.normalize(features), loss.margin, loss.gamma
    cosines, losses = (unit @ unit.T).tolist(), []
    for i, row in enumerate(cosines):
        positives = [s for j, s in enumerate(row) if pids[j] == pids[i] and j != i]
        negatives = [s for j, s in enumerate(row) if pids[j] != pids[i]]
        total = 0.0
        for p in positives:
            for n in negatives:
                if isinstance(loss, CircleLoss):
                    push = max(n + m, 0) * (n - m)
                    pull = max(1 + m - p, 0) * (p - (1 - m))
                    total += math.exp(g * (push - pull))
                else:
                    total += math.exp(g * (n - p + m))
        losses.append(math.log1p(total))
    return sum(losses) / len(losses)


@each_loss
def test_naive_loops_agree(loss):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    pids = torch.tensor([0, 1, 2, 0, 1, 0, 3, 1, 2, 0, 4, 4])
    made = loss(margin=0.3, gamma=5)
    assert made(features, pids).item() == pytest.approx(naive(made, features, pids))


@each_loss
def test_who_has_nobody_to_compare_with_costs_nothing_and_has_no_gradient(loss):
    features = torch.randn(4, 3, requires_grad=True)
    for pids in (torch.zeros(4).long(), torch.arange(4)):  # no negatives; no positives
        value = loss()(features, pids)
        (gradient,) = torch.autograd.grad(value, features)
        assert value == 0 and gradient.count_nonzero() == 0


@each_loss
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"margin": -0.1}, "margin is -0.1; choose one from 0 to below 1"),
        ({"margin": 1.0}, "margin is 1.0; choose one from 0 to below 1"),
        ({"gamma": 0.0}, "gamma is 0.0; choose one above 0"),
        ({"gamma": math.inf}, "gamma is inf; choose one above 0"),
    ],
)
def test_impossible_options_are_refused(loss, options, words):
    with pytest.raises(ValueError, match=words):
        loss(**options)


# Golden numbers (tests/golden/README.md).

CASES = matching(r"fastreid\.pair_")
each_entry = each_of(CASES)


def loss_of(entry):
    return {"circle": CircleLoss, "cosface": CosFaceLoss}[entry["id"].split("_")[1]](
        **entry["params"]
    )


def test_no_entry_is_forgotten():
    assert len(CASES) == 12


@each_entry
def test_value_and_gradient(entry):
    (features,), pids = arrays(entry, torch.float64)
    value = loss_of(entry)(features, pids)
    assert_value(entry, value)
    value.backward()
    assert_gradients(entry, [features.grad])


@each_entry
def test_value_in_single_precision(entry):
    (features,), pids = arrays(entry, torch.float32)
    assert_value(entry, loss_of(entry)(features, pids))
