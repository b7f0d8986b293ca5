"""The head of MGN (Wang et al., 2018, arXiv:1804.01438), as FastReID has it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.modeling.heads.head import Head
from reidtools.registry import HEADS


class Stripe(NamedTuple):
    """The stripe at `place` of the map of a branch that is cut into `count` from top to bottom."""

    branch: int
    place: int
    count: int


# In the order in which vectors lie side by side.
STRIPES = {
    "b1": Stripe(0, 0, 1),
    "b2": Stripe(1, 0, 1),
    "b3": Stripe(2, 0, 1),
    **{f"b2{i + 1}": Stripe(1, i, 2) for i in range(2)},
    **{f"b3{i + 1}": Stripe(2, i, 3) for i in range(3)},
}
# What metric losses compare: three whole maps, and the stripes of a map together.
COMPARED = (("b1",), ("b2",), ("b3",), ("b21", "b22"), ("b31", "b32", "b33"))


@HEADS
class MGN(Head):
    """Eight vectors, of three whole maps, two halves and three thirds, each with a neck of its own.

    Every stripe is pooled by `pool_layer`, projected to `embedding_dim` values and normalised, as
    `BNNeck` does it; retrieval takes all eight side by side. Classifiers see each of them, metric
    losses three whole ones and the stripes of each branch together, ``before`` or ``after`` the
    necks (`neck_feat`); both are averaged. The backbone is `mgn`. arXiv:1804.01438
    """

    passthrough = frozenset(f"{n}.{name}" for n in STRIPES for name in BNNeck.passthrough)

    def __init__(
        self,
        dim: int,
        pooled: bool,
        parts: Sequence[int] = (),
        *,
        pool_layer: str = "gem",
        embedding_dim: int = 256,
        neck_feat: str = "after",
    ):
        if len(parts) != 3 or embedding_dim < 1:
            raise ValueError(
                "The head MGN takes the three maps of the backbone mgn, and projects stripes to "
                "EMBEDDING_DIM values, such as 256; choose MODEL.BACKBONE.NAME mgn, or BNNeck."
            )
        super().__init__(dim, pooled, "avg", 0)
        self.parts = list(parts)
        for name, stripe in STRIPES.items():
            options = {"embedding_dim": embedding_dim, "neck_feat": neck_feat}
            own = BNNeck(parts[stripe.branch], False, pool_layer=pool_layer, **options)
            self.add_module(name, own)
        self.dim = self.feature_dim = embedding_dim * len(STRIPES)
        self.widths = {
            "features": tuple(embedding_dim * len(names) for names in COMPARED),
            "embeddings": (embedding_dim,) * len(STRIPES),
        }
        self.shares = {
            name: (1 / len(widths),) * len(widths) for name, widths in self.widths.items()
        }

    def features(self, x: Tensor) -> Tensor:
        """(B, sum(parts), h, w) -> (B, 8 * embedding_dim)."""
        maps = x.split(self.parts, 1)
        thirds = len(x.chunk(3, 2))
        if thirds != 3:
            raise ValueError(
                f"MGN cuts a map into thirds, and one of {x.shape[2]} rows falls into {thirds}; "
                "make pictures a multiple of 48 pixels high (INPUT.SIZE_TRAIN), such as 384."
            )
        pooled = [
            self.get_submodule(name).features(maps[s.branch].chunk(s.count, 2)[s.place])
            for name, s in STRIPES.items()
        ]
        return torch.cat(pooled, 1)

    def embed(self, features: Tensor) -> Tensor:
        return torch.cat(self.branches(features)["embeddings"], 1)

    def branches(self, features: Tensor) -> dict[str, tuple[Tensor, ...]]:
        each = zip(STRIPES, features.chunk(len(STRIPES), 1), strict=True)
        found = {name: self.get_submodule(name).branches(own) for name, own in each}
        compared = tuple(
            torch.cat([found[name]["features"][0] for name in names], 1) for names in COMPARED
        )
        return {
            "features": compared,
            "embeddings": tuple(own["embeddings"][0] for own in found.values()),
        }
