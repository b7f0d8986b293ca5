"""Focal loss, against arithmetic one can do on paper."""

import math

import pytest
import torch

from reidtools.losses import FocalLoss
from reidtools.losses.cross_entropy import cross_entropy
from reidtools.losses.focal import focal_loss

LOGITS = torch.tensor([[math.log(6.0), math.log(3.0), 0.0]] * 2)  # probabilities 0.6, 0.3, 0.1
PIDS = torch.tensor([0, 2])


def test_what_is_right_already_counts_less():
    expected = -0.25 * (0.4**2 * math.log(0.6) + 0.9**2 * math.log(0.1)) / 2
    assert focal_loss(LOGITS, PIDS, 0.25, 2.0).item() == pytest.approx(expected)


def test_without_gamma_it_is_alpha_times_cross_entropy():
    expected = cross_entropy(LOGITS, PIDS, epsilon=0, variant="uniform", alpha=0)
    assert focal_loss(LOGITS, PIDS, 0.5, 0.0).item() == pytest.approx(expected.item() / 2)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_certainty_costs_nothing_and_has_a_finite_gradient(gamma):
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0]), 0.25, gamma)
    loss.backward()
    assert loss == 0 and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_gradient_is_the_slope(gamma):
    logits = LOGITS.double().requires_grad_()
    torch.autograd.gradcheck(lambda x: focal_loss(x, PIDS, 0.25, gamma), logits)


def test_the_loss_classifies_the_embeddings():
    loss = FocalLoss(3, 3, alpha=0.5, gamma=1.0)
    torch.nn.init.eye_(loss.classifier.weight)
    assert loss(LOGITS, PIDS).item() == pytest.approx(focal_loss(LOGITS, PIDS, 0.5, 1.0).item())
    assert loss.figures == {"top1": 0.5}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 0.0}, "alpha is 0.0; choose a factor above 0"),
        ({"gamma": -1.0}, "gamma is -1.0; choose one of 0 or above"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        FocalLoss(4, 3, **options)


def test_one_person_cannot_be_told_apart():
    with pytest.raises(ValueError, match="at least 2"):
        FocalLoss(4, 1)
