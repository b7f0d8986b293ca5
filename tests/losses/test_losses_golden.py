"""Values and gradients that public projects gave on seeded inputs (tests/golden/README.md)."""

import pytest
import torch
from golden_losses import arrays, assert_gradients, assert_value, each_of, matching

from reidtools.losses import TripletLoss
from reidtools.losses.center import center_loss
from reidtools.losses.cross_entropy import cross_entropy

# Mock pictures (ctl.triplet_masked) belong to the centroid loss.
CASES = matching(r"\w+\.(ce_|ls_nll|center|triplet_(?!masked))")
each_entry = each_of(CASES)


def loss_of(entry):
    """The loss of a golden entry, as a function of (inputs..., labels)."""
    project, name = entry["id"].split(".", 1)
    params = entry["params"]
    if name.startswith("center"):
        return lambda features, centers, pids: center_loss(features, centers, pids)
    if name.startswith("triplet"):
        return triplet_of(project, params)
    variant = "fastreid" if project == "fastreid" else "uniform"
    epsilon, alpha = params["eps"], params.get("alpha", 0.2)
    return lambda logits, pids: cross_entropy(
        logits, pids, epsilon=epsilon, variant=variant, alpha=alpha
    )


def triplet_of(project, params):
    norm_feat = params.get("norm_feat", params.get("normalize_feature", False))
    distance = params.get("distance", "euclidean")
    if project == "fastreid" and norm_feat:
        distance = "squared_euclidean"
    return TripletLoss(
        margin=params["margin"] or 0.0,
        distance=distance,
        norm_feat=norm_feat,
        hard_mining=params.get("hard_mining", True),
        hard_factor=params.get("hard_factor", 0.0),
    )


def test_no_entry_is_forgotten():
    assert len(CASES) == 139
    assert {entry["id"].split(".")[0] for entry in CASES} == {
        "torchreid",
        "fastreid",
        "clipreid",
        "transreid",
        "ctl",
    }


@each_entry
def test_value_and_gradient(entry):
    inputs, pids = arrays(entry, torch.float64)
    value = loss_of(entry)(*inputs, pids)
    assert_value(entry, value)
    value.backward()
    if entry["id"].endswith(".Xd"):
        return  # duplicates: which of the tied pairs gets the gradient is anybody's choice
    assert_gradients(entry, [array.grad for array in inputs])


@each_entry
def test_value_in_single_precision(entry):
    inputs, pids = arrays(entry, torch.float32)
    assert_value(entry, loss_of(entry)(*inputs, pids))


def toy(rows, phase):
    """The toy features of the engineering specification: sin(0.7 (i+1)(j+1) + k)(1 + 0.1 i)."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(5)[None]
    return torch.sin(0.7 * (i + 1) * (j + 1) + phase) * (1 + 0.1 * i)


TOY, WEIGHTS, TOY_PIDS = toy(12, 0.3), toy(3, 1.1), torch.arange(3).repeat_interleave(4)


@pytest.mark.parametrize(("margin", "value"), [(0.3, 2.396175145), (0.5, 2.596175145)])
def test_triplet_of_the_toy_features(margin, value):
    assert TripletLoss(margin=margin)(TOY, TOY_PIDS).item() == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(("epsilon", "value"), [(0.1, 2.273639866), (0.0, 2.287211503)])
def test_cross_entropy_of_the_toy_features(epsilon, value):
    logits = TOY @ WEIGHTS.T
    loss = cross_entropy(logits, TOY_PIDS, epsilon=epsilon, variant="uniform", alpha=0.2)
    assert loss.item() == pytest.approx(value, abs=1e-9)


def test_center_loss_of_the_toy_features():
    assert center_loss(TOY, WEIGHTS, TOY_PIDS).item() == pytest.approx(9.221783892, abs=1e-9)
