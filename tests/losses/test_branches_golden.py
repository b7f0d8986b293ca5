"""The whole loss of TransReID's JPM, five branches, through our objective (tests/golden/README.md).

Half of it is of the global branch, half the mean of the four local ones.
"""

from types import SimpleNamespace

import torch
from golden_losses import arrays, assert_gradients, assert_value, each_of, matching
from torch import nn

from reidtools.engine.objective import Objective
from reidtools.losses import CrossEntropyLoss, TripletLoss

CASES = matching(r"transreid\.total_jpm_")
SHARES = (0.5, 0.125, 0.125, 0.125, 0.125)
EMBEDDER = SimpleNamespace(shares={"features": SHARES, "embeddings": SHARES})


def total(entry, inputs, pids):
    """The entry's logits are the embeddings of classifiers that change nothing."""
    params = entry["params"]
    classifiers = nn.ModuleList(
        CrossEntropyLoss(10, 10, epsilon=0.1 if params["label_smooth"] else 0) for _ in SHARES
    ).to(inputs[0].dtype)
    for loss in classifiers:
        nn.init.eye_(loss.classifier.weight)
    triplet = TripletLoss(margin=0 if params["no_margin"] else params["margin"])
    losses = {"CrossEntropyLoss": classifiers, "TripletLoss": triplet}
    objective = Objective(losses, dict.fromkeys(losses, 1.0))
    batch = {"pids": pids, "embeddings": inputs[:5], "features": inputs[5:]}
    return sum(objective(EMBEDDER, batch).values())


def test_no_entry_is_forgotten():
    assert len(CASES) == 2


@each_of(CASES)
def test_value_in_single_precision(entry):
    assert_value(entry, total(entry, *arrays(entry, torch.float32)))


@each_of(CASES)
def test_value_and_gradient(entry, monkeypatch):
    # The objective hands all to its losses in single precision; not here.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    inputs, pids = arrays(entry, torch.float64)
    value = total(entry, inputs, pids)
    assert_value(entry, value)
    value.backward()
    assert_gradients(entry, [array.grad for array in inputs])
