"""The loop. It knows of a model, an objective, batches and an optimizer, and of nothing else."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reidtools import processes
from reidtools.engine.average import MovingAverage
from reidtools.engine.freezing import Freezing
from reidtools.engine.means import Means, Unchecked
from reidtools.engine.parallel import Parallel, Step
from reidtools.engine.resuming import go_on, state_of

LOGGER = logging.getLogger("reidtools")
IN_VAIN = 50  # skipped steps in a row: the scale of half precision has long been small enough


@dataclass
class Progress:
    """Where a run stands: `epoch` counts from 0, `iteration` counts the steps taken in all.

    `passed` is how many epochs are over, in part as well. `losses`, ``total`` among them, and
    `figures`, what losses measured besides, are means since the last report, or over the epoch if
    `epoch_done`, which says that this report closes its epoch; `lr` is the first group's. `skipped`
    is how many steps since the last report moved no weight, because half precision did not hold
    their gradients. `stop` says that the run was asked to end, in any of its processes.
    """

    epoch: int
    iteration: int
    lr: float
    epoch_done: bool
    passed: float
    losses: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    stop: bool = False


class NonFiniteLoss(FloatingPointError):
    """A loss became NaN or infinite; says when, which, and on which files."""


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
    so that the device never waits for it; nothing is reported or saved in between. In half
    precision (float16) steps whose gradients overflow are skipped and counted instead, until
    nothing else happens.

    `stop` says whether the run is asked to end; after the step that sees it comes a report that
    says so. The state of that one can be saved and goes on with the next step, as the state of one
    at the end of an epoch does. In several processes
    `batches` are this one's parts, gradients are means over all, and every report has the same
    figures in each of them; `state_dict` and `losses_of` must be called by all.

    `clip` cuts the gradients of weights before these move, `freezing` keeps parts of the model as
    they are for a while, from one move of the weights to another, and `average` follows the model.
    `result` is what should be tested and kept: the average if there is one, else the model. Where
    `parallel` has divided the weights of `model` it is a whole copy, as of the last `state_dict`.
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
        stop: Callable[[], bool] = bool,
        parallel: Parallel | None = None,
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
        if self.scaler.is_enabled():  # its first step is often skipped, and that is no mistake
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        self.stop = stop
        self.epoch = self.iteration = 0
        self.position = 0  # batches of this epoch that are done
        self.means = Means()  # of this epoch
        self.length = 0  # of the epoch that `position` is in, where a run goes on within one
        self.parallel = parallel or Parallel(Step(model, objective))
        self._unchecked: Unchecked | None = None
        self._moves = self._in_vain = 0  # steps since the last report, and skipped ones in a row
        self._skipped: Tensor | int = 0  # of `_moves`

    @property
    def result(self) -> nn.Module:
        return self.average.model if self.average else self.parallel.whole or self.model

    def __iter__(self) -> Iterator[Progress]:
        started, asked_by_any = False, processes.Flag()
        while self.epoch < self.max_epoch:
            self._begin_epoch()
            self.model.train(not self.frozen)
            self.objective.train()
            recent, count = Means(), len(self.batches)
            for position, batch in enumerate(self.batches, self.position):
                lr = self.optimizer.param_groups[0]["lr"]
                done, place = position + 1 == count, position % self.accumulate
                together = min(self.accumulate, count - position + place)  # fewer at the end
                moves = place + 1 == together
                if self.freezing and place == 0:
                    self.freezing.at(self.epoch, self.iteration)
                losses = self._step(batch, together, first=place == 0, moves=moves)
                if moves:
                    self._advance(position + 1, count)
                finite = losses["total"].isfinite() if self.scaler.is_enabled() else None
                for means in (recent, self.means):
                    means.add(losses | self.objective.figures, finite)
                stop = moves and asked_by_any.any(self.stop())
                asked = self.also_report and self.iteration % self.also_report == 0
                if recent.count == self.log_period or done or stop or asked or not started:
                    started, passed = True, self.epoch + (position + 1) / count
                    where = (self.epoch, self.iteration, lr, done, passed)
                    self.position = 0 if done else position + 1
                    progress = self._report(where, self.means if done else recent, stop)
                    if done:
                        self.epoch, self.means = self.epoch + 1, Means()
                    yield progress
                    recent = Means()

    def _begin_epoch(self) -> None:
        """Let everybody know the epoch; one that has begun goes on if it is still the same."""
        self.batches.set_epoch(self.epoch, *([self.position] if self.position else []))
        self.objective.set_epoch(self.epoch)
        if self.position and len(self.batches) != self.length:
            LOGGER.warning(
                "Epoch %d begins anew: it had %d batches when it was left, and has %d now.",
                *(self.epoch, self.length, len(self.batches)),
            )
            self.position, self.means = 0, Means()
            self.batches.set_epoch(self.epoch)

    def _report(self, where: tuple[int, int, float, bool, float], means: Means, stop: bool):
        self._check()
        skipped = int(self._skipped)
        self._in_vain = self._in_vain + skipped if skipped == self._moves else 0
        if self._in_vain >= IN_VAIN:
            raise NonFiniteLoss(
                f"The last {self._in_vain} steps were all skipped, because gradients in half "
                "precision were no numbers; lower SOLVER.BASE_LR, set SOLVER.AMP.DTYPE bf16 where "
                "the GPU has it, or switch SOLVER.AMP off."
            )
        self._moves = self._skipped = 0
        self.parallel.agree(self.model, self.objective, self.result)
        values = means.values()
        figures = {name: values.pop(name) for name in self.objective.figures}
        return Progress(*where, values, figures, skipped, stop)

    @torch.inference_mode()
    def losses_of(self, batches: Iterable[dict[str, Any]]) -> dict[str, float]:
        """Means over `batches` of people who were not trained on; see `Objective.of_strangers`."""
        self.result.eval()
        self.objective.eval()
        means = Means()
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
        with nullcontext() if moves else self.parallel.alone():
            with torch.autocast(self.device.type, self.amp) if self.amp else nullcontext():
                losses = self.parallel(batch)
            total = sum(losses.values())
            self._check()
            if first:
                self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(total / together).backward()
        if moves:
            self._move()
        losses = {name: value.detach() for name, value in losses.items()}
        losses["total"] = total.detach()
        if not self.scaler.is_enabled():
            self._unchecked = Unchecked(self.iteration, losses, batch)
        self.iteration += 1
        return losses

    def _move(self) -> None:
        """Let the weights move by their gradients."""
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            self.clip([w for group in self.optimizer.param_groups for w in group["params"]])
        self.scaler.step(self.optimizer)
        if self.scaler.is_enabled():
            found = self.scaler._found_inf_per_device(self.optimizer)
            self._skipped = self._skipped + sum(found.values())
        self._moves += 1
        self.scaler.update()
        if self.average:
            self.average.update(self.model)

    def _check(self) -> None:
        """Stop if the losses of the step before are not finite."""
        step, self._unchecked = self._unchecked, None
        if step is None or step.is_finite():
            return
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in step.losses.items())
        files = "\n  ".join(step.batch.get("paths", ["(the batch names no files)"]))
        raise NonFiniteLoss(
            f"The loss stopped being a number at iteration {step.iteration}: {values}. Lower "
            f"SOLVER.BASE_LR or lengthen the warm-up, and look at the pictures of the batch:\n"
            f"  {files}"
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on: plain tensors and numbers.

        Under ``model`` is the `result`; where that is an average, the model that it follows is
        under ``moving``.
        """
        return state_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was saved: after an epoch, or within one.

        Moments and counters come from `state`, by the names of the weights; learning rates, decay
        and the like are those this trainer was built with, so a setting that was changed before
        resuming has its effect. Without an average in `state` one begins here. Another optimizer,
        or other weights to train, are a ValueError.
        """
        go_on(self, state)
