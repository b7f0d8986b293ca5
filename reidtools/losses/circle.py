"""Circle loss: similarities of pairs, each pulled as hard as it still has to go."""

from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.registry import LOSSES

ABSENT = -1e8  # instead of -inf, whose log-sum has no gradient


def cosines_of(features: Tensor, pids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines between all rows, and which pairs are positives and which are negatives.

    (B, D), (B,) -> (B, B) each; a row is no positive of its own.
    """
    unit = F.normalize(features)
    same = pids[:, None] == pids[None]
    return unit @ unit.T, same.clone().fill_diagonal_(False), ~same


def pair_loss(pull: Tensor, push: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Mean over rows of ``log(1 + sum_p exp(pull_p) * sum_n exp(push_n))``.

    All (B, B), the last two boolean -> scalar. A row without a positive or without a negative
    counts 0.
    """
    positive = pull.masked_fill(~positives, ABSENT).logsumexp(1)
    negative = push.masked_fill(~negatives, ABSENT).logsumexp(1)
    return F.softplus(positive + negative).mean()


@LOSSES
class CircleLoss(nn.Module):
    """Circle loss on pairs (Sun et al., CVPR 2020, arXiv:2002.10857).

    For every anchor ``log(1 + sum_n exp(gamma [s_n + m]+ (s_n - m)) * sum_p exp(-gamma [1 + m -
    s_p]+ (s_p - (1 - m))))``, with cosines s_p to the other pictures of its person, s_n to those of
    other people, and no gradient through the brackets; mean over the batch, as in FastReID. An
    anchor without a positive or without a negative counts 0.

    margin: m, how far positives may stay below 1 and negatives above 0; 0 to below 1.
    gamma: how sharply the worst pairs stand out.

    Its other form, which compares pictures with a classifier's weights, is `CrossEntropyLoss` with
    CLS_LAYER ``CircleSoftmax``.

    Raises `ValueError` for a margin or a gamma out of range.
    """

    def __init__(self, *, margin: float = 0.25, gamma: float = 128.0):
        super().__init__()
        check(margin, gamma)
        self.margin, self.gamma = margin, gamma

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """(B, D) before the neck, (B,) labels -> scalar."""
        cosines, positives, negatives = cosines_of(features, pids)
        fixed = cosines.detach()
        to_go, too_near = (1 + self.margin - fixed).relu(), (fixed + self.margin).relu()
        pull = -self.gamma * to_go * (cosines - (1 - self.margin))
        push = self.gamma * too_near * (cosines - self.margin)
        return pair_loss(pull, push, positives, negatives)


def check(margin: float, gamma: float) -> None:
    """`ValueError` for a margin that cosines cannot keep, or a gamma that is not above 0."""
    if not 0 <= margin < 1:
        raise ValueError(f"margin is {margin}; choose one from 0 to below 1, such as 0.25.")
    if not 0 < gamma < float("inf"):
        raise ValueError(f"gamma is {gamma}; choose one above 0, such as 128.")
