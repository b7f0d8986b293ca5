"""Losses between a student's vectors and those of a teacher, on paper and by naive loops."""

import math
from types import SimpleNamespace

import pytest
import torch

from reidtools.losses import DistillationLoss
from reidtools.losses.distillation import directions, divergence, relations

TEACHER = SimpleNamespace(dim=3, people=4)


def vectors(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_relations_on_paper():
    """The student has two pictures at right angles, the teacher finds them the same: of the four
    cosines two are off by 1."""
    own, taught = torch.tensor([[2.0, 0], [0, 5]]), torch.tensor([[1.0, 1, 1], [3, 3, 3]])
    assert relations(own, taught).item() == pytest.approx(2 / 4)


def test_relations_are_a_loop_over_pairs():
    own, taught, total = vectors(5, 4), vectors(5, 7, seed=1), 0.0
    for i in range(5):
        for j in range(5):
            ours = torch.cosine_similarity(own[i], own[j], dim=0)
            theirs = torch.cosine_similarity(taught[i], taught[j], dim=0)
            total += (ours - theirs).item() ** 2
    assert relations(own, taught).item() == pytest.approx(total / 25, rel=1e-5)


def test_relations_know_no_rotation_and_no_length():
    taught = vectors(6, 4)
    turn = torch.linalg.qr(vectors(4, 4, seed=2)).Q
    assert relations(7 * taught @ turn, taught).item() == pytest.approx(0, abs=1e-10)


def test_directions_on_paper():
    """Cosines 1, 0 and -1."""
    own = torch.tensor([[1.0, 0], [1, 0], [1, 0]])
    taught = torch.tensor([[5.0, 0], [0, 2], [-1, 0]])
    assert directions(own, taught).item() == pytest.approx((0 + 1 + 2) / 3)


def test_divergence_on_paper():
    """One is sure 3 : 1, the other undecided; at temperature 2 logits are twice as far apart.

    KL(p|q) + KL(q|p) = sum (p - q) (log p - log q) = (1/4) log 3 for p = (3/4, 1/4), q = halves.
    """
    sure, undecided = torch.tensor([[2 * math.log(3), 0]]), torch.zeros(1, 2)
    expected = 2**2 * math.log(3) / 4 / 2
    for one, other in ((sure, undecided), (undecided, sure)):
        assert divergence(one, other, 2.0).item() == pytest.approx(expected)


def test_a_hot_divergence_is_the_squared_difference_of_logits():
    """With T large it tends to |a - b|^2 / 2C for logits of mean 0 (Hinton et al., section 2.1)."""
    a, b = (
        x - x.mean(1, keepdim=True) for x in (vectors(3, 5).double(), vectors(3, 5, 1).double())
    )
    expected = (a - b).square().sum(1).mean() / (2 * 5)
    assert divergence(a, b, 1e3).item() == pytest.approx(expected.item(), rel=1e-2)


def test_features_of_another_length_go_through_a_map_that_is_learned():
    loss = DistillationLoss(5, TEACHER, kind="features")
    own, taught = vectors(4, 5), {"embeddings": vectors(4, 3, 1)}
    value = loss(own, taught)
    assert [tuple(w.shape) for w in loss.parameters()] == [(3, 5)]
    assert value.item() == pytest.approx(directions(loss.map(own), taught["embeddings"]).item())
    assert loss.figures["like_teacher"].item() == pytest.approx(1 - value.item())
    assert not list(DistillationLoss(3, TEACHER, kind="features").parameters())  # of the same: none


def test_logits_are_told_through_a_classifier_of_its_own():
    loss = DistillationLoss(5, TEACHER, kind="logits", temperature=4.0)
    own, taught = vectors(4, 5), {"embeddings": vectors(4, 3), "logits": vectors(4, 4, 1)}
    value, logits = loss(own, taught), own @ loss.map.weight.T
    assert value.item() == pytest.approx(divergence(logits, taught["logits"], 4.0).item())
    same = (logits.argmax(1) == taught["logits"].argmax(1)).float().mean()
    assert loss.figures["top1_teacher"] == same


@pytest.mark.parametrize("kind", ["relations", "features", "logits"])
def test_learning_brings_the_student_closer(kind):
    torch.manual_seed(0)
    loss, own = DistillationLoss(5, TEACHER, kind=kind), vectors(8, 5).requires_grad_()
    taught = {"embeddings": vectors(8, 3, 1), "logits": vectors(8, 4, 2)}
    optimizer = torch.optim.Adam([own, *loss.parameters()], lr=0.1)
    first = loss(own, taught).item()
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(own, taught)
        value.backward()
        optimizer.step()
    assert value.item() < 0.1 * first


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(ValueError, match="no classifier.*KIND relations"):
        DistillationLoss(5, SimpleNamespace(dim=3, people=0), kind="logits")
    with pytest.raises(ValueError, match="temperature is 0"):
        DistillationLoss(5, TEACHER, kind="logits", temperature=0)
    with pytest.raises(LookupError, match="Did you mean 'relations'"):
        DistillationLoss(5, TEACHER, kind="relation")
