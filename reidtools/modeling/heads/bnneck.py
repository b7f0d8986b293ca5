"""BNNeck (Luo et al., 2019, "Bag of Tricks", arXiv:1903.07071)."""

from torch import Tensor, nn

from reidtools.modeling.heads.head import Head
from reidtools.registry import HEADS


@HEADS
class BNNeck(Head):
    """Metric losses see the pooled features; classifiers and retrieval see their batch norm.

    The batch norm has no learned shift, so that classes are separated by angle (arXiv:1903.07071).
    Facts and options: see `Head`.
    """

    passthrough = frozenset(
        {"neck.weight", "neck.bias", "neck.running_mean", "neck.running_var"}
        | {"neck.num_batches_tracked"}
    )

    def __init__(self, dim: int, pooled: bool, *, pool_layer: str = "avg", embedding_dim: int = 0):
        super().__init__(dim, pooled, pool_layer, embedding_dim)
        self.neck = nn.BatchNorm1d(self.dim)
        self.neck.bias.requires_grad_(False)

    def embed(self, features: Tensor) -> Tensor:
        """Batch norm of the features; (B, dim) -> (B, dim)."""
        return self.neck(features)
