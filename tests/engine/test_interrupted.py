"""Runs that are asked to stop, or meet numbers that are none, in one process."""

import copy
import os
import signal

import pytest
import torch
from torch import nn

from reidtools.engine.interruption import Interruption
from reidtools.engine.objective import Objective
from reidtools.engine.trainer import IN_VAIN, NonFiniteLoss, Trainer


class Numbers:
    """Five batches of four numbers by chance; those whose number is in `spoilt` are infinite."""

    def __init__(self, generator, spoilt=(), length=5):
        self.generator, self.spoilt, self.length = generator, spoilt, length
        self.read = []

    def __len__(self):
        return self.length

    def set_epoch(self, epoch, begin=0):
        self.epoch, self.begin = epoch, begin

    def __iter__(self):
        for place in range(self.begin, len(self)):
            number = self.epoch * len(self) + place
            self.read.append(number)
            images = torch.rand(4, 1, generator=self.generator) + place
            images = images + (torch.inf if number in self.spoilt else 0)
            yield {"images": images, "pids": torch.arange(4)}


class Model(nn.Module):
    shares = {}

    def __init__(self):
        super().__init__()
        self.scale, self.dropout = nn.Linear(1, 2), nn.Dropout(0.5)

    def in_a_row(self, images, camids):
        return (images,)

    def frames(self, images):
        return self.dropout(self.scale(images))

    def branches(self, frames, tracklets):
        return {"features": (frames,), "embeddings": (frames,)}


class Length(nn.Module):
    def forward(self, features):
        return features.square().mean()


def make(stop_at=None, amp=None, spoilt=(), log_period=2, accumulate=1, length=5):
    torch.manual_seed(0)
    model, generator = Model(), torch.Generator().manual_seed(0)
    objective = Objective({"Length": Length()}, {"Length": 1.0})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    trainer = Trainer(
        model,
        objective,
        Numbers(generator, spoilt, length),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.9**i),
        generator,
        max_epoch=3,
        log_period=log_period,
        amp=amp,
        accumulate=accumulate,
    )
    trainer.stop = lambda: stop_at is not None and trainer.iteration >= stop_at
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_goes_on_within_an_epoch_bit_for_bit(accumulate):
    """Stopped after the 7th step, in the middle of the second of three epochs."""
    straight = make(accumulate=accumulate)
    all_of_it = [(p.iteration, p.losses) for p in straight if p.epoch_done]

    stopped = make(stop_at=7, accumulate=accumulate)
    report = next(p for p in stopped if p.stop)
    assert report.iteration == 7 and not report.epoch_done
    state = copy.deepcopy(stopped.state_dict())
    assert (state["epoch"], state["position"]) == (0, 2)

    resumed = make(accumulate=accumulate)
    resumed.load_state_dict(state)
    rest = [(p.iteration, p.losses) for p in resumed if p.epoch_done]
    assert rest == all_of_it[1:]  # the epoch's means are of all of its batches
    assert resumed.batches.read == list(range(7, 15))
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_a_stop_waits_for_the_gradients_that_belong_together():
    (report,) = [p for p in make(stop_at=1, accumulate=3, log_period=100) if p.stop][:1]
    assert report.iteration == 3


def test_a_state_between_epochs_tells_of_none_that_has_begun():
    trainer = make()
    next(p for p in trainer if p.epoch_done)
    assert "position" not in trainer.state_dict()


def test_half_precision_skips_a_step_that_overflows_and_counts_it():
    """The third of five batches is infinite: the weights stay, and the means leave it out."""
    trainer = make(amp=torch.float16, spoilt=[2], log_period=1)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    weights, skipped, totals = [], [], []
    for progress in trainer:
        weights.append(trainer.model.scale.weight.detach().clone())
        skipped.append(progress.skipped)
        totals.append(progress.losses["total"])
        if progress.epoch_done:
            break
    assert skipped == [0, 0, 1, 0, 0]
    assert torch.equal(weights[2], weights[1])
    assert not torch.equal(weights[3], weights[2])
    assert totals[-1] == totals[-1] < float("inf")  # the epoch's, of four batches
    assert trainer.scaler.get_scale() == 2.0  # halved once


def test_half_precision_ends_when_every_step_is_skipped():
    trainer = make(amp=torch.float16, spoilt=range(200), length=IN_VAIN + 30)
    with pytest.raises(NonFiniteLoss, match=r"all skipped.*BASE_LR"):
        list(trainer)
    assert IN_VAIN <= trainer.iteration <= IN_VAIN + 2


def test_single_precision_stops_at_once():
    trainer = make(spoilt=[2], log_period=100)
    with pytest.raises(NonFiniteLoss, match="iteration 2"):
        list(trainer)
    assert trainer.iteration <= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_first_and_ends_the_second_time(number):
    before = signal.getsignal(number)
    with (
        pytest.raises((KeyboardInterrupt, SystemExit)) as ended,
        Interruption() as interruption,
    ):
        assert not interruption.is_asked()
        os.kill(os.getpid(), number)
        assert interruption.is_asked()
        os.kill(os.getpid(), number)
        pytest.fail("went on")
    if number == signal.SIGTERM:
        assert ended.value.code == 143
    assert signal.getsignal(number) is before


def test_where_nothing_is_lost_a_signal_ends_at_once():
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption, interruption.at_once():
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on")
    with pytest.raises(SystemExit), Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        with interruption.at_once():
            pytest.fail("went on")


def test_an_epoch_that_has_another_length_now_begins_anew(caplog):
    """As after a change of SOLVER.IMS_PER_BATCH: the batches that were seen are other ones."""
    stopped = make(stop_at=4)
    next(p for p in stopped if p.stop)
    shorter = make(length=3)
    shorter.load_state_dict(stopped.state_dict())
    with caplog.at_level("WARNING", "reidtools"):
        ends = [p.iteration for p in shorter if p.epoch_done]
    assert ends == [7, 10, 13]
    assert "begins anew: it had 5 batches when it was left, and has 3 now" in caplog.text
