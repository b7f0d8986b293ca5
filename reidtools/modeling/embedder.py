"""The Embedder: pictures in, vectors out. What a checkpoint holds and inference loads."""

from torch import Tensor, nn


class Embedder(nn.Module):
    """A backbone and a head; no labels, and nothing that only training needs.

    Pictures (B, 3, H, W) or tracklets (B, T, 3, H, W), normalised, become `features` for metric
    losses and `embeddings` for classification and retrieval, both (B, dim). The features of a
    tracklet are the mean over its frames.
    """

    def __init__(self, backbone: nn.Module, heads: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.heads = heads
        self.dim: int = heads.dim

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        *lead, c, h, w = images.shape
        features = self.heads.features(self.backbone(images.reshape(-1, c, h, w)))
        if len(lead) == 2:
            features = features.view(*lead, -1).mean(1)  # (B, T, dim) -> (B, dim)
        return features, self.heads.embed(features)
