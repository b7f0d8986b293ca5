"""Learning rates over time: a warm-up, then one curve."""

import logging
import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reidtools.registry import choose

LOG = logging.getLogger("reidtools")
SCHEDS = ("MultiStepLR", "CosineAnnealingLR", "ConstantLR")
WARMUPS = ("linear", "constant")
ORIGINS = ("start", "warmup")


def make_schedule(
    optimizer: Optimizer,
    iterations_per_epoch: int,
    max_epoch: int,
    *,
    sched: str = "MultiStepLR",
    steps: Sequence[int] = (40, 70),
    gamma: float = 0.1,
    warmup_epochs: int = 0,
    warmup_iters: int = 0,
    warmup_factor: float = 0.01,
    warmup_method: str = "linear",
    delay_epochs: int = 0,
    eta_min_lr: float = 1e-7,
    steps_from: str = "start",
    first_epoch: int = 0,
) -> LambdaLR:
    """The learning rate of every group as a function of time; step it once an iteration.

    sched: ``MultiStepLR`` (times gamma at each epoch of steps), ``CosineAnnealingLR`` (from
        delay_epochs down to eta_min_lr at max_epoch) or ``ConstantLR``. All change between epochs.
    eta_min_lr: the end of the cosine for groups with the optimizer's own rate; others end higher
        or lower in proportion.
    warmup_epochs or warmup_iters: how long to warm up, rising once an epoch or every iteration.
    warmup_factor: where the warm-up begins, as a share of the rate.
    warmup_method: ``linear`` rises to 1, ``constant`` stays at warmup_factor to the end.
    steps_from: ``start`` counts epochs from the first one; ``warmup`` counts as FastReID does,
        from the end of the warm-up and of delay_epochs, so that steps come later by as much.
    first_epoch: the number of the first epoch for all of the above. 1 is what CLIP-ReID, TransReID
        and others have, so that the rate never is at the foot of a warm-up by epochs.

    Raises `LookupError` for unknown names, `ValueError` for a schedule that contradicts itself. A
    warm-up of more than half of the run is told.
    """
    for kind, name, known in (
        ("schedule", sched, SCHEDS),
        ("warm-up", warmup_method, WARMUPS),
        ("origin of steps", steps_from, ORIGINS),
    ):
        choose(kind, name, dict.fromkeys(known))
    if iterations_per_epoch < 1:
        raise ValueError(
            "An epoch has no iteration: use more training pictures or a smaller batch."
        )
    base_lr = optimizer.defaults["lr"]
    if warmup_epochs and warmup_iters:
        raise ValueError(
            f"warmup_epochs is {warmup_epochs} and warmup_iters is {warmup_iters}: "
            "a run warms up once; set one of them to 0."
        )
    if first_epoch not in (0, 1):
        raise ValueError(f"first_epoch is {first_epoch}; epochs are counted from 0 or from 1.")
    if any(later <= sooner for sooner, later in pairwise(steps)):
        raise ValueError(f"steps are {list(steps)}; write epochs that increase, like [40, 70].")
    if sched == "CosineAnnealingLR" and eta_min_lr > base_lr:
        raise ValueError(
            f"eta_min_lr, {eta_min_lr}, is above the base learning rate, {base_lr}; lower it."
        )
    if sched == "CosineAnnealingLR" and delay_epochs >= max_epoch:
        raise ValueError(
            f"delay_epochs is {delay_epochs} and the run ends after {max_epoch}, before the cosine "
            "begins; lower it, or choose ConstantLR."
        )
    curve = partial(
        lr_factor,
        iterations_per_epoch=iterations_per_epoch,
        max_epoch=max_epoch,
        sched=sched,
        steps=tuple(steps),
        gamma=gamma,
        warmup_iters=warmup_iters or warmup_epochs * iterations_per_epoch,
        warmup_stride=1 if warmup_iters else iterations_per_epoch,
        warmup_factor=warmup_factor,
        warmup_method=warmup_method,
        delay_epochs=delay_epochs,
        eta_min=eta_min_lr / base_lr,
        steps_from=steps_from,
        first_iteration=first_epoch * iterations_per_epoch,
    )
    _warn_of_warmup(curve, base_lr)
    # A plain function, because LambdaLR saves the attributes of any other callable.
    return LambdaLR(optimizer, lambda iteration: curve(iteration))


def _warn_of_warmup(curve: partial, base_lr: float) -> None:
    """Tell that the warm-up takes most of the run: recipes for large datasets on a small one."""
    told = curve.keywords
    epoch, warmup = told["iterations_per_epoch"], told["warmup_iters"]
    total = epoch * told["max_epoch"]
    if 2 * warmup <= total:
        return
    ends = {*range(epoch - 1, total, epoch), min(warmup, total) - 1, min(warmup, total - 1)}
    LOG.warning(
        "The warm-up takes %d iterations, and the run has %d (%d epochs of %d): the learning rate "
        "gets to %.3g at most, instead of %.3g. Lower SOLVER.WARMUP_ITERS (or WARMUP_EPOCHS), to "
        "%d, say, or train longer.",
        warmup,
        total,
        told["max_epoch"],
        epoch,
        base_lr * max(curve(iteration) for iteration in ends),
        base_lr,
        total // 10,
    )


def lr_factor(
    iteration: int,
    *,
    iterations_per_epoch: int,
    max_epoch: int,
    sched: str,
    steps: Sequence[int],
    gamma: float,
    warmup_iters: int,
    warmup_stride: int,
    warmup_factor: float,
    warmup_method: str,
    delay_epochs: int,
    eta_min: float,
    steps_from: str,
    first_iteration: int = 0,
) -> float:
    """What the base learning rate is multiplied by in an `iteration` that counts from 0.

    The options are those of `make_schedule`, but the warm-up lasts `warmup_iters` and rises every
    `warmup_stride` iterations, `eta_min` is a share of the base rate, and `first_iteration` is the
    number of the first.
    """
    iteration += first_iteration
    epoch = iteration // iterations_per_epoch
    begin, span = delay_epochs, max_epoch - delay_epochs
    if steps_from == "warmup":
        # FastReID's own counter stands still until both are over (its hook steps at epoch ends).
        warm_epochs = math.ceil(warmup_iters / iterations_per_epoch)
        epoch = max(0, epoch + 1 - max(warm_epochs, delay_epochs + 1))
        begin, span = 0, max(1, max_epoch - max(warm_epochs, delay_epochs))
    warming = iteration < warmup_iters
    factor = 1.0
    if sched == "MultiStepLR":
        factor = gamma ** sum(step <= epoch for step in steps)
    elif sched == "CosineAnnealingLR" and not warming:
        done = min(max((epoch - begin) / span, 0), 1)
        factor = eta_min + (1 - eta_min) * (1 + math.cos(math.pi * done)) / 2
    if warming:
        risen = iteration // warmup_stride * warmup_stride / warmup_iters
        rise = 1 - warmup_factor if warmup_method == "linear" else 0
        factor *= warmup_factor + rise * risen
    return factor
