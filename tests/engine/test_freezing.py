"""Parts of a model rest for a while; they thaw when they should, in a resumed run as well."""

import logging

import pytest
import torch
from torch import nn

from reidtools.engine.freezing import Freezing
from reidtools.engine.objective import Objective
from reidtools.engine.trainer import Trainer


class Model(nn.Module):
    """Features of four numbers: backbone (two layers and a batch norm), then heads."""

    shares: dict = {}

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
        self.backbone.prompt = nn.Parameter(torch.zeros(4))
        self.heads = nn.Linear(4, 2)
        self.heads.bias.requires_grad_(False)  # for good
        self.wants_gradient: list[bool] = []  # of what heads get, step by step

    def in_a_row(self, images, camids):
        return (images,)

    def frames(self, images):
        x = self.backbone(images) + self.backbone.prompt
        self.wants_gradient.append(x.requires_grad)
        return self.heads(x)

    def branches(self, frames, tracklets):
        return {"features": (frames,), "embeddings": (frames,)}


class Batches:
    """Three batches of eight; epochs differ."""

    def __len__(self):
        return 3

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        for _ in range(3):
            yield {"images": torch.randn(8, 4, generator=generator), "pids": torch.arange(8)}


class Length(nn.Module):
    def forward(self, features):
        return (features - 1).square().mean()


def make(names=("backbone",), accumulate=1, **length):
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.Adam([w for w in model.parameters() if w.requires_grad], lr=0.01)
    return Trainer(
        model,
        Objective({"Length": Length()}, {"Length": 1.0}),
        Batches(),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1.0),
        torch.Generator(),
        max_epoch=4,
        log_period=1,
        accumulate=accumulate,
        freezing=Freezing(model, names, **length),
    )


def first_change(trainer, *parts):
    """After how many batches the tensors whose names begin with one of `parts` first differ."""

    def look():
        state = trainer.model.state_dict().items()
        return {n: t.clone() for n, t in state if n.startswith(parts)}

    before = look()
    assert before
    for progress in trainer:
        if any(not torch.equal(t, before[n]) for n, t in look().items()):
            return progress.iteration
    return None


@pytest.mark.parametrize(
    ("length", "first"),
    [
        ({"iterations": 4}, 5),  # after four batches without it comes one with it
        ({"iterations": 1}, 2),
        ({"epochs": 2}, 7),  # an epoch has three batches
        ({}, None),  # neither: to the end
    ],
)
def test_weights_and_statistics_rest_as_long_as_they_are_told(length, first):
    assert first_change(make(**length), "backbone") == first
    assert first_change(make(**length), "heads") == 1


def test_a_resting_part_costs_no_way_back():
    trainer = make(iterations=4)
    list(trainer)
    assert trainer.model.wants_gradient == [False] * 4 + [True] * 8


def test_it_is_in_evaluation_mode_also_after_somebody_else_looked():
    trainer, modes = make(iterations=4), []
    for _ in trainer:
        modes.append((trainer.model.backbone[1].training, trainer.model.heads.training))
        trainer.model.eval()
        trainer.model.train()  # as after embedding in between
    assert modes == [(False, True)] * 4 + [(True, True)] * 8


@pytest.mark.parametrize(("accumulate", "first"), [(2, 3), (3, 6)])
def test_it_thaws_between_two_moves_of_the_weights(accumulate, first):
    """One iteration, but two or three batches count as one step: none is half frozen. With two the
    third batch is a step of its own, since an epoch ends with it."""
    assert first_change(make(iterations=1, accumulate=accumulate), "backbone.2") == first


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_thaws_where_it_would_have(stop, accumulate):
    """Seven iterations: in the third epoch. Bit for bit, if the run stopped before or after."""
    whole = make(iterations=7, accumulate=accumulate)
    losses = [p.losses["total"] for p in whole]
    first = make(iterations=7, accumulate=accumulate)
    for progress in first:
        if progress.epoch == stop and progress.epoch_done:
            break
    second = make(iterations=7, accumulate=accumulate)
    second.load_state_dict(first.state_dict())
    assert [p.losses["total"] for p in second] == losses[3 * (stop + 1) :]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    ours, theirs = (t.optimizer.state_dict()["state"] for t in (whole, second))
    assert ours.keys() == theirs.keys()
    for place in ours:
        for key, value in ours[place].items():
            assert torch.equal(value, theirs[place][key])


def test_moments_begin_when_the_part_learns():
    trainer = make(iterations=4)
    for _ in trainer:
        pass
    backbone, heads = trainer.model.backbone[0].weight, trainer.model.heads.weight
    assert trainer.optimizer.state[backbone]["step"] == 12 - 4
    assert trainer.optimizer.state[heads]["step"] == 12


def test_parts_within_parts_and_single_weights():
    """What comes before a frozen layer learns through it; a part may be named twice."""
    names = ("backbone.1", "backbone.2", "backbone.prompt", "backbone.2.bias")
    assert first_change(make(names), "backbone.0") == 1
    assert first_change(make(names), "backbone.1", "backbone.2", "backbone.prompt") is None


def test_a_weight_that_never_learned_does_not_begin_to():
    trainer = make(("heads",), iterations=2)
    list(trainer)
    assert trainer.model.heads.weight.requires_grad and not trainer.model.heads.bias.requires_grad


def test_it_is_told(caplog):
    caplog.set_level(logging.INFO, "reidtools")
    list(make(iterations=4))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "From iteration 0 on frozen: backbone",
        "From iteration 4 on trained: backbone",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bakbone", "part of the model in MODEL.FREEZE_LAYERS 'bakbone'.* mean 'backbone'"),
        ("backbone.promt", "part of backbone in .* mean 'prompt'"),
        ("backbone.1.bais", r"part of backbone\.1 in .* mean 'bias'"),
        ("heads.weight.x", r"part of heads\.weight in .*'x'.*Known: none"),
    ],
)
def test_a_slip_in_a_name_is_told_with_what_is_there(name, message):
    with pytest.raises(LookupError, match=message):
        Freezing(Model(), [name])


def test_two_lengths_are_refused():
    with pytest.raises(ValueError, match=r"FREEZE_ITERS.*to 0"):
        Freezing(Model(), ["heads"], iterations=3, epochs=1)
