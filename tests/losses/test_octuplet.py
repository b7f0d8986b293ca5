"""Octuplets on a line, against naive loops, and as the authors' library computes them."""

import math

import pytest
import torch
from golden_losses import arrays, assert_gradients, assert_value, each_of, matching

from reidtools.losses.octuplet import OctupletLoss
from reidtools.losses.triplet import TripletLoss
from reidtools.ops.distances import pairwise

HIGH = torch.tensor([[0.0, 0], [1, 0], [5, 0], [6, 0]])  # two people, two pictures each
LOW = torch.tensor([[0.0, 0], [2, 0], [5, 0], [7, 0]])  # the same pictures
PIDS = torch.tensor([0, 0, 1, 1])
TERMS = ("hh", "hl", "lh", "ll")
# Hinges of margin 4, anchor by anchor, on paper.
BY_TERM = {
    "hh": (0 + 1 + 1 + 0) / 4,  # 1 - 5 + 4, 1 - 4 + 4, ...
    "hl": (1 + 1 + 3 + 1) / 4,  # 2 - 5 + 4, 1 - 4 + 4, 2 - 3 + 4, 1 - 4 + 4
    "lh": (0 + 3 + 1 + 0) / 4,  # 1 - 5 + 4, 2 - 3 + 4, 1 - 4 + 4, 2 - 6 + 4
    "ll": (1 + 3 + 3 + 1) / 4,  # 2 - 5 + 4, 2 - 3 + 4, ...
}


def only(*terms, **options):
    return OctupletLoss(**{term: term in terms for term in TERMS}, **options)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_on_a_line(term):
    loss = only(term, margin=4.0)(HIGH, LOW, PIDS)
    assert loss.item() == pytest.approx(BY_TERM[term])


def test_terms_add_up():
    loss = OctupletLoss(margin=4.0)(HIGH, LOW, PIDS)
    assert loss.item() == pytest.approx(sum(BY_TERM.values()))
    loss = only("hl", "ll", margin=4.0)(HIGH, LOW, PIDS)
    assert loss.item() == pytest.approx(BY_TERM["hl"] + BY_TERM["ll"])


def test_an_own_picture_at_low_resolution_is_no_positive():
    far = LOW.clone()
    far[0] = torch.tensor([-50.0, 0])  # positive of picture 1 only; picture 0 keeps |0 - 2|
    assert only("hl", margin=4.0)(HIGH, far, PIDS).item() == pytest.approx((1 + 51 + 3 + 1) / 4)


def test_margin_zero_is_the_soft_margin():
    loss = only("hh", margin=0.0)(HIGH, LOW, PIDS)
    near, far = math.log1p(math.exp(1 - 4)), math.log1p(math.exp(1 - 5))
    assert loss.item() == pytest.approx((near + far) / 2)


def test_a_person_alone_still_repels_strangers():
    loss = only("hh", margin=6.0)(HIGH[:3], LOW[:3], PIDS[:3])
    assert loss.item() == pytest.approx((2 + 3 + 2) / 3)  # 1 - 5 + 6, 1 - 4 + 6, 0 - 4 + 6


def test_a_batch_of_one_person_has_no_loss_and_no_gradient():
    high, low = HIGH.clone().requires_grad_(), LOW.clone().requires_grad_()
    loss = OctupletLoss(margin=25.0)(high, low, torch.zeros(4).long())
    loss.backward()
    assert loss.item() == 0
    assert high.grad.abs().sum() == low.grad.abs().sum() == 0


def test_equal_resolutions_are_the_triplet_loss_four_times():
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
    pids = torch.arange(4).repeat(2)
    loss = OctupletLoss(margin=0.3)(features, features, pids)
    triplet = TripletLoss(margin=0.3)(features, pids)
    assert loss.item() == pytest.approx(4 * triplet.item(), rel=1e-4)


def naive(high, low, pids, terms, margin, distance):
    views, everyone, total = {"h": high, "l": low}, range(len(pids)), 0.0

    def apart(a, b):
        return pairwise(a[None], b[None], distance).item()

    for anchors, others in terms:
        for i in everyone:
            gaps = [apart(views[anchors][i], views[others][j]) for j in everyone]
            own = [gaps[j] for j in everyone if j != i and pids[j] == pids[i]]
            strangers = [gaps[j] for j in everyone if pids[j] != pids[i]]
            total += max(0.0, max(own, default=0.0) - min(strangers) + margin) / len(pids)
    return total


