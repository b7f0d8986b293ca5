"""Margin softmax as FastReID, CLIP-ReID and TransReID compute it (tests/golden/README.md)."""

import pytest
import torch
from golden_losses import arrays, assert_gradients, assert_value, each_of, matching
from torch import nn

from reidtools.losses import CrossEntropyLoss

CASES = matching(
    r"fastreid\.(Linear|\w+Softmax)_|(clip|trans)reid\.(Arc[fF]ace|Cosface|CircleLoss|AMSoftmax)"
)
each_entry = each_of(CASES)
LAYERS = {  # their words -> ours
    "Arcface": "ArcFace",
    "Cosface": "CosSoftmax",
    "AMSoftmax": "CosSoftmax",
    "CircleLoss": "CircleSoftmax",
}


def loss_of(entry, weights):
    """The loss of an entry, with its classifier's weights."""
    project, name = entry["id"].split(".")[:2]
    params, name = entry["params"], name.split("_")[0]
    # FastReID's values have smoothed labels, those of the others do not.
    smoothing = {"epsilon": 0.1, "variant": "fastreid"} if project == "fastreid" else {"epsilon": 0}
    loss = CrossEntropyLoss(
        64,
        10,
        cls_layer=LAYERS.get(name, name),
        scale=params.get("scale", params.get("s")),
        margin=params.get("margin", params.get("m")),
        easy_margin="_easy" in entry["id"],
        **smoothing,
    )
    loss.classifier.weight = nn.Parameter(weights.detach())
    return loss


def test_no_entry_is_forgotten():
    assert len(CASES) == 10 + 12 + 12


@each_entry
def test_value_and_gradient(entry):
    (features, weights), pids = arrays(entry, torch.float64)
    loss = loss_of(entry, weights)
    value = loss(features, pids)
    assert_value(entry, value)
    value.backward()
    assert_gradients(entry, [features.grad, loss.classifier.weight.grad])


@each_entry
def test_value_in_single_precision(entry):
    (features, weights), pids = arrays(entry, torch.float32)
    assert_value(entry, loss_of(entry, weights)(features, pids))


@each_entry
def test_logits(entry):
    """Of ``Xg``, rows 0 and 5 are opposite to their person's weights."""
    (features, weights), pids = arrays(entry, torch.float64)
    classifier, expected = loss_of(entry, weights).classifier, entry["expect"]
    logits = classifier.logits(classifier(features), pids).detach()
    for row in (0, 5):
        told = expected[f"logits_row{row}"]
        assert logits[row].tolist() == pytest.approx(told, rel=1e-8, abs=1e-8)
    assert logits.sum().item() == pytest.approx(expected["logits_sum"], rel=1e-8)
    assert logits.norm().item() == pytest.approx(expected["logits_l2"], rel=1e-8)
