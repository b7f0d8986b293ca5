"""Gradients cut to a size, before they move weights."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from reidtools.registry import choose

Clipper = Callable[[Iterable[Tensor]], Any]


def make_clipper(
    *, clip_type: str = "norm", clip_value: float = 5.0, norm_type: float = 2.0
) -> Clipper:
    """A function that cuts the gradients of weights in place (Pascanu et al., 2013,
    arXiv:1211.5063); those without a gradient are left out, and no device is waited for.

    clip_type: ``norm`` scales all gradients by one number, so that together they are no longer than
        clip_value and keep their direction; ``norm_each`` does so for the gradient of each weight
        by itself, which is what FastReID and detectron2 call norm; ``value`` cuts each number to
        -clip_value … clip_value.
    clip_value: the most that is left.
    norm_type: the p of the norm; 2 is length, inf the largest number. Without effect on ``value``.

    Raises `LookupError` for another type, `ValueError` for a limit or a norm that is not above 0.
    """
    if not clip_value > 0 or not norm_type > 0:
        raise ValueError(
            f"clip_value is {clip_value} and norm_type {norm_type}; both must be above 0, and "
            "ENABLED False is how not to clip."
        )
    kinds: dict[str, Clipper] = {
        "norm": partial(clip_grad_norm_, max_norm=clip_value, norm_type=norm_type),
        "norm_each": partial(_each, clip_value=clip_value, norm_type=norm_type),
        "value": partial(clip_grad_value_, clip_value=clip_value),
    }
    return choose("gradient clipping", clip_type, kinds)


def _each(weights: Iterable[Tensor], *, clip_value: float, norm_type: float) -> None:
    for weight in weights:
        clip_grad_norm_(weight, clip_value, norm_type)
