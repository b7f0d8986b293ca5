"""Contrast of pictures and texts: golden numbers, naive loops and arithmetic on paper."""

from math import exp, log

import pytest
import torch
from golden_losses import INPUTS, arrays, assert_gradients, assert_value, each_of, matching

from reidtools.losses import TripletLoss
from reidtools.losses.contrast import image_to_text, info_nce, supcon
from reidtools.losses.cross_entropy import cross_entropy

CASES = matching(r"clipreid\.(supcon|i2tce)")
TOTALS = matching(r"clipreid\.stage2_total")
each_entry = each_of(CASES + TOTALS)


def golden_loss(entry, inputs, pids):
    """The loss of a golden entry from its whole inputs, all of 32 rows but for the 10 of i2tce."""
    if entry in TOTALS:
        return stage_2(entry["params"], *inputs, pids)
    a, b = inputs
    if entry["id"] == "clipreid.i2tce":
        return image_to_text(a, b, pids, 0.1)
    rows = 9 if entry["id"].endswith("_rect") else len(a)  # as its note says
    return supcon(a[:rows], b, pids[:rows], pids)


def stage_2(params, s0, s1, f0, f1, f2, images, pids):
    """The whole of stage 2: two classifiers, triplets of three features, texts."""
    triplet, options = TripletLoss(margin=params["margin"]), {"variant": "uniform", "alpha": 0.2}
    classified = sum(cross_entropy(s, pids, epsilon=0.1, **options) for s in (s0, s1))
    total = params["w_id"] * classified
    total = total + params["w_tri"] * sum(triplet(f, pids) for f in (f0, f1, f2))
    texts = torch.tensor(INPUTS["Tc"], dtype=images.dtype)
    return total + params["w_i2t"] * image_to_text(images, texts, pids, 0.1)


def test_all_entries_are_here():
    assert len(CASES) == 4 and len(TOTALS) == 2


@each_entry
def test_value_and_gradient_are_those_of_clip_reid(entry):
    inputs, pids = arrays(entry, torch.float64)
    value = golden_loss(entry, inputs, pids)
    assert_value(entry, value)
    value.backward()
    assert_gradients(entry, [array.grad for array in inputs])


@each_entry
def test_value_in_single_precision(entry):
    inputs, pids = arrays(entry, torch.float32)
    assert_value(entry, golden_loss(entry, inputs, pids))


def toy(rows, phase):
    """The toy features of the engineering specification: sin(0.7 (i+1)(j+1) + k)(1 + 0.1 i)."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(5)[None]
    return torch.sin(0.7 * (i + 1) * (j + 1) + phase) * (1 + 0.1 * i)


PICTURES, TEXTS, PIDS = toy(12, 0.3), toy(12, 2.0), torch.arange(3).repeat_interleave(4)


def test_the_toy_features_of_the_specification():
    assert supcon(PICTURES, TEXTS, PIDS, PIDS).item() == pytest.approx(5.563755611, abs=1e-9)
    assert supcon(TEXTS, PICTURES, PIDS, PIDS).item() == pytest.approx(5.499592666, abs=1e-9)
    loss = image_to_text(PICTURES, toy(3, 2.0), PIDS, 0.1)
    assert loss.item() == pytest.approx(2.039547939, abs=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_supcon_is_its_formula_also_where_people_have_unequally_many(temperature):
    a_pids, b_pids = torch.tensor([0, 2, 1, 0]), torch.tensor([1, 0, 0, 2, 0, 2, 3])
    a, b = PICTURES[:4], TEXTS[: len(b_pids)]
    losses = []
    for row, pid in zip(a.tolist(), a_pids, strict=True):
        scores = [sum(x * y for x, y in zip(row, t, strict=True)) / temperature for t in b.tolist()]
        total = sum(exp(score) for score in scores)
        own = [-log(exp(s) / total) for s, p in zip(scores, b_pids, strict=True) if p == pid]
        losses.append(sum(own) / len(own))
    value = supcon(a, b, a_pids, b_pids, temperature)
    assert value.item() == pytest.approx(sum(losses) / 4, rel=1e-12)


def test_a_row_without_a_partner_counts_zero_and_gets_no_gradient():
    a = torch.tensor([[1.0], [1.0]], requires_grad=True)
    b = torch.tensor([[0.0], [log(3)]])
    loss = supcon(a, b, torch.tensor([5, 9]), torch.tensor([4, 5]))
    assert loss.item() == pytest.approx(log(4 / 3) / 2)  # the share of e^(log 3) in 1 + 3 is 3 / 4
    loss.backward()
    assert a.grad[0] != 0 and a.grad[1] == 0


def test_large_scores_stay_finite():
    """CLIP's features are not normalised, and scores above 88 overflow exp in single precision."""
    loss = supcon(100 * PICTURES.float(), 100 * TEXTS.float(), PIDS, PIDS)
    assert loss.isfinite()


def test_image_to_text_by_hand():
    """Shares 3/4 and 1/4; of the target, epsilon 0.2 leaves the own text 0.9 and gives 0.1."""
    images, texts = torch.tensor([[log(3)]]), torch.tensor([[1.0], [0.0]])
    plain = image_to_text(images, texts, torch.tensor([0]), 0.0)
    assert plain.item() == pytest.approx(log(4 / 3))
    smooth = image_to_text(images, texts, torch.tensor([0]), 0.2)
    assert smooth.item() == pytest.approx(0.9 * log(4 / 3) + 0.1 * log(4))


def test_info_nce_by_hand():
    """Cosines [[1, 1], [0, 0]]: rows are split evenly, columns e : 1."""
    a, b = torch.tensor([[2.0, 0], [0, 5]]), torch.tensor([[1.0, 0], [3, 0]])
    rows = log(2)
    columns = (log(1 + exp(-1)) + log(1 + exp(1))) / 2
    assert info_nce(a, b, 1.0).item() == pytest.approx((rows + columns) / 2)
    assert info_nce(b, a, 1.0).item() == pytest.approx((rows + columns) / 2)


def test_info_nce_of_pairs_is_near_zero_and_of_swapped_pairs_is_not():
    pairs = torch.eye(4)
    # Beside e^(1 / 0.07) there are 3 e^0 in each sum.
    assert info_nce(pairs, 7 * pairs, 0.07).item() == pytest.approx(3 * exp(-1 / 0.07), rel=0.1)
    assert info_nce(pairs, pairs.flip(0), 0.07).item() == pytest.approx(1 / 0.07, rel=1e-3)


def test_rows_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match=r"3 and 5 rows to pair"):
        info_nce(torch.eye(3, 8), torch.eye(5, 8), 0.07)
