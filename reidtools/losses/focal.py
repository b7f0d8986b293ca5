"""Focal loss: cross-entropy that looks away from what is already right."""

import torch
from torch import Tensor, nn

from reidtools.losses.classifier import LINEAR, Classifier, top1
from reidtools.registry import LOSSES


def focal_loss(logits: Tensor, pids: Tensor, alpha: float, gamma: float) -> Tensor:
    """Mean of ``-alpha (1 - p)^gamma log p``, p the probability of the label.

    (B, C) logits, (B,) labels below C -> scalar.
    """
    logs = logits.log_softmax(1).gather(1, pids[:, None])[:, 0]  # (B,)
    # Above 0, where a gamma below 1 has no finite slope.
    missing = (-torch.expm1(logs)).clamp(min=1e-12)
    return -(alpha * missing.pow(gamma) * logs).mean()


@LOSSES
class FocalLoss(nn.Module):
    """Focal loss over the training people (Lin et al., ICCV 2017, arXiv:1708.02002).

    Mean of ``-alpha (1 - p)^gamma log p``, with p the probability that the classifier, which it
    owns, gives to the person, as in FastReID. Use it instead of `CrossEntropyLoss`.

    alpha: a factor for all of it.
    gamma: how much less a picture counts that is already right; 0 is cross-entropy times alpha.
    cls_layer, scale, margin, easy_margin: the classifier, as at `CrossEntropyLoss`.

    `figures` gets the share of pictures whose highest score, without a margin, is that of their
    person (``top1``).

    Raises `LookupError` for an unknown layer, `ValueError` for an alpha that is not above 0, a
    gamma below 0, and a scale or a margin that the layer cannot have.
    """

    def __init__(
        self,
        dim: int,
        num_people: int,
        *,
        alpha: float = 0.25,
        gamma: float = 2.0,
        cls_layer: str = LINEAR,
        scale: float = 1.0,
        margin: float = 0.0,
        easy_margin: bool = False,
    ):
        super().__init__()
        if not 0 < alpha < float("inf"):
            raise ValueError(f"alpha is {alpha}; choose a factor above 0, such as 0.25.")
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma is {gamma}; choose one of 0 or above, such as 2.")
        self.alpha, self.gamma = alpha, gamma
        self.figures: dict[str, Tensor] = {}
        self.classifier = Classifier(
            dim,
            num_people,
            cls_layer=cls_layer,
            scale=scale,
            margin=margin,
            easy_margin=easy_margin,
        )

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """(B, D) after the neck, (B,) labels -> scalar; `figures` gets the share of right ones."""
        scores = self.classifier(embeddings)
        self.figures = {"top1": top1(scores, pids)}
        return focal_loss(self.classifier.logits(scores, pids), pids, self.alpha, self.gamma)
