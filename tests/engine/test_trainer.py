import pytest
import torch
from torch import nn

from reidtools.engine.objective import Objective
from reidtools.engine.trainer import NonFiniteLoss, Trainer


class Numbers:
    """Three batches of four numbers; `spoil` makes the images of that step NaN."""

    def __init__(self, spoil=None):
        self.spoil, self.epochs, self.step = spoil, [], 0

    def __len__(self):
        return 3

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        for i in range(3):
            images = torch.arange(4.0).view(4, 1) + i
            if self.step == self.spoil:
                images = images * torch.nan
            self.step += 1
            yield {
                "images": images,
                "pids": torch.arange(4),
                "paths": [f"{i}_{k}" for k in range(4)],
            }


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.dropout, self.shares = nn.Linear(1, 2), nn.Dropout(0.5), {}

    def in_a_row(self, images, camids):
        return (images,)

    def frames(self, images):
        return self.dropout(self.scale(images))

    def branches(self, frames, tracklets):
        return {"features": (frames,), "embeddings": (frames,)}


class Length(nn.Module):
    def forward(self, features):
        return features.square().mean()


def make(epochs=4, spoil=None, lr=0.01, log_period=2, accumulate=1):
    torch.manual_seed(0)
    model = Model()
    objective = Objective({"Length": Length()}, {"Length": 1.0})
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.9**i)
    generator = torch.Generator().manual_seed(0)
    return Trainer(
        model,
        objective,
        Numbers(spoil),
        optimizer,
        schedule,
        generator,
        max_epoch=epochs,
        log_period=log_period,
        accumulate=accumulate,
    )


def test_progress_after_the_first_step_every_period_and_at_the_end_of_an_epoch():
    reports = [(p.epoch, p.iteration, p.epoch_done) for p in make(epochs=2)]
    assert reports == [(0, 1, False), (0, 3, True), (1, 5, False), (1, 6, True)]


def test_reports_are_means_and_an_epoch_closes_with_those_of_the_epoch():
    trainer, seen = make(epochs=2, log_period=2), []
    trainer.objective.register_forward_hook(lambda m, i, out: seen.append(out["Length"].item()))
    means = [progress.losses["Length"] for progress in trainer]
    expected = [seen[0], sum(seen[:3]) / 3, sum(seen[3:5]) / 2, sum(seen[3:]) / 3]
    assert means == pytest.approx(expected)


def test_the_loss_falls_and_the_schedule_is_stepped_every_iteration():
    reports = list(make(epochs=20, log_period=3, lr=0.05))
    assert reports[-1].losses["total"] < reports[0].losses["total"]
    assert [p.lr for p in reports[:3]] == pytest.approx([0.05 * 0.9**i for i in (0, 2, 5)])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_epochs_and_two_more_equal_four(accumulate):
    """Weights, moments, schedule and chance (dropout) continue bit for bit."""
    whole = make(log_period=1, accumulate=accumulate)
    losses = [p.losses for p in whole]
    first = make(log_period=1, accumulate=accumulate)
    for progress in first:
        if progress.epoch == 1 and progress.epoch_done:
            break
    state = first.state_dict()
    second = make(log_period=1, accumulate=accumulate)
    torch.manual_seed(99)  # whatever happened in between
    second.load_state_dict(state)
    assert [p.losses for p in second] == losses[6:]
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.batches.epochs[2:] == second.batches.epochs == [2, 3]


def test_a_learning_rate_changed_before_resuming_has_its_effect():
    first = make(epochs=1)
    list(first)
    second = make(epochs=2, lr=0.5)
    second.load_state_dict(first.state_dict())
    assert next(iter(second)).lr == pytest.approx(0.5 * 0.9**3)


def test_moments_follow_the_names_of_weights_however_these_are_grouped():
    first = make(epochs=1)
    list(first)
    regrouped = make(epochs=2)
    weights = list(regrouped.model.parameters())
    regrouped.optimizer = torch.optim.Adam(
        [{"params": [weights[1]]}, {"params": [weights[0]]}], lr=0.01
    )
    regrouped.schedule = torch.optim.lr_scheduler.LambdaLR(regrouped.optimizer, lambda i: 0.9**i)
    regrouped.load_state_dict(first.state_dict())
    for name, weight in first.model.named_parameters():
        theirs = first.optimizer.state[weight]["exp_avg"]
        own = dict(regrouped.model.named_parameters())[name]
        assert torch.equal(regrouped.optimizer.state[own]["exp_avg"], theirs)


def test_another_optimizer_or_other_weights_are_refused():
    first = make(epochs=1)
    list(first)
    other = make(epochs=2)
    other.optimizer = torch.optim.SGD(other.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="trained with Adam, and SGD"):
        other.load_state_dict(first.state_dict())
    fewer = make(epochs=2)
    fewer.optimizer = torch.optim.Adam([fewer.model.scale.weight], lr=0.1)
    with pytest.raises(ValueError, match=r"other weights.*scale\.bias"):
        fewer.load_state_dict(first.state_dict())


