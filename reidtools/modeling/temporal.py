"""Pooling over time: the features of a tracklet's frames (B, T, dim) become one vector (B, dim).

None of them asks for the order of the frames, and of a single frame each makes its own features, so
a picture is a tracklet of length one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.ops.pooling import generalised_mean
from reidtools.registry import TEMPORAL


class OverTime(nn.Module):
    """What all share: with `norm_frames` each frame's features are brought to length 1 first.

    Subclasses say in `pool` how (B, T, dim) becomes (B, dim). `passthrough` names parameters whose
    values as built make it the mean: weights from elsewhere may lack them.
    """

    passthrough: frozenset[str] = frozenset()

    def __init__(self, dim: int, *, norm_frames: bool = False):
        super().__init__()
        self.norm_frames = norm_frames

    def forward(self, features: Tensor) -> Tensor:
        return self.pool(F.normalize(features, dim=-1) if self.norm_frames else features)


@TEMPORAL
class Mean(OverTime):
    """Mean over time: the baseline that is hard to beat (Gao & Nevatia, 2018, arXiv:1805.02104)."""

    def pool(self, features: Tensor) -> Tensor:
        return features.mean(1)


@TEMPORAL
class Max(OverTime):
    """The largest value of each dimension over time."""

    def pool(self, features: Tensor) -> Tensor:
        return features.amax(1)


@TEMPORAL
class GeM(OverTime):
    """Generalised mean ``mean(x^p)^(1/p)`` over time with a learned exponent that begins at `p`.

    Features may be negative: the generalised mean of what is below 0 is taken from that of what is
    above. So p = 1 is the mean, and where nothing is negative it is GeM as published (Radenovic et
    al., 2018, arXiv:1711.02512). Values below 1e-6 count as 1e-6.
    """

    def __init__(self, dim: int, *, p: float = 3.0, norm_frames: bool = False):
        super().__init__(dim, norm_frames=norm_frames)
        if p < 1:
            raise ValueError(f"p is {p}; a generalised mean begins at 1, which is the mean.")
        self.p = nn.Parameter(torch.tensor([p]))

    def pool(self, features: Tensor) -> Tensor:
        return generalised_mean(features, self.p, 1) - generalised_mean(-features, self.p, 1)


@TEMPORAL
class Attention(OverTime):
    """A weighted mean whose weights, softmax over time, a small network finds frame by frame.

    One hidden layer of `hidden` values with tanh scores every frame (temporal attention of Gao &
    Nevatia, 2018, arXiv:1805.02104, with a layer instead of convolutions). It begins as the mean.
    """

    passthrough = frozenset({"hidden.weight", "hidden.bias", "score.weight"})

    def __init__(self, dim: int, *, hidden: int = 128, norm_frames: bool = False):
        super().__init__(dim, norm_frames=norm_frames)
        if hidden < 1:
            raise ValueError(f"hidden is {hidden}; the attention needs at least one value.")
        self.hidden, self.score = nn.Linear(dim, hidden), nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def pool(self, features: Tensor) -> Tensor:
        weights = self.score(self.hidden(features).tanh()).softmax(1)  # (B, T, 1)
        return (weights * features).sum(1)
