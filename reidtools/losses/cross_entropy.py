"""Cross-entropy over the training people, with smoothed labels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.losses.classifier import LINEAR, Classifier, top1
from reidtools.registry import LOSSES, choose


def uniform(logits: Tensor, pids: Tensor, epsilon: float, alpha: float) -> Tensor:
    """Target ``(1 - epsilon) * onehot + epsilon / C``, mean over the batch."""
    return F.cross_entropy(logits, pids, label_smoothing=epsilon)


def fastreid(logits: Tensor, pids: Tensor, epsilon: float, alpha: float) -> Tensor:
    """Target 1 - epsilon on the label and ``epsilon / (C - 1)`` elsewhere.

    The sum is divided by the number of samples whose loss is not exactly 0.
    """
    log_probabilities = logits.log_softmax(1)  # (B, C)
    own = log_probabilities.gather(1, pids[:, None])[:, 0]  # (B,)
    # A negative epsilon smooths each sample by as much as the classifier is already sure of it.
    smoothing = alpha * own.detach().exp() if epsilon < 0 else torch.full_like(own, epsilon)
    others = (log_probabilities.sum(1) - own) / (logits.shape[1] - 1)
    losses = -(1 - smoothing) * own - smoothing * others  # (B,)
    return losses.sum() / losses.count_nonzero().clamp(min=1)


VARIANTS = {"uniform": uniform, "fastreid": fastreid}


def cross_entropy(
    logits: Tensor, pids: Tensor, *, epsilon: float, variant: str, alpha: float
) -> Tensor:
    """Label-smoothed cross-entropy; (B, C) logits, (B,) labels below C -> scalar.

    The meaning of `epsilon`, `variant` and `alpha` is told at `CrossEntropyLoss`.
    """
    return choose("cross-entropy variant", variant, VARIANTS)(logits, pids, epsilon, alpha)


@LOSSES
class CrossEntropyLoss(nn.Module):
    """Which of the training people is it? Owns the classifier, a linear map.

    With another `cls_layer` than ``Linear`` the classifier compares directions and subtracts a
    margin from the label: ``CosSoftmax`` (CosFace, arXiv:1801.09414), ``ArcFace`` and FastReID's
    ``ArcSoftmax`` (arXiv:1801.07698), ``CircleSoftmax`` (arXiv:2002.10857). Set its `scale`, such
    as 30, and `margin`, such as 0.35; `easy_margin` is of ``ArcFace``. `Classifier` tells more.

    With `hidden` the classifier is a small network: Linear to that many values, batch norm,
    LeakyReLU with slope 0.1, then the map to the people; a ``Linear`` one has a bias then, and with
    `bias` in any case, as torchreid's has. Either way `dropout` is the share of the last map's
    inputs that is set to 0 in training.

    Label smoothing (Szegedy et al., arXiv:1512.00567): of the target, `epsilon` is taken from the
    label and given to other classes; 0 is plain cross-entropy. `variant` says to which:
    ``uniform`` to all C classes, the label included (as in PyTorch, torchreid, TransReID);
    ``fastreid`` to the C - 1 others, with samples of loss exactly 0 left out of the mean. There a
    negative `epsilon` is adaptive: `alpha` times the probability that the label has already.

    `figures` gets the share of pictures whose highest score, without a margin, is that of their
    person (``top1``).

    Raises `LookupError` for an unknown variant or layer, `ValueError` for an epsilon or a dropout
    that is no share and for a scale or a margin that the layer cannot have.
    """

    def __init__(
        self,
        dim: int,
        num_people: int,
        *,
        epsilon: float = 0.1,
        variant: str = "uniform",
        alpha: float = 0.2,
        hidden: int = 0,
        bias: bool = False,
        dropout: float = 0.0,
        cls_layer: str = LINEAR,
        scale: float = 1.0,
        margin: float = 0.0,
        easy_margin: bool = False,
    ):
        super().__init__()
        choose("cross-entropy variant", variant, VARIANTS)
        if epsilon >= 1 or (epsilon < 0 and variant != "fastreid"):
            raise ValueError(
                f"epsilon is {epsilon}, which is no share of the target; choose one from 0 to "
                "below 1 (a negative one, which is adaptive, needs variant 'fastreid')."
            )
        if hidden < 0:
            raise ValueError(f"hidden is {hidden}; choose a length, or 0 for none.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; choose a share from 0 to below 1.")
        self.epsilon, self.variant, self.alpha = epsilon, variant, alpha
        self.figures: dict[str, Tensor] = {}
        self.before = nn.Sequential()
        if hidden:
            self.before.extend([nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.1)])
        self.before.append(nn.Dropout(dropout))
        self.classifier = Classifier(
            hidden or dim,
            num_people,
            bias or bool(hidden),
            cls_layer=cls_layer,
            scale=scale,
            margin=margin,
            easy_margin=easy_margin,
        )

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """(B, D) after the neck, (B,) labels -> scalar; `figures` gets the share of right ones."""
        scores = self.classifier(self.before(embeddings))
        self.figures = {"top1": top1(scores, pids)}
        return cross_entropy(
            self.classifier.logits(scores, pids),
            pids,
            epsilon=self.epsilon,
            variant=self.variant,
            alpha=self.alpha,
        )