@pytest.mark.parametrize("terms", [TERMS, ("hl",), ("lh", "ll")])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("counts", [[4, 4, 4], [1, 2, 5, 3]])
def test_agrees_with_a_naive_loop(counts, distance, terms):
    generator = torch.Generator().manual_seed(7)
    pids = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    pids = pids[torch.randperm(len(pids), generator=generator)]
    high = torch.randn(len(pids), 6, generator=generator, dtype=torch.float64)
    low = high + 0.5 * torch.randn(len(pids), 6, generator=generator, dtype=torch.float64)
    loss = only(*terms, margin=0.7, distance=distance)(high, low, pids)
    expected = naive(high, low, pids, terms, 0.7, distance)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("fill", [0.0, 0.3])
def test_identical_features_have_a_finite_gradient(fill, distance):
    high, low = (torch.full((6, 5), fill, requires_grad=True) for _ in range(2))
    loss = OctupletLoss(margin=0.5, distance=distance)(high, low, torch.tensor([0, 0, 0, 1, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(2.0, abs=1e-2)
    assert torch.isfinite(high.grad).all() and torch.isfinite(low.grad).all()


def test_mistakes_are_refused_when_the_loss_is_made():
    with pytest.raises(ValueError, match="choose a positive one, or 0"):
        OctupletLoss(margin=-25)
    with pytest.raises(LookupError, match="Did you mean 'euclidean'"):
        OctupletLoss(distance="euclidian")
    with pytest.raises(ValueError, match="switch on hh, hl, lh or ll"):
        OctupletLoss(hh=False, hl=False, lh=False, ll=False)


def test_views_of_different_pictures_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 2\), low_features \(3, 2\); give both of the same"):
        OctupletLoss()(HIGH, LOW[:3], PIDS)


# Golden numbers (tests/golden/README.md).

CASES = matching(r"octuplet\.")
each_entry = each_of(CASES)
METRICS = {"euclidean_squared": "squared_euclidean"}


def golden(entry, dtype):
    """The value of an entry, and the inputs it was computed from."""
    params, (inputs, pids) = entry["params"], arrays(entry, dtype)
    loss = OctupletLoss(
        margin=params["margin"],
        distance=METRICS.get(params["metric"], params["metric"]),
        **dict(zip(TERMS, params["configuration"], strict=True)),
    )
    return loss(*inputs, pids), inputs


def test_no_entry_is_forgotten():
    assert len(CASES) == 15


@each_entry
def test_value_and_gradient(entry):
    value, inputs = golden(entry, torch.float64)
    assert_value(entry, value)
    gradients = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
    assert_gradients(entry, gradients)


@each_entry
def test_value_in_single_precision(entry):
    value, _ = golden(entry, torch.float32)
    assert_value(entry, value)


def toy(rows, phase):
    """The toy features of the engineering specification: sin(0.7 (i+1)(j+1) + k)(1 + 0.1 i)."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(5)[None]
    return torch.sin(0.7 * (i + 1) * (j + 1) + phase) * (1 + 0.1 * i)


TOY = toy(12, 0.3), 0.9 * toy(12, 0.45), torch.arange(3).repeat_interleave(4)


@pytest.mark.parametrize(
    ("terms", "value"),
    [
        (TERMS, 108.020153328),
        (("hh",), 27.096175145),
        (("hl",), 26.974615666),
        (("lh",), 27.029810037),
        (("ll",), 26.919552480),
    ],
)
def test_terms_of_the_toy_features(terms, value):
    assert only(*terms, margin=25.0)(*TOY).item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("margin", "distance", "value"),
    [
        (0.5, "euclidean", 10.020153328),
        (0.5, "squared_euclidean", 49.209387053),
        (0.3, "cosine", 5.005355926),
    ],
)
def test_toy_features(margin, distance, value):
    loss = OctupletLoss(margin=margin, distance=distance)
    assert loss(*TOY).item() == pytest.approx(value, abs=1e-9)
