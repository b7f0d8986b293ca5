"""What holds for every registered loss; registering one enrols it here."""

from types import SimpleNamespace

import pytest
import torch

import reidtools.losses  # noqa: F401 - registers them
from reidtools.modeling.text import TextTower
from reidtools.registry import LOSSES, facts, options

BATCH, DIM, PEOPLE = 8, 6, 5
KNOWN_FACTS = {
    "dim": DIM,
    "num_people": PEOPLE,
    "captions": [["a man in blue"], ["she runs", "a red bag"]] * 4,
    "labels": [0, 0, 1, 1, 2, 2, 4, 4],
    "seed": 0,
    "teacher": SimpleNamespace(dim=DIM + 1, people=PEOPLE),
}
WAITING = {"PromptLoss"}
pytestmark = pytest.mark.parametrize("name", sorted(LOSSES))


def batch(features):
    """Every fact a training batch can offer, with gradients where vectors are."""
    return {
        "features": features.clone().requires_grad_(),
        "embeddings": features.clone().requires_grad_(),
        "low_features": (0.9 * features).requires_grad_(),
        "pids": torch.tensor([0, 0, 1, 1, 2, 2, 4, 4]),
        "camids": torch.tensor([0, 1, 0, 1, 0, 1, 0, 1]),
        "index": torch.arange(BATCH),
        "joint": features.clone().requires_grad_(),
        "amp": None,
        "taught": {"embeddings": torch.eye(BATCH, DIM + 1), "logits": torch.eye(BATCH, PEOPLE)},
    }


def on_gpu(value):
    """Tensors of a fact on the GPU; gradients are for those there."""
    if isinstance(value, dict):
        return {name: on_gpu(tensor) for name, tensor in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().cuda().requires_grad_(value.requires_grad)


def known_facts():
    """Those that a program has; every objective has a text tower of its own."""
    return KNOWN_FACTS | {"text": TextTower(DIM, width=16, layers=1, context_length=16)}


def gradients(name, features, **chosen):
    torch.manual_seed(0)
    loss = LOSSES.build(name, known_facts(), chosen)
    known = batch(features)
    wanted = {fact: known[fact] for fact in facts(loss.forward)}
    value = loss(**wanted)
    value.backward()
    assert value.shape == ()
    assert torch.isfinite(value)
    weights = [p.grad for p in loss.parameters() if p.requires_grad]
    return [*weights, *(t.grad for t in wanted.values() if getattr(t, "requires_grad", False))]


def test_it_asks_for_known_facts_only(name):
    assert set(facts(LOSSES[name])) <= set(known_facts())
    assert set(facts(LOSSES[name].forward)) - {"self"} <= set(batch(torch.zeros(BATCH, DIM)))


def test_forward_and_backward_are_finite(name):
    features = torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(1))
    found = gradients(name, features)
    assert found
    assert all(torch.isfinite(g).all() for g in found)
    assert any(g.abs().sum() > 0 for g in found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU is waited for")
def test_no_device_is_waited_for(name):
    if name in WAITING:
        pytest.skip("its text tower sees each person of a batch once, and must know how many")
    torch.manual_seed(0)
    loss = LOSSES.build(name, known_facts(), {}).cuda()
    known = {fact: on_gpu(value) for fact, value in batch(torch.randn(BATCH, DIM)).items()}
    wanted = {fact: known[fact] for fact in facts(loss.forward)}
    loss(**wanted).backward()  # whatever is done but once
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(**wanted).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_identical_features_have_a_finite_gradient(name, fill):
    assert all(torch.isfinite(g).all() for g in gradients(name, torch.full((BATCH, DIM), fill)))


def test_its_docstring_names_every_option_and_a_source(name):
    text = LOSSES[name].__doc__
    assert all(option in text for option in options(LOSSES[name]))
    assert "arXiv:" in text or "https://" in text
