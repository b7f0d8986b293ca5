"""Centre loss, and how the centres follow."""

import pytest
import torch

from reidtools.losses import CenterLoss
from reidtools.losses.center import center_loss

FEATURES = torch.tensor([[1.0, 0], [3, 0], [0, 2]])
PIDS = torch.tensor([0, 0, 1])


def at_the_origin(**options):
    loss = CenterLoss(2, 3, **options)
    loss.centers.zero_()
    return loss


def test_mean_squared_distance_to_the_own_centre():
    assert at_the_origin()(FEATURES, PIDS).item() == pytest.approx((1 + 9 + 4) / 3)


def test_squares_stay_within_bounds():
    centers = torch.tensor([[0.0], [0.0]])
    near_and_far = torch.tensor([[0.0], [1e7]])
    loss = center_loss(near_and_far, centers, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((1e-12 + 1e12) / 2)


def test_centres_take_a_step_towards_their_pictures():
    loss = at_the_origin(lr=0.5)
    loss(FEATURES, PIDS)
    # c + lr * 2 / B * sum(f - c): (1 + 3) / 3 and 2 / 3; nobody pulls the third.
    expected = torch.tensor([[4 / 3, 0], [0, 2 / 3], [0, 0]])
    torch.testing.assert_close(loss.centers, expected)


def test_the_step_is_that_of_sgd_on_the_unweighted_loss():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(12, 5, generator=generator)
    pids = torch.tensor([0, 1, 2, 3, 0, 0, 2, 2, 2, 1, 5, 5])
    loss = CenterLoss(5, 6, lr=0.3)
    centers = loss.centers.clone().requires_grad_()
    sgd = torch.optim.SGD([centers], lr=0.3)
    for _ in range(3):
        sgd.zero_grad()
        center_loss(features, centers, pids).backward()
        sgd.step()
        loss(features, pids)
    torch.testing.assert_close(loss.centers, centers.detach())


def test_the_loss_and_its_gradient_are_of_the_centres_before_the_step():
    features = FEATURES.clone().requires_grad_()
    loss = at_the_origin()
    value = loss(features, PIDS)
    value.backward()
    torch.testing.assert_close(features.grad, 2 * FEATURES / 3)
    assert loss(FEATURES, PIDS) < value


def test_centres_rest_in_evaluation_and_at_rate_zero():
    resting, frozen = at_the_origin().eval(), at_the_origin(lr=0)
    resting(FEATURES, PIDS)
    frozen(FEATURES, PIDS)
    assert resting.centers.abs().sum() == frozen.centers.abs().sum() == 0


def test_centres_are_saved_but_are_no_weights_of_the_optimizer():
    loss = CenterLoss(4, 7)
    assert not list(loss.parameters())
    assert loss.state_dict()["centers"].shape == (7, 4)


def test_centres_are_drawn_from_the_seeded_normal_distribution():
    torch.manual_seed(3)
    first = CenterLoss(64, 64).centers
    torch.manual_seed(3)
    assert torch.equal(first, CenterLoss(64, 64).centers)
    assert first.mean().item() == pytest.approx(0, abs=0.05)
    assert first.std().item() == pytest.approx(1, abs=0.05)


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="choose 0 or more"):
        CenterLoss(2, 3, lr=-0.5)
