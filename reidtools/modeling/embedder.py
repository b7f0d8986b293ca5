"""The Embedder: pictures in, vectors out. What a checkpoint holds and inference loads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from reidtools.modeling.temporal import Mean
from reidtools.ops.boxes import cut
from reidtools.ops.resize import Resize


class Preparation(NamedTuple):
    """What becomes of a picture before a network sees it.

    `resize` brings it to `size` (height, width), and `normalize` turns uint8 RGB (B, 3, H, W) into
    what the network was trained on.
    """

    size: tuple[int, int]
    normalize: Callable[[Tensor], Tensor]
    resize: Callable[[np.ndarray, np.ndarray], None] = Resize()


def facts_of(backbone: nn.Module) -> dict[str, Any]:
    """What a head is told of its backbone."""
    parts = {"parts": backbone.parts} if hasattr(backbone, "parts") else {}
    return {"dim": backbone.dim, "pooled": backbone.pooled, **parts}


class Embedder(nn.Module):
    """A backbone, a head and a pooling over time; no labels, and nothing that only training needs.

    Pictures (B, 3, H, W) or tracklets (B, T, 3, H, W), normalised, become `features` and, for
    retrieval, `embeddings` (B, dim). A picture is a tracklet of one frame: `frames` sees each frame
    alone, `pool` makes one vector of those of a tracklet. Where the backbone is `by_camera`, camids
    (B,) tell it more; without them it knows none. `preparation` is what pictures need before; only
    `extract_features` asks for it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: nn.Module,
        temporal: nn.Module | None = None,
        preparation: Preparation | None = None,
    ):
        super().__init__()
        self.backbone = backbone
        self.heads = heads
        self.temporal = temporal or Mean(heads.feature_dim)
        self.dim: int = heads.dim
        self.shares: dict[str, tuple[float, ...]] = heads.shares
        self.by_camera = getattr(backbone, "by_camera", False)
        self.preparation = preparation

    @property
    def device(self) -> torch.device:
        """Where the model lies; the CPU for one without weights of its own."""
        return next((tensor.device for tensor in self.parameters()), torch.device("cpu"))

    def forward(self, images: Tensor, camids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.pool(self.frames(*self.in_a_row(images, camids)), len(images))

    def in_a_row(self, images: Tensor, camids: Tensor | None = None) -> tuple[Tensor, ...]:
        """What `frames` takes of pictures or tracklets: (B, [T,] 3, H, W) -> (B * T, 3, H, W).

        With the camids (B * T,) if there are any and the backbone wants them.
        """
        frames = images.reshape(-1, *images.shape[-3:])
        if not self.by_camera or camids is None:
            return (frames,)
        return frames, camids.repeat_interleave(len(frames) // len(camids))

    def frames(self, images: Tensor, *camids: Tensor) -> Tensor:
        """Features of frames one by one; (N, 3, H, W), and camids (N,) -> (N, feature_dim)."""
        return self.heads.features(self.backbone(images, *camids))

    def join(self, features: Tensor, tracklets: int) -> Tensor:
        """Features (B, feature_dim) of B `tracklets` of equally many frames.

        `features` (B * T, feature_dim) are those of all frames, a tracklet after the other.
        """
        return self.temporal(features.reshape(tracklets, -1, self.heads.feature_dim))

    def branches(self, frames: Tensor, tracklets: int) -> dict[str, tuple[Tensor, ...]]:
        """What losses see of tracklets, by `Head.branches`; arguments are those of `join`."""
        return self.heads.branches(self.join(frames, tracklets))

    def pool(self, features: Tensor, tracklets: int = 1) -> tuple[Tensor, Tensor]:
        """What `join` gives, and the embeddings (B, dim) that belong to it."""
        features = self.join(features, tracklets)
        return features, self.heads.embed(features)

    @torch.inference_mode()
    def extract_features(self, detections: Any, frame: Any, *, batch_size: int = 64) -> np.ndarray:
        """The embeddings float32 (N, dim) of people in a frame, as trackers ask for them.

        `detections` are boxes (N, 4), left, top, right and bottom in pixels, or have them as `xyxy`
        (``supervision.Detections``). `frame` is uint8 BGR (height, width, 3), as OpenCV reads it,
        or a picture of Pillow. A box counts as far as it lies in the frame; one that does not lie
        in it at all has a row of zeros. Embeddings are not normalised. This is how the package
        ``reid`` (https://pypi.org/project/reid) is called, whose newer versions say
        `extract_embeddings`. Raises ValueError for another kind of frame or boxes, and for a model
        that was not loaded with its preparation.
        """
        if self.preparation is None:
            raise ValueError(
                "This model does not know its pictures; load it with reidtools.load, or build it "
                "with a Preparation."
            )
        if not isinstance(frame, np.ndarray):
            if not hasattr(frame, "convert"):
                raise ValueError(
                    f"A frame is an array uint8 (height, width, 3) or a picture of Pillow, not a "
                    f"{type(frame).__name__}; the call is extract_features(detections, frame)."
                )
            frame = np.asarray(frame.convert("RGB"))[:, :, ::-1]
        boxes = getattr(detections, "xyxy", detections)
        crops = cut(frame, boxes.cpu() if isinstance(boxes, Tensor) else boxes)
        rows = [row for row, crop in enumerate(crops) if crop is not None]
        found = np.zeros((len(crops), self.dim), np.float32)
        training = self.training
        self.eval()
        try:
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                images = np.empty((len(part), *self.preparation.size, 3), np.uint8)
                for row, out in zip(part, images, strict=True):
                    self.preparation.resize(crops[row][:, :, ::-1], out)
                batch = torch.from_numpy(images).movedim(-1, -3).to(self.device)
                found[part] = self(self.preparation.normalize(batch))[1].float().cpu().numpy()
        finally:
            self.train(training)
        return found

    extract_embeddings = extract_features
