"""OSNet: omni-scale features (Zhou et al., ICCV 2019, arXiv:1905.00953; AIN: arXiv:1910.06827).

Names in the state dict are torchreid's, so its published weights load as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.fetching import fetch
from reidtools.modeling.weights import read, state_of
from reidtools.ops.recompute import outermost
from reidtools.registry import BACKBONES

GOOGLE_DRIVE = {
    "osnet_x1_0": "1LaG1EJpHrxdAxKnSCJ_i0u-nbxSAeiFY",
    "osnet_x0_75": "1uwA9fElHOk3ZogwbeY5GkLI6QPTX70Hq",
    "osnet_x0_5": "16DGLbZukvVYgINws8u8deSaOqjybZ83i",
    "osnet_x0_25": "1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs",
    "osnet_ibn_x1_0": "1sr90V6irlYYDd4_4ISU2iruoRG8J__6l",
    "osnet_ain_x1_0": "1-CaioD9NaqbHK_kzSMW8VE4_3KcsRjEo",
}


class ConvNorm(nn.Module):
    """Convolution without bias, norm, and a ReLU unless `relu` is False."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, *, relu: bool = True, norm: str = "batch"
    ):
        super().__init__()
        stride, padding = (2, 3) if size == 7 else (1, 0)
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        if norm == "batch":
            self.bn = nn.BatchNorm2d(outputs)
        elif norm == "instance":
            self.bn = nn.InstanceNorm2d(outputs, affine=True)
        else:
            self.bn = None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return F.relu(x, inplace=True) if self.relu else x


