"""The moving average of weights, on paper; it is what a run keeps, and a resumed run goes on."""

import copy

import pytest
import torch
from torch import nn

from reidtools.engine.average import MovingAverage
from reidtools.engine.objective import Objective
from reidtools.engine.trainer import Trainer


class Weight(nn.Module):
    """One weight w, at first 1; a batch norm whose statistics move; features w x."""

    shares: dict = {}

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm1d(1, affine=False)

    def in_a_row(self, images, camids):
        return (images,)

    def frames(self, images):
        self.norm(images)
        return self.weight * images

    def branches(self, frames, tracklets):
        return {"features": (frames,), "embeddings": (frames,)}


class Length(nn.Module):
    def forward(self, features):
        return features.square().mean()


class Ones:
    """Three batches of two ones; the gradient of w^2 is 2 w."""

    def __len__(self):
        return 3

    def set_epoch(self, epoch):
        pass

    def __iter__(self):
        for _ in range(3):
            yield {"images": torch.ones(2, 1), "pids": torch.zeros(2)}


def make(decay=0.999, epochs=4, averaged=True, accumulate=1):
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)  # halves the weight
    return Trainer(
        model,
        Objective({"Length": Length()}, {"Length": 1.0}),
        Ones(),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1.0),
        torch.Generator(),
        max_epoch=epochs,
        log_period=1,
        accumulate=accumulate,
        average=MovingAverage(model, decay=decay) if averaged else None,
    )


def test_weights_and_their_average_on_paper():
    """Weights 1/2, 1/4, 1/8; the first updates keep 1/10, 2/11, 3/12 of the average."""
    trainer, found = make(epochs=1), []
    for _ in trainer:
        found.append((trainer.model.weight.item(), trainer.result.weight.item()))
    first = 0.1 * 1 + 0.9 / 2
    second = 2 / 11 * first + 9 / 11 / 4
    third = 3 / 12 * second + 9 / 12 / 8
    assert [pair[0] for pair in found] == [0.5, 0.25, 0.125]
    assert [pair[1] for pair in found] == pytest.approx([first, second, third])


def test_a_ramp_ends_at_the_decay():
    """At a decay of 0.15 the second update is the first to keep that much: 2/11 is more."""
    trainer = make(decay=0.15, epochs=1)
    list(trainer)
    first = 0.1 + 0.9 / 2
    second = 0.15 * first + 0.85 / 4
    assert trainer.result.weight.item() == pytest.approx(0.15 * second + 0.85 / 8)


def test_statistics_are_averaged_and_counts_are_copied():
    """Means of ones go from 0 to 0.1 and 0.19, counts to 2."""
    model = Weight()
    average = MovingAverage(model, decay=0.5)
    for _ in range(2):
        model.norm(torch.ones(2, 1))
        average.update(model)
    found = average.model.norm
    assert found.num_batches_tracked == 2
    assert found.running_mean.item() == pytest.approx(2 / 11 * (0.9 * 0.1) + 9 / 11 * 0.19)


def test_it_wants_no_gradient_and_shares_no_weight():
    model = Weight()
    average = MovingAverage(model)
    assert not average.model.training and not average.model.weight.requires_grad
    assert model.training and model.weight.requires_grad
    average.update(model)
    assert average.model.weight.data_ptr() != model.weight.data_ptr()


def test_weights_that_stay_are_their_own_average_exactly():
    model = nn.Linear(7, 5)
    before, average = copy.deepcopy(model), MovingAverage(model)
    for _ in range(50):
        average.update(model)
    assert torch.equal(average.model.weight, before.weight)


def test_it_follows_when_weights_move_only():
    """Three batches, two of which count as one: two moves an epoch."""
    trainer = make(accumulate=2, epochs=1)
    list(trainer)
    assert trainer.average.updates == 2


def test_a_checkpoint_has_the_average_as_its_model_and_the_moving_one_beside():
    trainer = make(epochs=2)
    list(trainer)
    state = trainer.state_dict()
    assert torch.equal(state["model"]["weight"], trainer.result.weight)
    assert torch.equal(state["moving"]["model"]["weight"], trainer.model.weight)
    assert state["moving"]["updates"] == 6
    assert "moving" not in make(averaged=False).state_dict()


def interrupted(after, **settings):
    trainer = make(**settings)
    for progress in trainer:
        if progress.epoch == after and progress.epoch_done:
            return copy.deepcopy(trainer.state_dict())
    raise AssertionError


@pytest.mark.parametrize("after", [0, 2])
def test_a_resumed_run_is_the_same_bit_for_bit(after):
    whole, second = make(), make()
    list(whole)
    second.load_state_dict(interrupted(after))
    list(second)
    for ours, theirs in ((whole.model, second.model), (whole.result, second.result)):
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name])


def test_an_average_may_begin_or_end_with_a_resumed_run():
    begun = make()
    begun.load_state_dict(interrupted(1, averaged=False))
    assert begun.result.weight.item() == begun.model.weight.item() == 1 / 2**6
    assert begun.average.updates == 0
    ended = make(averaged=False)
    ended.load_state_dict(interrupted(1))
    assert ended.result is ended.model and ended.model.weight.item() == 1 / 2**6


def test_strangers_are_told_apart_by_the_average():
    trainer = make(epochs=1)
    list(trainer)
    found = trainer.losses_of(list(Ones()))
    assert found["Length"] == pytest.approx(trainer.result.weight.item() ** 2)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_is_a_share(decay):
    with pytest.raises(ValueError, match=r"from 0 to below 1"):
        MovingAverage(Weight(), decay=decay)
