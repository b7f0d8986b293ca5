"""Batch-hard triplets on a line, where distances are differences."""

import math

import pytest
import torch

from reidtools.losses import TripletLoss
from reidtools.losses.triplet import hardest, weighted

LINE = torch.tensor([[0.0, 0], [1, 0], [3, 0], [4, 0]])  # two people, two pictures each
PIDS = torch.tensor([0, 0, 1, 1])
# Everybody's own other picture is 1 away; strangers are 3, 2, 2, 3 away.


def test_hinge_on_a_line():
    loss = TripletLoss(margin=3.0)(LINE, PIDS)
    assert loss.item() == pytest.approx((1 + 2 + 2 + 1) / 4)


def test_margin_zero_is_the_soft_margin():
    near, far = math.log1p(math.exp(1 - 2)), math.log1p(math.exp(1 - 3))
    assert TripletLoss(margin=0)(LINE, PIDS).item() == pytest.approx((near + far) / 2)


def test_squared_distances():
    loss = TripletLoss(margin=5.0, distance="squared_euclidean")(LINE, PIDS)
    assert loss.item() == pytest.approx((0 + 2 + 2 + 0) / 4)  # 1 - 9 + 5 < 0, 1 - 4 + 5 = 2


def test_cosine_sees_directions_only():
    features = torch.tensor([[1.0, 0], [0, 5], [-2, 0], [-3, 0]])
    # ap: 1, 1, 0, 0; an: 2, 1, 1, 1
    loss = TripletLoss(margin=0.5, distance="cosine")(features, PIDS)
    assert loss.item() == pytest.approx((0 + 0.5 + 0 + 0) / 4)


def test_norm_feat_puts_features_on_the_unit_sphere():
    features = torch.tensor([[9.0, 0], [0, 5], [-2, 0], [-3, 0]])
    # ap: 2, 2, 0, 0; an: 4, 2, 2, 2 (squared distances between unit vectors)
    loss = TripletLoss(margin=1, distance="squared_euclidean", norm_feat=True)(features, PIDS)
    assert loss.item() == pytest.approx((0 + 1 + 0 + 0) / 4)


def test_hard_factor_stretches_positives_and_shrinks_negatives():
    loss = TripletLoss(margin=1.0, hard_factor=0.5)(LINE, PIDS)
    assert loss.item() == pytest.approx((1.0 + 1.5 + 1.5 + 1.0) / 4)  # 1.5 - 1.5 + 1, 1.5 - 1 + 1


def test_weighted_means_replace_the_extremes():
    # Anchor at 0: own distances 0 and 1, strangers at 3 and 4.
    e = math.exp
    ap = e(1) / (e(0) + e(1))
    an_outer = (3 * e(-3) + 4 * e(-4)) / (e(-3) + e(-4))
    an_inner = (2 * e(-2) + 3 * e(-3)) / (e(-2) + e(-3))
    expected = 5 + ap - (an_outer + an_inner) / 2
    loss = TripletLoss(margin=5.0, hard_mining=False)(LINE, PIDS)
    assert loss.item() == pytest.approx(expected, rel=1e-4)  # the published weights add 1e-6


@pytest.mark.parametrize("counts", [[4, 4, 4], [1, 2, 5, 3], [1, 1, 1, 1]])
def test_agrees_with_a_naive_loop(counts):
    generator = torch.Generator().manual_seed(7)
    pids = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    pids = pids[torch.randperm(len(pids), generator=generator)]
    features = torch.randn(len(pids), 6, generator=generator, dtype=torch.float64)
    total = 0.0
    for i, anchor in enumerate(features):
        own = [(anchor - features[j]).norm().item() for j in range(len(pids)) if pids[j] == pids[i]]
        strangers = [
            (anchor - features[j]).norm().item() for j in range(len(pids)) if pids[j] != pids[i]
        ]
        total += max(0.0, max(own) - min(strangers) + 1.5)
    loss = TripletLoss(margin=1.5)(features, pids)
    assert loss.item() == pytest.approx(total / len(pids), rel=1e-5)


def test_a_person_alone_still_repels_strangers():
    loss = TripletLoss(margin=3.0)(LINE[:3], torch.tensor([0, 0, 1]))
    # 1 - 3 + 3, 1 - 2 + 3, 0 - 2 + 3
    assert loss.item() == pytest.approx((1 + 2 + 1) / 3, rel=1e-5)


@pytest.mark.parametrize("hard_mining", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_a_batch_of_one_person_has_no_loss_and_no_gradient(hard_mining, margin):
    features = LINE.clone().requires_grad_()
    loss = TripletLoss(margin=margin, hard_mining=hard_mining)(features, torch.zeros(4).long())
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


def test_hardest_compares_two_different_sets():
    distances = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    positive = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0]]).bool()
    negative = torch.tensor([[0, 0, 1], [1, 1, 1], [1, 0, 1]]).bool()
    ap, an, usable = hardest(distances, positive, negative)
    assert usable.tolist() == [True, False, True]  # the second has no positive
    assert ap.tolist() == [2, 0, 8]
    assert an.tolist() == [3, 0, 7]


def test_weighted_marks_the_same_anchors_as_usable():
    positive = torch.tensor([[1, 0], [0, 0], [1, 1]]).bool()
    ap, an, usable = weighted(torch.ones(3, 2), positive, ~positive)
    assert usable.tolist() == [True, False, False]
    assert ap.tolist() == pytest.approx([1, 0, 0], abs=1e-4)
    assert an.tolist() == pytest.approx([1, 0, 0], abs=1e-4)


def test_mistakes_are_refused_when_the_loss_is_made():
    with pytest.raises(ValueError, match="choose a positive one, or 0"):
        TripletLoss(margin=-0.3)
    with pytest.raises(LookupError, match="Did you mean 'euclidean'"):
        TripletLoss(distance="euclidian")
