"""The classifier of identity losses and its margins, at angles one can do on paper."""

import math

import pytest
import torch
from torch import nn

from reidtools.losses import CrossEntropyLoss, FocalLoss
from reidtools.losses.classifier import MARGINS, Classifier

COSINE_LAYERS = [name for name in MARGINS if name != "Linear"]
each_cosine_layer = pytest.mark.parametrize("layer", COSINE_LAYERS)
AXES = torch.eye(2)


def at(degrees):
    """A vector (1, 2) of length 3, so many degrees from the first of two weights."""
    angle = math.radians(degrees)
    return torch.tensor([[3 * math.cos(angle), 3 * math.sin(angle)]])


def classifier(layer, weights=AXES, **options):
    made = Classifier(2, len(weights), cls_layer=layer, **options)
    made.weight = nn.Parameter(weights.clone())
    return made


def logit(layer, degrees, **options):
    """What the loss sees of person 0, whose label it is, with scale 10."""
    made = classifier(layer, scale=10, **options)
    return made.logits(made(at(degrees)), torch.tensor([0]))[0, 0].item()


def cos(degrees):
    return math.cos(math.radians(degrees))


THIRTY = {"margin": math.radians(30)}


@pytest.mark.parametrize(
    ("layer", "options", "degrees", "expected"),
    [
        ("CosSoftmax", {"margin": 0.3}, 60, 10 * (0.5 - 0.3)),
        ("CosSoftmax", {"margin": 0.3}, 180, 10 * (-1 - 0.3)),
        ("ArcSoftmax", THIRTY, 60, 10 * cos(90)),
        ("ArcSoftmax", THIRTY, 170, 10 * cos(200)),
        ("ArcFace", THIRTY, 60, 10 * cos(90)),
        ("ArcFace", THIRTY, 149, 10 * cos(179)),
        ("ArcFace", THIRTY, 170, 10 * (cos(170) - math.radians(30) * 0.5)),
        ("ArcFace", THIRTY | {"easy_margin": True}, 80, 10 * cos(110)),
        ("ArcFace", THIRTY | {"easy_margin": True}, 100, 10 * cos(100)),
        ("CircleSoftmax", {"margin": 0.25}, 60, 10 * 0.75 * (0.5 - 0.75)),
        ("CircleSoftmax", {"margin": 0.25}, 0, 10 * 0.25 * (1 - 0.75)),
    ],
)
def test_the_label_on_paper(layer, options, degrees, expected):
    assert logit(layer, degrees, **options) == pytest.approx(expected, abs=1e-5)


@each_cosine_layer
def test_other_people_have_no_margin_but_in_circle_loss(layer):
    made = classifier(layer, scale=10, margin=0.25)
    other = made.logits(made(at(60)), torch.tensor([0]))[0, 1].item()
    cosine = cos(30)
    expected = (cosine + 0.25) * (cosine - 0.25) if layer == "CircleSoftmax" else cosine
    assert other == pytest.approx(10 * expected, abs=1e-5)


def test_circle_lets_go_of_people_who_are_opposite_enough():
    made = classifier("CircleSoftmax", margin=0.25)
    assert made.logits(made(at(-40)), torch.tensor([0]))[0, 1] == 0  # cos 130 < -0.25


def test_linear_takes_products_times_the_scale():
    made = classifier("Linear", weights=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), scale=0.5)
    logits = made.logits(made(torch.tensor([[1.0, 1.0]])), torch.tensor([0]))
    assert logits.tolist() == [[1.5, 3.5]]


def test_only_the_guard_keeps_pulling_what_is_opposite():
    """Towards the label is up: at 170 degrees the cosine of 200 falls when the angle shrinks."""
    slopes = {
        layer: logit(layer, 169, **THIRTY) - logit(layer, 171, **THIRTY)
        for layer in MARGINS
        if layer.startswith("Arc")
    }
    assert slopes["ArcSoftmax"] < 0 < slopes["ArcFace"]


