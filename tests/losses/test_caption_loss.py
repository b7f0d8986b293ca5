"""Pairs of pictures and captions, by which both towers of CLIP are trained."""

from math import exp, log

import pytest
import torch
from torch import nn

from reidtools.losses import CaptionLoss
from reidtools.modeling.text import TextTower


class Words(nn.Module):
    """Stands in for a text tower: texts that are alike point the same way, others do not."""

    def __init__(self):
        super().__init__()
        self.known = {}

    def read(self, texts):
        rows = [self.known.setdefault(text, len(self.known)) for text in texts]
        return torch.tensor(rows)[:, None]

    def encode(self, tokens):
        return torch.eye(8)[tokens[:, 0]]


def test_pictures_that_are_their_captions_have_next_to_no_loss():
    """Cosines are 1 with the own caption and 0 with three others: log(1 + 3 e^(-1 / 0.07))."""
    words = Words()
    loss = CaptionLoss(words, [["a"], ["b"], ["c"], ["d"]])
    pictures = 3 * words.encode(words.read("abcd"))
    value = loss(pictures, torch.arange(4), None).item()
    assert value == pytest.approx(log(1 + 3 * exp(-1 / 0.07)), abs=1e-6) and value < 1e-5
    wrong = loss(pictures.flip(0), torch.arange(4), None).item()
    assert wrong == pytest.approx(1 / 0.07, rel=1e-4)


def test_of_several_captions_each_is_drawn_sometimes_and_none_of_another_picture():
    words, seen = Words(), []
    loss = CaptionLoss(words, [["a", "b", "c"], ["d"], ["e", "f"]])
    words.encode = lambda tokens: seen.append(tokens[:, 0].tolist()) or torch.eye(8)[tokens[:, 0]]
    torch.manual_seed(0)
    for _ in range(60):
        loss(torch.ones(2, 8), torch.tensor([2, 0]), None)
    assert {row[0] for row in seen} == {4, 5} and {row[1] for row in seen} == {0, 1, 2}


def test_both_towers_are_trained():
    trained = TextTower(6, width=16, layers=1, context_length=16)
    pictures = torch.randn(3, 6, generator=torch.Generator().manual_seed(3)).requires_grad_()
    loss = CaptionLoss(trained, [["a man"], ["a woman"], ["nobody"]])
    loss(pictures, torch.arange(3), None).backward()
    assert pictures.grad.abs().sum() > 0
    assert all(weight.grad is not None for weight in trained.parameters())
    assert not any(name.startswith(("tokens", "first", "counts")) for name in loss.state_dict())


@pytest.mark.parametrize("captions", [None, [], [["a man"], []]])
def test_pictures_without_a_caption_are_refused(captions):
    with pytest.raises(ValueError, match=r"DATASETS\.CAPTIONS .*DATASETS\.CAPTIONED_ONLY True"):
        CaptionLoss(Words(), captions)


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(ValueError, match="temperature is 0.0; choose one above 0"):
        CaptionLoss(Words(), [["a"]], temperature=0.0)
