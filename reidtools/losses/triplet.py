"""Triplet loss: a person's own pictures must be nearer than anybody else's."""

from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.ops.distances import DISTANCES, pairwise
from reidtools.registry import LOSSES, choose

Pairs = tuple[Tensor, Tensor, Tensor]


def hardest(distances: Tensor, positive_mask: Tensor, negative_mask: Tensor) -> Pairs:
    """The farthest positive and the nearest negative of every anchor (a row).

    All arguments are (N, M); the masks are boolean. Returns ``ap``, ``an`` and ``usable``, each
    (N,): an anchor without a positive or without a negative is not usable, and its ap and an are 0.
    """
    usable = positive_mask.any(1) & negative_mask.any(1)
    ap = distances.masked_fill(~positive_mask, float("-inf")).amax(1)
    an = distances.masked_fill(~negative_mask, float("inf")).amin(1)
    return ap.where(usable, 0), an.where(usable, 0), usable


def weighted(distances: Tensor, positive_mask: Tensor, negative_mask: Tensor) -> Pairs:
    """Softmax-weighted means instead of extremes: far positives and near negatives count most.

    Arguments and results as for `hardest`. From AGW (Ye et al., arXiv:2001.04193).
    """
    usable = positive_mask.any(1) & negative_mask.any(1)
    ap = (_softmax(distances, positive_mask) * distances).sum(1)
    an = (_softmax(-distances, negative_mask) * distances).sum(1)
    return ap.where(usable, 0), an.where(usable, 0), usable


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    # As published: the largest score is sought among zeros too, so that negatives are not shifted,
    # and the 1e-6 makes them fade at distances well above 10. Normalise such features.
    peak = (scores * mask).amax(1, keepdim=True)
    exponentials = (scores - peak).masked_fill(~mask, float("-inf")).exp()
    return exponentials / (exponentials.sum(1, keepdim=True) + 1e-6)


def margin_loss(ap: Tensor, an: Tensor, usable: Tensor, margin: float) -> Tensor:
    """Mean of ``max(0, ap - an + margin)`` over the usable anchors; (N,) each -> scalar.

    A margin of 0 means the soft margin ``log(1 + exp(ap - an))``. Without a usable anchor the loss
    is 0, and so is its gradient.
    """
    losses = F.relu(ap - an + margin) if margin else F.softplus(ap - an)
    return (losses * usable).sum() / usable.sum().clamp(min=1)


@LOSSES
class TripletLoss(nn.Module):
    """Batch-hard triplet loss (Hermans et al., arXiv:1703.07737).

    For every anchor of the batch ``max(0, ap - an + margin)``: ap is the distance to its farthest
    positive (itself included, so that a person alone has one), an to its nearest negative. Anchors
    without a negative are left out.

    margin: by how much negatives should be farther; 0 is the soft margin ``log(1 + exp(ap - an))``,
        as in FastReID (other toolboxes write None).
    distance: ``euclidean``, ``squared_euclidean`` or ``cosine`` (1 - cos).
    norm_feat: scale features to length 1 first. FastReID's cosine distance, 2 - 2 cos, is
        norm_feat with ``squared_euclidean``.
    hard_mining: False takes weighted means over all positives and all negatives instead of the
        hardest ones: the weighted regularised triplet of AGW (arXiv:2001.04193), with margin 0.
    hard_factor: makes every triplet harder, ``ap * (1 + hard_factor)``, ``an * (1 - hard_factor)``.

    Raises `LookupError` for an unknown distance, `ValueError` for a negative margin.
    """

    def __init__(
        self,
        *,
        margin: float = 0.3,
        distance: str = "euclidean",
        norm_feat: bool = False,
        hard_mining: bool = True,
        hard_factor: float = 0.0,
    ):
        super().__init__()
        choose("metric", distance, DISTANCES)
        if margin < 0:
            raise ValueError(f"margin is {margin}; choose a positive one, or 0 for a soft margin.")
        self.margin, self.distance, self.norm_feat = margin, distance, norm_feat
        self.mine = hardest if hard_mining else weighted
        self.hard_factor = hard_factor

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """(B, D) before the neck, (B,) labels -> scalar."""
        if self.norm_feat:
            features = F.normalize(features)
        same = pids[:, None] == pids[None]  # (B, B)
        ap, an, usable = self.mine(pairwise(features, features, self.distance), same, ~same)
        ap, an = ap * (1 + self.hard_factor), an * (1 - self.hard_factor)
        return margin_loss(ap, an, usable, self.margin)
