from types import MappingProxyType

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

    shares = MappingProxyType({})

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


# --- heads with several branches, batches that were embedded before ------------------------------

CACHED = {
    "features": (torch.tensor([[1.0], [3.0]]), torch.tensor([[10.0], [14.0]])),
    "embeddings": (torch.tensor([[2.0], [0.0]]), torch.tensor([[0.0], [5.0]])),
    "joint": (torch.tensor([[0.5], [1.5]]),),
    "pids": torch.tensor([0, 1]),
}


class Branches(Seeing):
    """An embedder whose head has the branches of `CACHED`, whatever it sees."""

    def __init__(self):
        super().__init__(None)

    def branches(self, frames, tracklets):
        return {name: CACHED[name] for name in ("features", "embeddings", "joint")}


class Blind:
    """An embedder that must not be asked: its pictures have been embedded."""

    shares = MappingProxyType({})


class Scaled(nn.Module):
    """`scale` times the sum of embeddings, of which it tells the maximum."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, embeddings):
        self.figures = {"largest": embeddings.max()}
        return self.scale * embeddings.sum()


class Joint(nn.Module):
    """Sums what CLIP compares with texts; knows the epoch."""

    epoch = None

    def forward(self, joint, amp):
        self.amp = amp
        return joint.sum()

    def set_epoch(self, epoch):
        self.epoch = epoch


def pictures():
    return {"images": torch.zeros(2, 1), "pids": torch.tensor([0, 1])}


def test_a_loss_is_added_up_over_branches():
    losses = Objective({"Spread": Spread()}, {"Spread": 0.5})(Branches(), pictures())
    assert losses["Spread"] == 0.5 * (2.0 + 8.0)  # variances of 1, 3 and of 10, 14


def test_a_loss_for_each_branch():
    each = nn.ModuleList([Scaled(1.0), Scaled(100.0)])
    objective = Objective({"Scaled": each}, {"Scaled": 2.0})
    assert objective(Branches(), pictures())["Scaled"] == 2 * (1 * (2 + 0) + 100 * (0 + 5))
    assert objective.wants == {"Scaled": ("embeddings",)}


def test_figures_of_a_loss_for_each_branch_are_those_of_the_first():
    """As CLIP-ReID tells the accuracy of its first classifier."""
    objective = Objective({"Scaled": nn.ModuleList([Scaled(1.0), Scaled(1.0)])}, {"Scaled": 1.0})
    objective(Branches(), pictures())
    assert objective.figures == {"largest": 2.0}


def test_losses_with_a_classifier_for_each_branch_know_no_strangers():
    each = nn.ModuleList([CrossEntropyLoss(1, 2), CrossEntropyLoss(1, 2)])
    losses = {"CrossEntropyLoss": each, "Joint": Joint()}
    objective = Objective(losses, dict.fromkeys(losses, 1.0))
    assert objective.of_strangers(Branches(), pictures()) == {"Joint": 2.0}


def test_a_batch_without_images_brings_its_branches():
    objective = Objective({"Spread": Spread(), "Joint": Joint()}, {"Spread": 1.0, "Joint": 1.0})
    assert objective(Blind(), CACHED) == {"Spread": 10.0, "Joint": 2.0}


def test_branches_in_half_precision_reach_losses_in_single():
    class Dtype(nn.Module):
        def forward(self, joint):
            self.seen = joint.dtype
            return joint.sum()

    loss = Dtype()
    half = {**CACHED, "joint": (CACHED["joint"][0].half(),)}
    Objective({"Dtype": loss}, {"Dtype": 1.0})(Blind(), half)
    assert loss.seen == torch.float32


def test_a_loss_with_a_network_of_its_own_is_told_of_autocast():
    loss = Joint()
    objective = Objective({"Joint": loss}, {"Joint": 1.0})
    objective(Blind(), CACHED)
    assert loss.amp is None
    with torch.autocast("cpu", torch.bfloat16):
        objective(Blind(), CACHED)
    assert loss.amp == torch.bfloat16


def test_losses_that_want_to_know_are_told_the_epoch():
    loss = Joint()
    Objective({"Joint": loss, "Sum": Sum()}, {"Joint": 1.0, "Sum": 1.0}).set_epoch(7)
    assert loss.epoch == 7


def test_cameras_reach_the_embedder():
    class Cameras(Branches):
        def in_a_row(self, images, camids):
            self.camids = camids
            return (images,)

    embedder, objective = Cameras(), Objective({"Sum": Sum()}, {"Sum": 1.0})
    objective(embedder, pictures() | {"camids": torch.tensor([3, 1])})
    assert embedder.camids.tolist() == [3, 1]


def test_branches_are_weighted_by_the_shares_of_the_head():
    model = Branches()
    model.shares = {"features": (0.5, 0.25), "embeddings": (1.0, 3.0)}
    objective = Objective({"Spread": Spread(), "Sum": Sum()}, {"Spread": 1.0, "Sum": 10.0})
    losses = objective(model, {"images": torch.zeros(2, 1), "pids": torch.tensor([0, 1])})
    assert losses["Spread"] == 0.5 * 2.0 + 0.25 * 8.0  # variances of 1, 3 and of 10, 14
    assert losses["Sum"] == 10 * (1 * 2 + 3 * 5)
