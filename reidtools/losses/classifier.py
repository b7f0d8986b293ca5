"""The last layer of a classifier, and margins that make the right answer harder to give.

Margins work on cosines between a vector and the people's weights: (B, C) in, (B, C) out, with the
column of the label made smaller. `Classifier` tells what each of them is.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.registry import choose

LINEAR, EASY = "Linear", "ArcFace"  # the layer without cosines, and the one with an easy margin


def additive(cosines: Tensor, pids: Tensor, margin: float) -> Tensor:
    """``cos - margin`` on the label."""
    return _on_the_label(cosines, pids, lambda own: own - margin)


def angular(cosines: Tensor, pids: Tensor, margin: float) -> Tensor:
    """``cos(theta + margin)`` on the label, at any angle theta."""
    return _on_the_label(cosines, pids, lambda own: _turned(own, margin))


def guarded(cosines: Tensor, pids: Tensor, margin: float) -> Tensor:
    """As `angular` while ``theta < pi - margin``; beyond, ``cos - margin * sin(margin)``."""
    # There cos(theta + margin) would rise again with theta, and push away from the label.
    turn, less = math.cos(math.pi - margin), margin * math.sin(math.pi - margin)
    return _on_the_label(
        cosines, pids, lambda own: torch.where(own > turn, _turned(own, margin), own - less)
    )


def easy(cosines: Tensor, pids: Tensor, margin: float) -> Tensor:
    """As `angular` while the cosine is above 0; below there is no margin."""
    return _on_the_label(cosines, pids, lambda own: torch.where(own > 0, _turned(own, margin), own))


def circle(cosines: Tensor, pids: Tensor, margin: float) -> Tensor:
    """``[1 + margin - cos]+ (cos - (1 - margin))`` on the label, ``[cos + margin]+ (cos - margin)``
    elsewhere; no gradient goes through the brackets."""
    fixed = cosines.detach()
    others = (fixed + margin).clamp(min=0) * (cosines - margin)
    harder = (1 + margin - fixed).clamp(min=0) * (cosines - (1 - margin))
    return others.scatter(1, pids[:, None], harder.gather(1, pids[:, None]))


MARGINS = {
    LINEAR: None,
    "CosSoftmax": additive,
    "ArcSoftmax": angular,
    EASY: guarded,
    "CircleSoftmax": circle,
}


class Classifier(nn.Linear):
    """How much a vector looks like each of the people; the last layer of an identity loss.

    Calling it gives what a test would go by, without scale and margin: products with the weights,
    or cosines. `logits` makes of these what the loss sees.

    Args:
        dim: of the vectors.
        num_people: C, how many weights there are.
        bias: whether ``Linear`` has one, which then starts with its weights as PyTorch's layer.
        cls_layer: ``Linear``, products; the others compare directions, and subtract a margin from
            the label: ``CosSoftmax`` from the cosine (CosFace, arXiv:1801.09414; AM-Softmax,
            arXiv:1801.05599), ``ArcSoftmax`` and ``ArcFace`` from the angle (arXiv:1801.07698),
            ``CircleSoftmax`` with a weight that grows with what is left to learn
            (arXiv:2002.10857). Near the opposite direction ``ArcSoftmax``, which is FastReID's,
            turns round: there its gradient pushes away; ``ArcFace``, which is that of TransReID
            and CLIP-ReID, goes on down.
        scale: by which the result is multiplied. Cosines need about 30 (``CircleSoftmax`` 64 to
            256): from values within -1 and 1 no softmax gets sure.
        margin: 0 for ``Linear``; usual are 0.35 (``CosSoftmax``), 0.5 (``ArcFace``, in radians)
            and 0.25 to 0.35 (``CircleSoftmax``).
        easy_margin: of ``ArcFace``: no margin where the angle is above 90 degrees.

    Raises `LookupError` for an unknown layer, `ValueError` for a scale or a margin it cannot have
    and for fewer than two people.
    """

    def __init__(
        self,
        dim: int,
        num_people: int,
        bias: bool = False,
        *,
        cls_layer: str = LINEAR,
        scale: float = 1.0,
        margin: float = 0.0,
        easy_margin: bool = False,
    ):
        harden = choose("classifier layer", cls_layer, MARGINS)
        _check(num_people, cls_layer, scale, margin, easy_margin)
        bias = bias and cls_layer == LINEAR
        super().__init__(dim, num_people, bias=bias)
        self.harden: Callable | None = easy if easy_margin else harden
        self.scale, self.margin = scale, margin
        if not bias:
            # Products start undecided; a hidden layer, with which a bias comes, would learn next to
            # nothing through weights this small. Of weights that are compared by direction the
            # length counts in one way only: the shorter they are, the farther a step turns them.
            # 0.01 is FastReID's; after Xavier or Kaiming, as elsewhere, it would be some 0.03.
            nn.init.normal_(self.weight, std=0.01 if self.harden else 0.001)

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, C), products or cosines."""
        if self.harden is None:
            return super().forward(vectors)
        return F.linear(F.normalize(vectors), F.normalize(self.weight))

    def logits(self, scores: Tensor, pids: Tensor) -> Tensor:
        """What `forward` gave (B, C), labels (B,) -> (B, C) with margin and scale."""
        if self.harden is not None:
            scores = self.harden(scores, pids, self.margin)
        return self.scale * scores


def top1(scores: Tensor, pids: Tensor) -> Tensor:
    """The share of rows whose highest score is that of the label; (B, C), (B,) -> scalar."""
    return (scores.detach().argmax(1) == pids).float().mean()


def _on_the_label(cosines: Tensor, pids: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    column = pids[:, None]
    return cosines.scatter(1, column, change(cosines.gather(1, column)))


def _turned(cosines: Tensor, angle: float) -> Tensor:
    """``cos(theta + angle)`` from ``cos(theta)``."""
    # Rounding puts some squares above 1; at 1 the sine is 0, where a root has no finite slope.
    sines = (1 - cosines.pow(2)).clamp(min=1e-12).sqrt()
    return cosines * math.cos(angle) - sines * math.sin(angle)


def _check(num_people: int, cls_layer: str, scale: float, margin: float, easy_margin: bool) -> None:
    if num_people < 2:
        raise ValueError(
            f"A classifier tells people apart, but there are {num_people} to train on; use a "
            "training set of at least 2."
        )
    if not 0 < scale < math.inf:
        raise ValueError(f"scale is {scale}; choose one above 0, such as 30 for cosines.")
    if cls_layer == LINEAR and margin:
        raise ValueError(
            f"margin is {margin}, but Linear has none; set it to 0, or choose a layer that "
            f"compares directions: {', '.join(name for name in MARGINS if name != LINEAR)}."
        )
    if not 0 <= margin <= 1:
        raise ValueError(f"margin is {margin}; choose one from 0 to 1, such as 0.35.")
    if easy_margin and cls_layer != EASY:
        raise ValueError(f"easy_margin is for {EASY}, not {cls_layer}; switch it off.")
