"""Octuplet loss: triplets within and across two resolutions of the same pictures."""

import torch
from torch import Tensor, nn

from reidtools.losses.triplet import hardest, margin_loss
from reidtools.ops.distances import DISTANCES, pairwise
from reidtools.registry import LOSSES, choose


@LOSSES
class OctupletLoss(nn.Module):
    """Octuplet loss (Knoche et al., arXiv:2207.06726), to fine-tune for low resolution.

    The sum of up to four batch-hard triplet losses. In each, anchors are the features of one
    resolution, positives and negatives those of one: the mean over the anchors of
    ``max(0, ap - an + margin)``, with ap the distance to the farthest other picture of the same
    person and an that to the nearest picture of somebody else. The anchor's own picture is no
    positive, in neither resolution. As published, ap is 0 for a person alone in the batch; anchors
    without a negative are left out.

    margin: by how much negatives should be farther; 0 is the soft margin ``log(1 + exp(ap - an))``.
        The authors' library has 0.5. SNU_ReID has 25, beyond what features usually are apart, so
        that every triplet pulls to the end; set 25 to repeat its fine-tuning.
    distance: ``euclidean``, ``squared_euclidean`` or ``cosine`` (1 - cos).
    hh, hl, lh, ll: which of the four losses to add up. The first letter is the resolution of the
        anchors, the second that of positives and negatives: high (``features``) or low
        (``low_features``).

    Raises `LookupError` for an unknown distance, `ValueError` for a negative margin or if all four
    are switched off.
    """

    def __init__(
        self,
        *,
        margin: float = 0.5,
        distance: str = "euclidean",
        hh: bool = True,
        hl: bool = True,
        lh: bool = True,
        ll: bool = True,
    ):
        super().__init__()
        choose("metric", distance, DISTANCES)
        if margin < 0:
            raise ValueError(f"margin is {margin}; choose a positive one, or 0 for a soft margin.")
        switches = {"hh": hh, "hl": hl, "lh": lh, "ll": ll}
        self.terms = [term for term, on in switches.items() if on]
        if not self.terms:
            raise ValueError("All four terms are off; switch on hh, hl, lh or ll.")
        self.margin, self.distance = margin, distance

    def forward(self, features: Tensor, low_features: Tensor, pids: Tensor) -> Tensor:
        """(B, D) before the neck at full and at low resolution, (B,) labels -> scalar."""
        if features.shape != low_features.shape:
            raise ValueError(
                f"features are {tuple(features.shape)}, low_features {tuple(low_features.shape)}; "
                "give both of the same pictures in the same order."
            )
        views, same = {"h": features, "l": low_features}, pids[:, None] == pids[None]  # (B, B)
        # At distance 0 an own picture is never the farthest, unless there is no other.
        own = torch.eye(len(pids), dtype=torch.bool, device=pids.device)
        losses = []
        for term in self.terms:
            distances = pairwise(views[term[0]], views[term[1]], self.distance)
            ap, an, usable = hardest(distances.masked_fill(own, 0), same, ~same)
            losses.append(margin_loss(ap, an, usable, self.margin))
        return torch.stack(losses).sum()
