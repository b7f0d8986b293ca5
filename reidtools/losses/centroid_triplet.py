"""Centroid triplet loss (CTL): pictures near the mean of their person's other pictures."""

import torch
from torch import Tensor, nn

from reidtools.losses.triplet import hardest, margin_loss
from reidtools.ops.distances import DISTANCES, pairwise
from reidtools.registry import LOSSES, choose

VARIANTS = {"code": "euclidean", "paper": "squared_euclidean"}  # and the distance each is used with


def turns(pids: Tensor) -> Tensor:
    """How many earlier pictures of the batch show the same person; (B,) -> (B,), 0 for a first."""
    return (pids[:, None] == pids[None]).tril(-1).sum(1)


def centroid_triplet(
    features: Tensor,
    pids: Tensor,
    rounds: Tensor,
    *,
    margin: float,
    distance: str = "",
    variant: str = "code",
) -> Tensor:
    """The loss with ``rounds[i]``, the round in which picture i asks, chosen by the caller.

    (B, D), (B,), (B,) -> scalar. A person may ask once a round; `turns` sees to that. The rest is
    told at `CentroidTripletLoss`.
    """
    usual = choose("centroid triplet variant", variant, VARIANTS)
    same = pids[:, None] == pids[None]  # (B, B)
    others = same.clone().fill_diagonal_(False)
    # Whoever takes part in a round asks in it, so that leaving the round's pictures out of the
    # centroids leaves each picture out of just one: there are as many centroids as pictures.
    counts = others.sum(1)
    centroids = others.to(features.dtype) @ features / counts[:, None].clamp(min=1)  # (B, D)
    joins = counts > 0
    meet = (rounds[:, None] == rounds[None]) & joins[:, None] & joins[None]  # (B, B)
    anchors = features
    if variant == "code":
        anchors = centroids = torch.cat([features, centroids])  # (2B, D)
        meet, same = meet.repeat(2, 2), same.repeat(2, 2)
    distances = pairwise(anchors, centroids, distance or usual)
    ap, an, usable = hardest(distances, meet & same, meet & ~same)
    # Every anchor counts 1 / (anchors of its round), so that the mean is that of the rounds.
    shares = usable / meet.sum(1).clamp(min=1).to(distances.dtype)
    return margin_loss(ap, an, shares, margin)


@LOSSES
class CentroidTripletLoss(nn.Module):
    """Centroid triplet loss (Wieczorek et al., arXiv:2104.13643), CTL for short.

    Round by round, the b-th picture of every person is a query, and the person's centroid is the
    mean of the other pictures (in the order of the batch; people need not have equally many). A
    person whose only picture is the query takes no part. The loss of a round is batch-hard: the
    mean over its anchors of ``max(0, ap - an + margin)``, with ap the distance to the one positive
    and an that to the nearest negative. The loss is the mean of the rounds; rounds with fewer than
    two people are left out. Published weight 1, beside `CrossEntropyLoss`, `TripletLoss` with
    margin 0.5 and `CenterLoss` with weight 0.0005; it needs two pictures of a person in a batch.

    margin: by how much negatives should be farther; 0 is the soft margin ``log(1 + exp(ap - an))``.
    distance: ``euclidean``, ``squared_euclidean`` or ``cosine`` (1 - cos); empty is the one that
        goes with the variant.
    variant: ``code``, as centroids-reid computes it: queries and centroids are anchors, positives
        and negatives alike, by ``euclidean`` distance. ``paper``, as its formula says:
        ``|q - c_p|^2 - |q - c_n|^2 + margin``, so queries are the only anchors, centroids of the
        same round the only positives and negatives, by ``squared_euclidean`` distance.

    Raises `LookupError` for an unknown distance or variant, `ValueError` for a negative margin.
    """

    def __init__(self, *, margin: float = 0.5, distance: str = "", variant: str = "code"):
        super().__init__()
        choose("centroid triplet variant", variant, VARIANTS)
        if distance:
            choose("metric", distance, DISTANCES)
        if margin < 0:
            raise ValueError(f"margin is {margin}; choose a positive one, or 0 for a soft margin.")
        self.margin, self.distance, self.variant = margin, distance, variant

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """(B, D) before the neck, (B,) labels -> scalar."""
        return centroid_triplet(
            features,
            pids,
            turns(pids),
            margin=self.margin,
            distance=self.distance,
            variant=self.variant,
        )
