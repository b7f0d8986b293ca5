"""The head of CLIP-ReID (Li et al., 2023, arXiv:2211.13977)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reidtools.modeling.heads.head import AFTER, Head
from reidtools.registry import HEADS, choose


@HEADS
class ClipNecks(Head):
    """Three features for metric losses, two of them through a batch norm each for classifiers.

    Tests take the last two side by side, `test_feat` ``before`` (as published) or ``after`` their
    batch norms. `parts` are the widths of the three that a tower of CLIP gives.
    """

    passthrough = frozenset(
        f"{neck}.{name}"
        for neck in ("neck", "neck_proj")
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    )

    def __init__(
        self, dim: int, pooled: bool, parts: Sequence[int] = (), *, test_feat: str = "before"
    ):
        if len(parts) != 3:
            raise ValueError(
                "ClipNecks takes the three features of a tower of CLIP; choose MODEL.BACKBONE.NAME "
                "clip_rn50 or clip_vit_b16, or another head, such as BNNeck."
            )
        super().__init__(dim, pooled, "avg", 0)
        self.after, self.parts = choose("test_feat", test_feat, AFTER), list(parts)
        last, joint = self.parts[1:]
        self.feature_dim, self.dim = dim, last + joint
        self.neck, self.neck_proj = nn.BatchNorm1d(last), nn.BatchNorm1d(joint)
        for neck in (self.neck, self.neck_proj):
            neck.bias.requires_grad_(False)
        self.widths = {"features": tuple(parts), "embeddings": (last, joint), "joint": (joint,)}

    def embed(self, features: Tensor) -> Tensor:
        _, last, joint = features.split(self.parts, 1)
        if self.after:
            last, joint = self.neck(last), self.neck_proj(joint)
        return torch.cat([last, joint], 1)

    def branches(self, features: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """As `Head.branches`; ``joint`` is what CLIP compares with texts."""
        three = features.split(self.parts, 1)
        necks = self.neck(three[1]), self.neck_proj(three[2])
        return {"features": three, "embeddings": necks, "joint": three[2:]}
