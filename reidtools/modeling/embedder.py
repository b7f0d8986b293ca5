"""The Embedder: pictures in, vectors out. What a checkpoint holds and inference loads."""

from torch import Tensor, nn

from reidtools.modeling.temporal import Mean


class Embedder(nn.Module):
    """A backbone, a head and a pooling over time; no labels, and nothing that only training needs.

    Pictures (B, 3, H, W) or tracklets (B, T, 3, H, W), normalised, become `features` for metric
    losses and `embeddings` for classification and retrieval, both (B, dim). A picture is a tracklet
    of one frame: `frames` sees each frame alone, `pool` makes one vector of those of a tracklet.
    """

    def __init__(self, backbone: nn.Module, heads: nn.Module, temporal: nn.Module | None = None):
        super().__init__()
        self.backbone = backbone
        self.heads = heads
        self.temporal = temporal or Mean(heads.dim)
        self.dim: int = heads.dim

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.pool(self.frames(images.reshape(-1, *images.shape[-3:])), len(images))

    def frames(self, images: Tensor) -> Tensor:
        """Features of frames one by one; (N, 3, H, W) -> (N, dim)."""
        return self.heads.features(self.backbone(images))

    def pool(self, features: Tensor, tracklets: int = 1) -> tuple[Tensor, Tensor]:
        """Features and embeddings, both (B, dim), of B `tracklets` of equally many frames.

        `features` (B * T, dim) are those of all their frames, a tracklet after the other.
        """
        features = self.temporal(features.reshape(tracklets, -1, self.dim))
        return features, self.heads.embed(features)
