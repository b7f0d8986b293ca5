"""CosFace on pairs: similarities of the batch instead of those to a classifier's weights."""

from torch import Tensor, nn

from reidtools.losses.circle import check, cosines_of, pair_loss
from reidtools.registry import LOSSES


@LOSSES
class CosFaceLoss(nn.Module):
    """The margin of CosFace (Wang et al., CVPR 2018, arXiv:1801.09414) on pairs, as in FastReID.

    For every anchor ``log(1 + sum_n sum_p exp(gamma (s_n - s_p + margin)))``, with cosines s_p to
    the other pictures of its person and s_n to those of other people; mean over the batch. An
    anchor without a positive or without a negative counts 0.

    margin: by how much positives should be more alike than negatives; 0 to below 1.
    gamma: how sharply the worst pairs stand out.

    The paper's own form, which compares pictures with a classifier's weights, is `CrossEntropyLoss`
    with CLS_LAYER ``CosSoftmax``.

    Raises `ValueError` for a margin or a gamma out of range.
    """

    def __init__(self, *, margin: float = 0.25, gamma: float = 128.0):
        super().__init__()
        check(margin, gamma)
        self.margin, self.gamma = margin, gamma

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """(B, D) before the neck, (B,) labels -> scalar."""
        cosines, positives, negatives = cosines_of(features, pids)
        pull, push = -self.gamma * cosines, self.gamma * (cosines + self.margin)
        return pair_loss(pull, push, positives, negatives)
