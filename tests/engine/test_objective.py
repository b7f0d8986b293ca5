import pytest
import torch
from torch import nn

from reidtools.engine.objective import Objective
from reidtools.losses import CrossEntropyLoss
from reidtools.ops.degrade import degrade


class Spread(nn.Module):
    def forward(self, features, pids):
        return features.var() + 0 * pids.sum()


class Sum(nn.Module):
    def forward(self, embeddings):
        return embeddings.sum()


class Text(nn.Module):
    def forward(self, captions):
        return captions


class Seeing:
    """Stands in for an embedder whose features and embeddings `look` makes of the images."""

    def __init__(self, look):
        self.look = look

    def in_a_row(self, images, camids):
        return (images,)

    def frames(self, images):
        return images

    def branches(self, frames, tracklets):
        features, embeddings = self.look(frames)
        return {"features": (features,), "embeddings": (embeddings,)}


embed = Seeing(lambda images: (images, 2 * images))


def test_each_loss_gets_the_facts_it_names_and_is_weighted():
    objective = Objective({"Spread": Spread(), "Sum": Sum()}, {"Spread": 1.0, "Sum": 0.5})
    images = torch.tensor([[1.0], [3.0]])
    losses = objective(embed, {"images": images, "pids": torch.tensor([0, 1])})
    assert losses["Spread"] == 2.0  # variance of 1 and 3
    assert losses["Sum"] == 0.5 * 2 * (1 + 3)


def test_losses_compute_in_float32():
    objective = Objective({"Sum": Sum()}, {"Sum": 1.0})
    batch = {"images": torch.ones(2, 1, dtype=torch.bfloat16), "pids": torch.tensor([0, 1])}
    assert objective(embed, batch)["Sum"].dtype == torch.float32


def test_what_cannot_be_trained_is_refused_when_built():
    with pytest.raises(
        LookupError, match="fact wanted by Text 'captions'.*Known: amp, camids, emb"
    ):
        Objective({"Text": Text()}, {"Text": 1.0})
    with pytest.raises(ValueError, match="no loss"):
        Objective({}, {})


class Gap(nn.Module):
    def forward(self, features, low_features):
        return (features - low_features).abs().mean()


def test_low_features_are_those_of_the_same_pictures_made_coarse():
    seen = []

    def look(images):
        seen.append(images)
        return images.flatten(1), images.flatten(1)

    embedder = Seeing(look)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = {"images": images, "pids": torch.tensor([0, 1])}
    losses = Objective({"Gap": Gap(), "Sum": Sum()}, {"Gap": 1, "Sum": 1}, 4)(embedder, batch)
    assert len(seen) == 2 and torch.equal(seen[1], degrade(images, 4))
    assert losses["Gap"] == (images - degrade(images, 4)).abs().mean()
    Objective({"Sum": Sum()}, {"Sum": 1.0}, 4)(embedder, batch)
    assert len(seen) == 3  # nobody wanted them
    with pytest.raises(ValueError, match=r"Gap compares two.*DATASETS\.LOW_SCALE"):
        Objective({"Gap": Gap()}, {"Gap": 1.0})


def test_what_losses_measure_besides_is_collected():
    loss = CrossEntropyLoss(2, 3)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
    objective = Objective(
        {"CrossEntropyLoss": loss, "Sum": Sum()}, {"CrossEntropyLoss": 1, "Sum": 1}
    )
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 0.0]])
    losses = objective(embed, {"images": images, "pids": torch.tensor([0, 1, 2, 1])})
    assert losses.keys() == {"CrossEntropyLoss", "Sum"}
    assert objective.figures["top1"] == 0.75 and not objective.figures["top1"].requires_grad


def test_strangers_have_the_losses_without_a_classifier():
    objective = Objective(
        {"CrossEntropyLoss": CrossEntropyLoss(1, 2), "Spread": Spread()},
        {"CrossEntropyLoss": 1.0, "Spread": 2.0},
    )
    batch = {"images": torch.tensor([[1.0], [3.0]]), "pids": torch.tensor([70, 71])}
    assert objective.of_strangers(embed, batch) == {"Spread": 4.0}
    only = Objective({"CrossEntropyLoss": CrossEntropyLoss(1, 2)}, {"CrossEntropyLoss": 1.0})
    assert only.of_strangers(embed, batch) == {}