@pytest.mark.parametrize("step", [1, 2, 4])
def test_a_loss_that_is_no_number_stops_with_iteration_name_and_files(step):
    with pytest.raises(NonFiniteLoss) as caught:
        list(make(spoil=step))
    message = str(caught.value)
    assert f"iteration {step}" in message and "Length nan" in message
    assert f"{step % 3}_0" in message and "BASE_LR" in message


# --- several batches a step, epochs of different lengths, frozen models --------------------------


class Epochs(Numbers):
    """Epoch e has ``lengths[e]`` batches, of the number 1, of 2, of 3 …"""

    def __init__(self, lengths):
        super().__init__()
        self.lengths, self.now = lengths, lengths[0]

    def __len__(self):
        return self.now

    def set_epoch(self, epoch):
        self.now = self.lengths[epoch]

    def __iter__(self):
        for i in range(self.now):
            yield {"images": torch.full((1, 1), i + 1.0), "pids": torch.zeros(1)}


class Weight(Model):
    """One weight w, at first 1. The loss of a batch of the number x is (w x)^2."""

    def __init__(self):
        super().__init__()
        self.scale, self.dropout = nn.Linear(1, 1, bias=False), nn.Identity()
        nn.init.ones_(self.scale.weight)


def on_paper(lengths, accumulate, lr, curve=lambda i: 1.0):
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    return Trainer(
        model,
        Objective({"Length": Length()}, {"Length": 1.0}),
        Epochs(lengths),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, curve),
        torch.Generator(),
        max_epoch=len(lengths),
        log_period=1,
        accumulate=accumulate,
    )


def weights_after_each(trainer):
    return [trainer.model.scale.weight.item() for _ in trainer]


def test_two_batches_are_one_step_by_the_mean_of_their_gradients():
    """Gradients of (w x)^2 at w = 1 are 2 and 8, their mean is 5: w = 1 - 0.1 * 5."""
    assert weights_after_each(on_paper([2], accumulate=2, lr=0.1)) == pytest.approx([1.0, 0.5])


def test_the_last_batches_of_an_epoch_are_a_step_of_their_own():
    """The third is alone: its gradient at w = 0.5 is 9, and so is the mean. Nothing is left over:
    the next epoch begins at w = -0.4 with gradients -0.8 and -3.2."""
    found = weights_after_each(on_paper([3, 2], accumulate=2, lr=0.1))
    assert found == pytest.approx([1.0, 0.5, -0.4, -0.4, -0.4 + 0.2])


def test_losses_are_told_for_each_batch_whatever_is_accumulated():
    losses = [p.losses["total"] for p in on_paper([4], accumulate=4, lr=0.1)]
    assert losses == pytest.approx([1, 4, 9, (1 + 4 + 9 + 16) / 4])  # the last is of the epoch


def places(lengths, accumulate=1):
    """Where the schedule is in each batch, and at the end."""
    trainer = on_paper(lengths, accumulate, lr=1e-6, curve=lambda i: 1.0 + i)
    return [round(p.lr / 1e-6) - 1 for p in trainer] + [trainer.schedule.last_epoch]


def test_the_schedule_goes_on_when_weights_move_only():
    assert places([3, 3], accumulate=2) == [0, 0, 2, 3, 3, 5, 6]


def test_an_epoch_of_the_schedule_is_an_epoch_whatever_its_length():
    """An epoch is two iterations of the schedule: those of four batches are half as fast, and none
    of them is at the rate of the epoch after."""
    assert places([2, 4, 3, 1]) == [0, 1, *(2, 2, 3, 3), *(4, 4, 5), 6, 8]


def test_progress_counts_epochs_of_different_lengths():
    reports = list(on_paper([2, 4], accumulate=1, lr=1e-6))
    assert [p.passed for p in reports] == [0.5, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert [p.epoch_done for p in reports] == [False, True, False, False, False, True]
    assert [p.iteration for p in reports] == [1, 2, 3, 4, 5, 6]


class Guess(nn.Module):
    """A loss with a weight of its own, so that there is something to train in any case."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, features):
        return (self.weight * features).square().mean()


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_model_is_left_in_evaluation_mode(frozen):
    """Its batch norms and dropout must not notice that losses are trained on what it gives."""
    model, modes = Model().requires_grad_(not frozen), []
    objective = Objective({"Guess": Guess()}, {"Guess": 1.0})
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1.0)
    parts = (model, objective, Numbers(), optimizer, schedule, torch.Generator())
    for _ in Trainer(*parts, max_epoch=1, log_period=1):
        modes.append((model.training, objective.training))
    assert modes == [(not frozen, True)] * 3