@each_cosine_layer
def test_lengths_do_not_matter(layer):
    options = {"margin": 0.25, "scale": 10}
    short, long = classifier(layer, **options), classifier(layer, 7 * AXES, **options)
    pids = torch.tensor([1])
    expected = short.logits(short(at(20)), pids)
    assert torch.allclose(long.logits(long(5 * at(20)), pids), expected, atol=1e-5)


@each_cosine_layer
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_gradient_is_finite_at_the_weights_and_opposite_to_them(layer, sign):
    made = classifier(layer, weights=torch.full((2, 2), 0.3), scale=30, margin=0.3)
    vectors = torch.full((3, 2), 0.3 * sign, requires_grad=True)
    made.logits(made(vectors), torch.tensor([0, 1, 0])).sum().backward()
    assert torch.isfinite(vectors.grad).all() and torch.isfinite(made.weight.grad).all()


@pytest.mark.parametrize("loss", [CrossEntropyLoss, FocalLoss])
@each_cosine_layer
def test_top1_is_of_what_a_test_would_see(loss, layer):
    """40 degrees from the own weight and 50 from the other: right, though not by the margin."""
    made = loss(2, 2, cls_layer=layer, scale=10, margin=0.3)
    made.classifier.weight = nn.Parameter(AXES.clone())
    embeddings, pids = at(40), torch.tensor([0])
    made(embeddings, pids)
    scores = made.classifier(embeddings)
    assert made.figures == {"top1": 1.0}
    assert made.classifier.logits(scores, pids).argmax() == 1
    made(embeddings, torch.tensor([1]))
    assert made.figures == {"top1": 0.0}


@pytest.mark.parametrize("loss", [CrossEntropyLoss, FocalLoss])
@pytest.mark.parametrize("layer", MARGINS)
def test_it_learns_to_tell_four_people_apart(loss, layer):
    torch.manual_seed(0)
    people = torch.randn(4, 8)
    pids = torch.arange(4).repeat(8)
    embeddings = people[pids] + 0.2 * torch.randn(32, 8)
    options = {} if layer == "Linear" else {"scale": 16, "margin": 0.25}
    made = loss(8, 4, cls_layer=layer, **options)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        made(embeddings, pids).backward()
        optimizer.step()
    assert made.figures["top1"] == 1


def test_a_hidden_layer_may_come_first():
    loss = CrossEntropyLoss(6, 3, hidden=4, cls_layer="CosSoftmax", scale=10, margin=0.2)
    assert loss.classifier.weight.shape == (3, 4) and loss.classifier.bias is None
    assert loss(torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])).isfinite()


@each_cosine_layer
def test_weights_start_short_and_have_the_name_they_always_had(layer):
    torch.manual_seed(0)
    loss = CrossEntropyLoss(64, 50, cls_layer=layer)
    assert list(loss.state_dict()) == ["classifier.weight"]
    assert loss.classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 0.0}, "scale is 0.0; choose one above 0"),
        ({"scale": math.nan}, "scale is nan; choose one above 0"),
        ({"margin": 0.3}, "margin is 0.3, but Linear has none; set it to 0, or choose.* CosSoftm"),
        ({"margin": -0.1, "cls_layer": "CosSoftmax"}, "margin is -0.1; choose one from 0 to 1"),
        ({"margin": 30, "cls_layer": "ArcFace"}, "margin is 30; choose one from 0 to 1"),
        ({"easy_margin": True}, "easy_margin is for ArcFace, not Linear; switch it off"),
        ({"easy_margin": True, "cls_layer": "ArcSoftmax"}, "not ArcSoftmax; switch it off"),
    ],
)
@pytest.mark.parametrize("loss", [CrossEntropyLoss, FocalLoss])
def test_impossible_options_are_refused(loss, options, words):
    with pytest.raises(ValueError, match=words):
        loss(4, 3, **options)


def test_an_unknown_layer_is_refused_with_a_suggestion():
    with pytest.raises(LookupError, match="classifier layer 'arcsoftmax'. Did you mean 'ArcS"):
        CrossEntropyLoss(4, 3, cls_layer="arcsoftmax")
