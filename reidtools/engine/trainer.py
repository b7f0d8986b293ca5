"""The loop. It knows of a model, an objective, batches and an optimizer, and of nothing else."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reidtools.engine.average import MovingAverage
from reidtools.engine.freezing import Freezing


@dataclass
class Progress:
    """Where a run stands: `epoch` counts from 0, `iteration` counts the steps taken in all.

    `passed` is how many epochs are over, in part as well. `losses`, ``total`` among them, and
    `figures`, what losses measured besides, are means since the last report, or over the epoch if
    `epoch_done`, which says that this report closes its epoch; `lr` is the first group's.
    """

    epoch: int
    iteration: int
    lr: float
    epoch_done: bool
    passed: float
    losses: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


class NonFiniteLoss(FloatingPointError):
    """A loss became NaN or infinite; says when, which, and on which files."""


class _Means:
    """Means of named tensors, summed where they lie."""

    def __init__(self):
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: dict[str, Tensor]) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def values(self) -> dict[str, float]:
        return {name: (total / self.count).item() for name, total in self.sums.items()}


class Trainer:
    """Iterate over it to train; it yields a `Progress` after the first step, so that one sees early
    how long it will take, then every `log_period` steps and at epoch ends, and after every multiple
    of `also_report` steps in all, if that is not 0.

    What to do between them (evaluate, save, stop) is the caller's, in plain code:

        for progress in trainer:
            logbook.write(progress)
            if progress.epoch_done:
                save(trainer.state_dict())

    `batches` is iterable once an epoch, has a length and a ``set_epoch``; epochs may be of
    different length. `schedule` goes on by an epoch of ``schedule_length`` iterations, at first the
    length of `batches`, in each of them. Weights move once every `accumulate` batches, by the mean
    of their gradients, and at the end of an epoch. Only parts of `model` that want a gradient are
    trained, and a model without one is left in evaluation mode. `generator` is the augmentation's
    source of chance. `amp` is the dtype of autocast, or None. Finiteness is checked one step late,
    so that the device never waits for it; nothing is reported or saved in between.

    `clip` cuts the gradients of weights before these move, `freezing` keeps parts of the model as
    they are for a while, from one move of the weights to another, and `average` follows the model.
    `result` is what should be tested and kept: the average if there is one, else the model.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: nn.Module,
        batches: Any,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        generator: torch.Generator,
        *,
        max_epoch: int,
        log_period: int = 20,
        amp: torch.dtype | None = None,
        accumulate: int = 1,
        also_report: int = 0,
        clip: Callable[[Iterable[Tensor]], Any] | None = None,
        freezing: Freezing | None = None,
        average: MovingAverage | None = None,
    ):
        self.model, self.objective, self.batches = model, objective, batches
        self.optimizer, self.schedule, self.generator = optimizer, schedule, generator
        self.max_epoch, self.log_period, self.amp = max_epoch, log_period, amp
        self.accumulate, self.schedule_length = accumulate, len(batches)
        self.also_report = also_report
        self.clip, self.freezing, self.average = clip, freezing, average
        self.frozen = not any(weight.requires_grad for weight in model.parameters())
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == torch.float16)
        self.epoch = self.iteration = 0
        self._unchecked: tuple[int, dict[str, Tensor], dict[str, Any]] | None = None

    @property
    def result(self) -> nn.Module:
        return self.average.model if self.average else self.model

    def __iter__(self) -> Iterator[Progress]:
        started = False
        while self.epoch < self.max_epoch:
            self.batches.set_epoch(self.epoch)
            self.objective.set_epoch(self.epoch)
            self.model.train(not self.frozen)
            self.objective.train()
            recent, whole, count = _Means(), _Means(), len(self.batches)
            for position, batch in enumerate(self.batches):
                lr = self.optimizer.param_groups[0]["lr"]
                done, place = position + 1 == count, position % self.accumulate
                together = min(self.accumulate, count - position + place)  # fewer at the end
                moves = place + 1 == together
                if self.freezing and place == 0:
                    self.freezing.at(self.epoch, self.iteration)
                losses = self._step(batch, together, first=place == 0, moves=moves)
                if moves:
                    self._advance(position + 1, count)
                for means in (recent, whole):
                    means.add(losses | self.objective.figures)
                asked = self.also_report and self.iteration % self.also_report == 0
                if recent.count == self.log_period or done or not started or asked:
                    started = True
                    self._check()
                    values = (whole if done else recent).values()
                    figures = {name: values.pop(name) for name in self.objective.figures}
                    passed = self.epoch + (position + 1) / count
                    where = (self.epoch, self.iteration, lr, done, passed)
                    progress = Progress(*where, values, figures)
                    self.epoch += done
                    yield progress
                    recent = _Means()

    @torch.inference_mode()
    def losses_of(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Means over `batches` of people who were not trained on; see `Objective.of_strangers`."""
        self.result.eval()
        self.objective.eval()
        means = _Means()
        for batch in batches:
            with torch.autocast(self.device.type, self.amp) if self.amp else nullcontext():
                means.add(self.objective.of_strangers(self.result, batch))
        return means.values()

    def _advance(self, done: int, count: int) -> None:
        """Set the schedule to where an epoch is of which `done` of `count` batches are done."""
        length = self.schedule_length
        self.schedule.last_epoch = self.epoch * length + done * length // count - 1
        self.schedule.step()

    def _step(
        self, batch: dict[str, Any], together: int, *, first: bool, moves: bool
    ) -> dict[str, Tensor]:
        """The gradients of one of the batches that move the weights `together`.

        The `first` of them forgets those of before, the last one `moves` the weights. The detached
        losses, with their ``total``.
        """
        with torch.autocast(self.device.type, self.amp) if self.amp else nullcontext():
            losses = self.objective(self.model, batch)
        total = sum(losses.values())
        self._check()
        if first:
            self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total / together).backward()
        if moves:
            self._move()
        losses = {name: value.detach() for name, value in losses.items()}
        losses["total"] = total.detach()
        self._unchecked = (self.iteration, losses, batch)
        self.iteration += 1
        return losses

    def _move(self) -> None:
        """Let the weights move by their gradients."""
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            self.clip([w for group in self.optimizer.param_groups for w in group["params"]])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update(self.model)

    def _check(self) -> None:
        """Stop if the losses of the step before are not finite."""
        if self._unchecked is None:
            return
        iteration, losses, batch = self._unchecked
        self._unchecked = None
        if torch.isfinite(losses["total"]):
            return
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
        files = "\n  ".join(batch.get("paths", ["(the batch names no files)"]))
        raise NonFiniteLoss(
            f"The loss stopped being a number at iteration {iteration}: {values}. Lower "
            f"SOLVER.BASE_LR or lengthen the warm-up, and look at the pictures of the batch:\n"
            f"  {files}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything the next epoch depends on: plain tensors and numbers.

        Under ``model`` is the `result`; where that is an average, the model that it follows is
        under ``moving``.
        """
        moving = {"model": self.model.state_dict(), "updates": getattr(self.average, "updates", 0)}
        return {
            "model": self.result.state_dict(),
            **({"moving": moving} if self.average else {}),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": self._optimizer_kind(),
            "optimizer_names": self._weight_names(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": self._rng_state(),
            "epoch": self.epoch - 1,
            "iteration": self.iteration,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the epoch that `state` was saved at.

        Moments and counters come from `state`, by the names of the weights; learning rates, decay
        and the like are those this trainer was built with, so a setting that was changed before
        resuming has its effect. Without an average in `state` one begins here. Another optimizer,
        or other weights to train, are a ValueError.
        """
        if state["optimizer_kind"] != self._optimizer_kind():
            raise ValueError(
                f"it was trained with {state['optimizer_kind']}, and {self._optimizer_kind()} "
                "cannot use its moments"
            )
        places = {name: place for place, name in enumerate(state["optimizer_names"])}
        names = self._weight_names()
        if places.keys() != set(names):
            other = ", ".join(sorted(places.keys() ^ set(names))[:4])
            raise ValueError(f"other weights were trained, such as {other}")
        theirs = state["optimizer"]["state"]
        moments = {i: theirs[places[n]] for i, n in enumerate(names) if places[n] in theirs}
        rates = self.schedule.base_lrs
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        moving = state.get("moving", {"model": state["model"], "updates": 0})
        self.model.load_state_dict(moving["model"])
        if self.average:
            self.average.load(state["model"], moving["updates"])
        for name in ("objective", "schedule", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.schedule.base_lrs = rates
        for group, rate, factor in zip(
            self.optimizer.param_groups, rates, self.schedule.lr_lambdas, strict=True
        ):
            group["lr"] = rate * factor(self.schedule.last_epoch)
        self.epoch, self.iteration = state["epoch"] + 1, state["iteration"]
        torch.set_rng_state(state["rng"]["torch"])
        self.generator.set_state(state["rng"]["augment"])
        if torch.cuda.is_available() and state["rng"]["cuda"]:
            torch.cuda.set_rng_state_all(state["rng"]["cuda"])

    def _optimizer_kind(self) -> str:
        amsgrad = "AMSGrad " if self.optimizer.defaults.get("amsgrad") else ""
        return amsgrad + type(self.optimizer).__name__

    def _weight_names(self) -> list[str]:
        """Names of the optimizer's weights, in its order, which depends on how they are grouped."""
        parts = {"model": self.model, "objective": self.objective}
        names = {id(w): f"{p}.{n}" for p, m in parts.items() for n, w in m.named_parameters()}
        return [names[id(w)] for group in self.optimizer.param_groups for w in group["params"]]

    def _rng_state(self) -> dict[str, Any]:
        return {
            "torch": torch.get_rng_state(),
            "augment": self.generator.get_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
