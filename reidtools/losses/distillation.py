"""What a trained network knows, learned by another one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.losses.classifier import Classifier
from reidtools.ops.distances import cosine
from reidtools.registry import LOSSES, choose


def relations(own: Tensor, taught: Tensor) -> Tensor:
    """How differently two networks relate the pictures of a batch; (B, D), (B, E) -> scalar.

    The mean over all pairs of the squared difference of their cosines.
    """
    return (cosine(own, own) - cosine(taught, taught)).square().mean()


def directions(own: Tensor, taught: Tensor) -> Tensor:
    """``1 - cos`` of each row and the one beside it, mean; (B, D), (B, D) -> scalar."""
    return 1 - (F.normalize(own) * F.normalize(taught)).sum(1).mean()


def divergence(own: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """How differently two classifiers answer; logits (B, C), (B, C) -> scalar.

    The mean of both Kullback-Leibler divergences of the softmaxes of logits / `temperature`, mean
    over the batch, times temperature^2, so that gradients keep their size (Hinton et al., 2015,
    arXiv:1503.02531); as FastReID's Distiller.
    """
    p, q = ((logits / temperature).log_softmax(1) for logits in (own, taught))
    both = [F.kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((p, q), (q, p))]
    return temperature**2 * (both[0] + both[1]) / 2


@LOSSES
class DistillationLoss(nn.Module):
    """Be like a teacher: the network MODEL.TEACHER, which sees the same augmented pictures.

    `kind` says in what:
    ``relations``: in how alike pictures are to each other. Cosines of all pairs of a batch should
        be those of the teacher (after Tung & Mori, 2019, arXiv:1907.09682, who compare rows of
        products, and Park et al., 2019, arXiv:1904.05068). Vectors may be of any two lengths.
    ``features``: in the directions of vectors, through a linear map that is learned if the lengths
        differ.
    ``logits``: in what its classifier says, softened by `temperature` (Hinton et al., 2015,
        arXiv:1503.02531), in both directions as in FastReID (Distiller, 16). The student says it
        through a linear map of its own, so the teacher's people may be others than the student's.

    No labels are needed. Each branch of a student's head learns from the teacher's whole vector.
    Squares of differences of cosines are small numbers: give ``relations`` a WEIGHT accordingly.

    Args:
        dim: length of the student's vectors.
        teacher: what is known of it: its `dim`, and how many `people` its classifier knows, 0
            without one.
        kind: see above.
        temperature: of ``logits``.

    `figures` gets the mean cosine to the teacher (``like_teacher``) of ``features``, the share of
    pictures that are the same person to both (``top1_teacher``) of ``logits``.

    Raises `LookupError` for an unknown kind, `ValueError` for a temperature that is not above 0 and
    for ``logits`` of a teacher without a classifier.
    """

    def __init__(
        self, dim: int, teacher: Any, *, kind: str = "relations", temperature: float = 16.0
    ):
        super().__init__()
        lengths = {"relations": dim, "features": teacher.dim, "logits": teacher.people}
        wanted = choose("kind of distillation", kind, lengths)
        if kind == "logits" and not teacher.people:
            raise ValueError(
                "The teacher's file has no classifier, or several, whose answers could be learned: "
                "name an <epoch>.pth or best.pth of a run with CrossEntropyLoss in MODEL.TEACHER, "
                "or choose KIND relations or features."
            )
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; choose one above 0, such as 16.")
        self.kind, self.temperature = kind, temperature
        self.map: nn.Module = nn.Identity()
        if kind == "logits":
            self.map = Classifier(dim, wanted)
        elif wanted != dim:
            self.map = nn.Linear(dim, wanted, bias=False)
        self.figures: dict[str, Tensor] = {}

    def forward(self, embeddings: Tensor, taught: dict[str, Tensor]) -> Tensor:
        """(B, D), and the teacher's ``embeddings`` (B, E) or ``logits`` (B, C) -> scalar."""
        own = self.map(embeddings)
        if self.kind == "relations":
            return relations(own, taught["embeddings"])
        if self.kind == "features":
            loss = directions(own, taught["embeddings"])
            self.figures = {"like_teacher": 1 - loss.detach()}
            return loss
        same = own.detach().argmax(1) == taught["logits"].argmax(1)
        self.figures = {"top1_teacher": same.to(torch.float).mean()}
        return divergence(own, taught["logits"], self.temperature)
