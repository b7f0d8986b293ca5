"""Cross-entropy with smoothed labels, against sums one can do on paper."""

import math

import pytest
import torch

from reidtools.losses import CrossEntropyLoss
from reidtools.losses.cross_entropy import cross_entropy

LOGITS = torch.tensor([[math.log(6.0), math.log(3.0), 0.0]])  # probabilities 0.6, 0.3, 0.1
LABEL = torch.tensor([0])
OWN, SECOND, THIRD = -math.log(0.6), -math.log(0.3), -math.log(0.1)


def smoothed(epsilon, variant="uniform", alpha=0.2, logits=LOGITS, pids=LABEL):
    return cross_entropy(logits, pids, epsilon=epsilon, variant=variant, alpha=alpha).item()


def test_without_smoothing_only_the_label_counts():
    assert smoothed(0.0) == pytest.approx(OWN)
    assert smoothed(0.0, "fastreid") == pytest.approx(OWN)


def test_uniform_gives_every_class_the_same_share():
    expected = 0.7 * OWN + 0.3 * (OWN + SECOND + THIRD) / 3
    assert smoothed(0.3) == pytest.approx(expected)


def test_fastreid_gives_the_others_all_of_it():
    assert smoothed(0.3, "fastreid") == pytest.approx(0.7 * OWN + 0.15 * SECOND + 0.15 * THIRD)


def test_negative_epsilon_smooths_by_alpha_times_the_probability():
    expected = (1 - 0.3) * OWN + 0.3 * (SECOND + THIRD) / 2  # 0.5 * 0.6 = 0.3
    assert smoothed(-1, "fastreid", alpha=0.5) == pytest.approx(expected)


def test_fastreid_leaves_samples_without_a_loss_out_of_the_mean():
    logits = torch.cat([LOGITS, torch.tensor([[1000.0, 0, 0]])])
    pids = torch.tensor([0, 0])
    assert smoothed(0.0, "fastreid", logits=logits, pids=pids) == pytest.approx(OWN)
    assert smoothed(0.0, "uniform", logits=logits, pids=pids) == pytest.approx(OWN / 2)


def test_fastreid_of_a_batch_without_any_loss_is_zero():
    assert smoothed(0.0, "fastreid", logits=torch.tensor([[1000.0, 0, 0]])) == 0


def test_the_loss_owns_a_classifier_that_starts_undecided():
    torch.manual_seed(0)
    loss = CrossEntropyLoss(dim=64, num_people=50)
    assert loss.classifier.weight.shape == (50, 64)
    assert loss.classifier.bias is None
    assert loss.classifier.weight.std().item() == pytest.approx(0.001, rel=0.1)
    value = loss(torch.randn(8, 64), torch.arange(8))
    assert value.item() == pytest.approx(math.log(50), rel=1e-2)


def test_a_hidden_layer_and_dropout_before_the_classifier():
    torch.manual_seed(0)
    loss = CrossEntropyLoss(6, 3, epsilon=0, hidden=4, dropout=0.5)
    first, norm, bend, drop = loss.before
    assert (first.in_features, first.out_features, norm.num_features) == (6, 4, 4)
    assert (bend.negative_slope, drop.p) == (0.1, 0.5)
    assert loss.classifier.bias is not None and loss.classifier.weight.std() > 0.1
    embeddings, pids = torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    assert loss(embeddings, pids) != loss(embeddings, pids)
    loss.eval()
    scale = norm.running_var.add(norm.eps).rsqrt()
    inside = (first(embeddings) - norm.running_mean) * scale
    logits = loss.classifier(inside.clamp(min=0) + 0.1 * inside.clamp(max=0))
    own = logits.log_softmax(1)[torch.arange(5), pids]
    assert loss(embeddings, pids).item() == pytest.approx(-own.mean().item(), rel=1e-5)


def test_dropout_alone_is_of_the_embeddings():
    loss = CrossEntropyLoss(64, 3, dropout=0.5)
    assert list(loss.state_dict()) == ["classifier.weight"]  # as ever: old checkpoints fit
    dropped = loss.before(torch.ones(100, 64))
    assert 0.4 < (dropped == 0).float().mean() < 0.6 and dropped.max() == 2


@pytest.mark.parametrize("options", [{"hidden": -1}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_layers_are_refused(options):
    with pytest.raises(ValueError, match="choose a (length|share from 0 to below 1)"):
        CrossEntropyLoss(4, 3, **options)


def test_forward_classifies_the_embeddings():
    loss = CrossEntropyLoss(3, 3, epsilon=0.3, variant="fastreid")
    torch.nn.init.eye_(loss.classifier.weight)
    assert loss(LOGITS, LABEL).item() == pytest.approx(smoothed(0.3, "fastreid"))


@pytest.mark.parametrize("options", [{"epsilon": 1.0}, {"epsilon": -1.0}])
def test_an_epsilon_that_is_no_share_is_refused(options):
    with pytest.raises(ValueError, match="no share of the target; choose one from 0"):
        CrossEntropyLoss(4, 3, **options)


def test_an_unknown_variant_is_refused_with_a_suggestion():
    with pytest.raises(LookupError, match="Did you mean 'fastreid'"):
        CrossEntropyLoss(4, 3, variant="fastried")


def test_one_person_cannot_be_told_apart():
    with pytest.raises(ValueError, match="at least 2"):
        CrossEntropyLoss(4, 1)
