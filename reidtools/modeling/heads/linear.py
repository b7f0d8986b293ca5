"""A head without a neck: features are embeddings."""

from torch import nn

from reidtools.modeling.heads.head import Head
from reidtools.registry import HEADS


@HEADS
class Linear(Head):
    """Pool, drop out, project; the same vectors serve losses and retrieval.

    The head of Hermans et al., 2017 (arXiv:1703.07737) without its hidden layer. `dropout` is the
    share of pooled values set to 0 in training; facts and other options: see `Head`.
    """

    def __init__(
        self,
        dim: int,
        pooled: bool,
        *,
        pool_layer: str = "avg",
        embedding_dim: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__(dim, pooled, pool_layer, embedding_dim)
        self.dropout = nn.Dropout(dropout)
