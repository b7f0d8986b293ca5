"""What every head shares: pooling and an optional projection."""

from torch import Tensor, nn

from reidtools.ops.pooling import pool_layer as make_pool

AFTER = {"before": False, "after": True}  # whether something is taken after the neck


class Head(nn.Module):
    """Pooled and projected features; subclasses say in `embed` what becomes of them.

    `dim` is the length of embeddings, `feature_dim` that of features, and `widths` are the lengths
    of each of the `branches`, whose losses are added up with the weights `shares`, by the name of
    the fact; without any they count 1 each. `passthrough` names those parameters and buffers whose
    values as built leave the direction of a vector unchanged: weights from elsewhere may lack them.

    Args:
        dim: channels of the backbone.
        pooled: True if the backbone gives vectors, False if maps.
        pool_layer: ``avg``, ``max``, ``avg_max`` (their sum), ``gem`` (a generalised mean with a
            learned exponent) or ``gem_fixed`` (with exponent 3, as in FastReID's AGW).
        embedding_dim: length after a linear projection without bias; 0 projects nothing.
    """

    passthrough: frozenset[str] = frozenset()

    def __init__(self, dim: int, pooled: bool, pool_layer: str, embedding_dim: int):
        super().__init__()
        if pooled and pool_layer != "avg":
            raise ValueError(
                f"This backbone pools by itself, so POOL_LAYER '{pool_layer}' would have no "
                "effect; leave it at avg."
            )
        if embedding_dim < 0:
            raise ValueError(
                f"EMBEDDING_DIM is {embedding_dim}; set it to a length, or 0 for none."
            )
        self.dim = self.feature_dim = embedding_dim or dim
        self.widths: dict[str, tuple[int, ...]]
        self.widths = {"features": (self.dim,), "embeddings": (self.dim,)}
        self.shares: dict[str, tuple[float, ...]] = {}
        self.pool = nn.Identity() if pooled else make_pool(pool_layer)
        self.dropout = nn.Identity()
        self.projection = nn.Linear(dim, embedding_dim, bias=False) if embedding_dim else None

    def features(self, x: Tensor) -> Tensor:
        """(B, C, h, w), or (B, C) of a backbone that pools, -> (B, dim)."""
        x = self.dropout(self.pool(x))
        return x if self.projection is None else self.projection(x)

    def embed(self, features: Tensor) -> Tensor:
        """(B, dim) -> (B, dim)."""
        return features

    def branches(self, features: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """What losses see of features (B, feature_dim), by the name of the fact.

        Metric losses take each of the ``features``, classifiers each of the ``embeddings``.
        """
        return {"features": (features,), "embeddings": (self.embed(features),)}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.embed(features)