class LightConv(nn.Module):
    """1x1 convolution, depthwise 3x3 convolution, batch norm, ReLU: the paper's Lite 3x3."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv2(self.conv1(x))), inplace=True)


class Gate(nn.Module):
    """Weights between 0 and 1 for each channel, from its mean; (B, C, h, w) -> (B, C, 1, 1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return self.fc2(F.relu(self.fc1(means))).sigmoid()


class OSBlock(nn.Module):
    """A residual block of four streams that see 3, 5, 7 and 9 pixels, mixed by one shared gate.

    `instance_norm` is "" (none), "after" the addition (OSNet-IBN) or "inside" the residual,
    where it replaces the last batch norm (OSNet-AIN).
    """

    def __init__(self, inputs: int, outputs: int, instance_norm: str = ""):
        super().__init__()
        middle = outputs // 4
        self.conv1 = ConvNorm(inputs, middle)
        self._add_streams(middle)
        self.gate = Gate(middle)
        norm = "none" if instance_norm == "inside" else "batch"
        self.conv3 = ConvNorm(middle, outputs, relu=False, norm=norm)
        self.downsample = None if inputs == outputs else ConvNorm(inputs, outputs, relu=False)
        self.IN = nn.InstanceNorm2d(outputs, affine=True) if instance_norm else None
        self.norm_inside = instance_norm == "inside"

    def _add_streams(self, channels: int) -> None:
        self.conv2a = LightConv(channels)
        self.conv2b = nn.Sequential(*(LightConv(channels) for _ in range(2)))
        self.conv2c = nn.Sequential(*(LightConv(channels) for _ in range(3)))
        self.conv2d = nn.Sequential(*(LightConv(channels) for _ in range(4)))

    def _streams(self) -> list[nn.Module]:
        return [self.conv2a, self.conv2b, self.conv2c, self.conv2d]

    def forward(self, x: Tensor) -> Tensor:
        middle = self.conv1(x)
        first, *others = (stream(middle) for stream in self._streams())
        mixed = self.gate(first) * first
        for scale in others:
            mixed += self.gate(scale) * scale  # into the same memory; no gradient needs the sums
        residual = self.conv3(mixed)
        identity = x if self.downsample is None else self.downsample(x)
        if self.IN is None:
            out = residual + identity
        elif self.norm_inside:
            out = self.IN(residual) + identity
        else:
            out = self.IN(residual + identity)
        return F.relu(out, inplace=True)


class Stream(nn.Module):
    """`count` light convolutions in a row, under the names of OSNet-AIN."""

    def __init__(self, channels: int, count: int):
        super().__init__()
        self.layers = nn.Sequential(*(LightConv(channels) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class AINBlock(OSBlock):
    """The same block with the state-dict names of OSNet-AIN."""

    def _add_streams(self, channels: int) -> None:
        self.conv2 = nn.ModuleList(Stream(channels, count) for count in (1, 2, 3, 4))

    def _streams(self) -> list[nn.Module]:
        return list(self.conv2)


# Instance norm of the two blocks of each of the three stages.
PLAIN = (("", ""), ("", ""), ("", ""))
IBN = (("after", "after"), ("", ""), ("", ""))
AIN = (("inside", "inside"), ("", "inside"), ("inside", ""))


class OSNet(nn.Module):
    """The OSNet called `name`; (B, 3, H, W) -> (B, 512), or (B, dim, H/16, W/16) without `fc`.

    Args:
        name: a key of `GOOGLE_DRIVE`.
        widths: channels of the stem and of the three stages.
        norms: instance norms of the blocks: `PLAIN`, `IBN` or `AIN`.
        fc: end as published, with mean pooling and Linear-BatchNorm-ReLU to 512 values >= 0;
            without it the output is the last map, for a head that pools.
    """

    def __init__(self, name: str, widths: tuple[int, int, int, int], norms: tuple, fc: bool):
        super().__init__()
        self.name, self.pooled = name, fc
        self.dim = 512 if fc else widths[3]
        self.conv1 = ConvNorm(3, widths[0], 7, norm="batch" if norms is PLAIN else "instance")
        self.conv2 = self._stage(widths[0], widths[1], norms, 0)
        self.conv3 = self._stage(widths[1], widths[2], norms, 1)
        self.conv4 = self._stage(widths[2], widths[3], norms, 2)
        self.conv5 = ConvNorm(widths[3], widths[3])
        # AIN keeps its transitions beside the stages, the others inside them: only names differ.
        transitions = [
            nn.Sequential(ConvNorm(width, width), nn.AvgPool2d(2, 2)) for width in widths[1:3]
        ]
        if norms is AIN:
            self.pool2, self.pool3 = transitions
        else:
            self.pool2 = self.pool3 = nn.Identity()
            self.conv2.append(transitions[0])
            self.conv3.append(transitions[1])
        if fc:
            self.fc = nn.Sequential(
                nn.Linear(widths[3], 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True)
            )
        self._initialise()

    def _stage(self, inputs: int, outputs: int, norms: tuple, index: int) -> nn.Sequential:
        block = AINBlock if norms is AIN else OSBlock
        first, second = norms[index]
        return nn.Sequential(block(inputs, outputs, first), block(outputs, outputs, second))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        if images.is_cpu:  # a CPU trains depthwise convolutions 1.5 times as fast in this order
            images = images.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(self.conv1(images), 3, 2, padding=1)
        x = self.pool2(self.conv2(x))
        x = self.pool3(self.conv3(x))
        x = self.conv5(self.conv4(x))
        return self.fc(x.mean((2, 3))) if self.pooled else x

    @property
    def segments(self) -> list[nn.Module]:
        return outermost(self, (ConvNorm, OSBlock))

    @property
    def published(self) -> Path:
        """Where torchreid's file lies, if it has been downloaded."""
        return Path(torch.hub.get_dir()) / "checkpoints" / f"{self.name}_imagenet.pth"

    def fetch(self) -> dict[str, Tensor]:
        """The ImageNet weights that torchreid publishes on Google Drive, kept in torch's cache."""
        if not self.published.is_file():
            what, cure = f"torchreid's {self.name}", f"put it at {self.published}"
            fetch(self.published, what, drive_id=GOOGLE_DRIVE[self.name], cure=cure)
        left_out = "classifier." if self.pooled else ("classifier.", "fc.")
        state = state_of(read(self.published))
        return {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}


X1_0, X0_75 = (64, 256, 384, 512), (48, 192, 288, 384)
X0_5, X0_25 = (32, 128, 192, 256), (16, 64, 96, 128)


SHAPES = {
    "osnet_x1_0": (X1_0, PLAIN, "of full width, 2.2 M parameters"),
    "osnet_x0_75": (X0_75, PLAIN, "of 3/4 width, 1.3 M parameters"),
    "osnet_x0_5": (X0_5, PLAIN, "of half width, 0.6 M parameters"),
    "osnet_x0_25": (X0_25, PLAIN, "of quarter width, 0.2 M parameters"),
    "osnet_ibn_x1_0": (X1_0, IBN, "with instance norm in its first stage"),
    "osnet_ain_x1_0": (X1_0, AIN, "with instance norm where a search put it"),
}


def _register(name: str) -> None:
    """One maker a row: a signature is a schema, and theirs are all alike."""
    widths, norms, what = SHAPES[name]

    def make(*, fc: bool = True) -> OSNet:
        return OSNet(name, widths, norms, fc)

    def options_of(entries: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that the tensors of a file tell; a ValueError for another network's."""
        blocks = [
            f"conv{stage}.{block}.IN.weight" in entries for stage in (2, 3, 4) for block in (0, 1)
        ]
        ours = [bool(norm) for stage in norms for norm in stage]
        if len(entries["conv1.conv.weight"]) != widths[0] or blocks != ours:
            raise ValueError(f"These are no tensors of {name}.")
        return {"fc": any(entry.startswith("fc.") for entry in entries)}

    paper = "1910.06827" if norms is AIN else "1905.00953"
    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"OSNet {what}; options: see `OSNet`. arXiv:{paper}"
    make.options_of = options_of
    BACKBONES(make)


for _name in SHAPES:
    _register(_name)
