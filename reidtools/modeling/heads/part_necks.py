"""The head of TransReID's jigsaw patch module (He et al., 2021, arXiv:2102.04378)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reidtools.modeling.heads.head import AFTER, Head
from reidtools.registry import HEADS, choose


@HEADS
class PartNecks(Head):
    """A global feature and local ones, each for metric losses, and for classifiers its batch norm.

    Losses of the global one count half, those of the n local ones the other half together. Tests
    take all side by side, the local ones divided by n, `test_feat` ``before`` (as published) or
    ``after`` their batch norms, which have no learned shift. `parts` are the widths that a backbone
    gives, the global one first. arXiv:2102.04378
    """

    def __init__(
        self, dim: int, pooled: bool, parts: Sequence[int] = (), *, test_feat: str = "before"
    ):
        if len(parts) < 2 or sum(parts) != dim:
            raise ValueError(
                "PartNecks takes a global feature and local ones side by side; choose a backbone "
                "that gives them, such as transreid_vit_base with JPM True, or the head BNNeck."
            )
        super().__init__(dim, pooled, "avg", 0)
        self.after, self.parts = choose("test_feat", test_feat, AFTER), list(parts)
        local = len(parts) - 1
        self.names = ["neck", *(f"neck_{place}" for place in range(1, local + 1))]
        for name, width in zip(self.names, parts, strict=True):
            neck = nn.BatchNorm1d(width)
            neck.bias.requires_grad_(False)
            self.add_module(name, neck)
        self.passthrough = frozenset(self.state_dict())
        self.widths = {"features": tuple(parts), "embeddings": tuple(parts)}
        shares = (0.5, *[0.5 / local] * local)
        self.shares = {"features": shares, "embeddings": shares}

    def embed(self, features: Tensor) -> Tensor:
        """What tests take of the parts; (B, dim) -> (B, dim)."""
        parts = features.split(self.parts, 1)
        whole, *local = self._after(parts) if self.after else parts
        return torch.cat([whole, *(part / len(local) for part in local)], 1)

    def branches(self, features: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """As `Head.branches`: the parts, not divided, and each after its batch norm."""
        parts = features.split(self.parts, 1)
        return {"features": parts, "embeddings": self._after(parts)}

    def _after(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        necks = (getattr(self, name) for name in self.names)
        return tuple(neck(part) for neck, part in zip(necks, parts, strict=True))
