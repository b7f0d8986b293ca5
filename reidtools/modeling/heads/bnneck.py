"""BNNeck (Luo et al., 2019, "Bag of Tricks", arXiv:1903.07071)."""

from torch import Tensor, nn

from reidtools.modeling.heads.head import AFTER, Head
from reidtools.registry import HEADS, choose


@HEADS
class BNNeck(Head):
    """Metric losses see the pooled features; classifiers and retrieval see their batch norm.

    The batch norm has no learned shift, so that classes are separated by angle (arXiv:1903.07071).
    `neck_feat` is what metric losses see, ``before`` or ``after`` it (as FastReID's SBS has it),
    and `test_feat` what retrieval takes (``before`` in TransReID). Other options: see `Head`.
    """

    passthrough = frozenset(
        {"neck.weight", "neck.bias", "neck.running_mean", "neck.running_var"}
        | {"neck.num_batches_tracked"}
    )

    def __init__(
        self,
        dim: int,
        pooled: bool,
        *,
        pool_layer: str = "avg",
        embedding_dim: int = 0,
        neck_feat: str = "before",
        test_feat: str = "after",
    ):
        super().__init__(dim, pooled, pool_layer, embedding_dim)
        self.losses_after = choose("neck_feat", neck_feat, AFTER)
        self.tests_after = choose("test_feat", test_feat, AFTER)
        self.neck = nn.BatchNorm1d(self.dim)
        self.neck.bias.requires_grad_(False)

    def embed(self, features: Tensor) -> Tensor:
        """What retrieval takes of the features; (B, dim) -> (B, dim)."""
        return self.neck(features) if self.tests_after else features

    def branches(self, features: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """As `Head.branches`; classifiers always see the batch norm."""
        after = self.neck(features)
        return {"features": (after if self.losses_after else features,), "embeddings": (after,)}
