"""All that bears on how weights move, at once: a resumed run is the same bit for bit."""

import copy

import pytest
import torch
from torch import nn

from reidtools.engine.average import MovingAverage
from reidtools.engine.freezing import Freezing
from reidtools.engine.objective import Objective
from reidtools.engine.teacher import Teacher
from reidtools.engine.trainer import Trainer
from reidtools.losses import CrossEntropyLoss, DistillationLoss, TripletLoss
from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.solver import make_clipper, make_optimizer


class Small(nn.Sequential):
    """Two convolutions with batch norms, and dropout."""

    pooled = False

    def __init__(self, dim):
        layers = [(3, 4), (4, dim)]
        parts = [(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU()) for a, b in layers]
        super().__init__(*parts[0], nn.Dropout(0.2), *parts[1])
        self.dim = dim


class Pictures:
    """Three batches of four people, two pictures each."""

    def __len__(self):
        return 3

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        for _ in range(3):
            images = torch.randn(8, 3, 8, 6, generator=generator)
            yield {"images": images, "pids": torch.arange(8) // 2}


def make(micro_batch, accumulate, amp, opt):
    torch.manual_seed(0)
    teacher = Teacher(Embedder(Small(7), BNNeck(7, False)), (10, 8))
    model = Embedder(Small(5), BNNeck(5, False))
    losses = {
        "CrossEntropyLoss": CrossEntropyLoss(5, 4),
        "DistillationLoss": DistillationLoss(5, teacher, kind="features"),
        "TripletLoss": TripletLoss(),
    }
    objective = Objective(losses, dict.fromkeys(losses, 1.0), 1, micro_batch, teacher)
    optimizer = make_optimizer({"embedder": model, "objective": objective}, opt=opt, base_lr=0.01)
    return Trainer(
        model,
        objective,
        Pictures(),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.95**i),
        torch.Generator().manual_seed(0),
        max_epoch=4,
        log_period=1,
        amp=amp,
        accumulate=accumulate,
        clip=make_clipper(clip_value=0.5),
        freezing=Freezing(model, ["backbone"], iterations=7),
        average=MovingAverage(model, decay=0.9),
    )


def tensors(state, name=""):
    """The tensors in nested dicts and lists, by their path."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    inside = [(k, v) for k, v in items if isinstance(v, dict | list | torch.Tensor)]
    return {n: t for k, v in inside for n, t in tensors(v, f"{name}/{k}").items()}


@pytest.mark.parametrize("opt", ["Adam", "SGD"])
@pytest.mark.parametrize("amp", [None, torch.bfloat16])
@pytest.mark.parametrize(("micro_batch", "accumulate"), [(0, 1), (3, 1), (0, 2), (3, 2)])
def test_stopped_while_frozen_or_after(micro_batch, accumulate, amp, opt):
    settings = (micro_batch, accumulate, amp, opt)
    whole, stopped = make(*settings), {}
    begin = copy.deepcopy(whole.model.backbone.state_dict())
    for progress in whole:
        if progress.epoch_done and progress.epoch in (1, 2):
            stopped[progress.epoch] = copy.deepcopy(whole.state_dict())
    frozen = stopped[1]["model"], stopped[1]["moving"]["model"]
    for state in frozen:
        assert all(torch.equal(t, state[f"backbone.{n}"]) for n, t in begin.items())
    assert not torch.equal(stopped[2]["model"]["backbone.0.weight"], begin["0.weight"])
    expected = tensors(whole.state_dict())
    assert any(name.startswith("/optimizer/state") for name in expected)
    for state in stopped.values():
        again = make(*settings)
        torch.manual_seed(99)
        again.load_state_dict(state)
        list(again)
        found = tensors(again.state_dict())
        assert found.keys() == expected.keys()
        assert not [
            name for name, tensor in expected.items() if not torch.equal(tensor, found[name])
        ]


@pytest.mark.parametrize("amp", [None, torch.float16])
def test_gradients_are_clipped_after_all_batches_of_a_step(amp):
    """SGD with rate 1 moves the weights together by as much as the limit, whatever was summed; in
    half precision too, where gradients are scaled up until they are clipped."""
    trainer = make(0, 2, amp, "SGD")
    assert trainer.scaler.is_enabled() == (amp is not None)
    for group in trainer.optimizer.param_groups:
        group.update(momentum=0, weight_decay=0)
    trainer.clip = make_clipper(clip_value=1e-3)
    trainer.schedule.base_lrs = [1.0] * len(trainer.schedule.base_lrs)
    trainer.schedule.lr_lambdas = [lambda i: 1.0] * len(trainer.schedule.lr_lambdas)
    parts = [*trainer.model.parameters(), *trainer.objective.parameters()]
    before, moved = [p.detach().clone() for p in parts], []
    for group in trainer.optimizer.param_groups:
        group["lr"] = 1.0
    for _ in trainer:
        squares = [(p.detach() - b).square().sum() for p, b in zip(parts, before, strict=True)]
        moved.append(sum(squares).sqrt().item())
        before = [p.detach().clone() for p in parts]
    # Batches 1 and 2 of an epoch are a step, and so is 3.
    assert moved == [pytest.approx(size, rel=1e-3) for size in [0, 1e-3, 1e-3] * 4]
