"""ResNet (He et al., 2016, arXiv:1512.03385) and IBN-Net-a (Pan et al., 2018, arXiv:1807.09441),
with non-local and squeeze-and-excitation blocks if asked for.

Names in the state dict are torchvision's, for IBN those of the published IBN-Net weights, and for
the two kinds of blocks FastReID's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reidtools.ops.recompute import outermost
from reidtools.registry import BACKBONES

TORCHVISION = "https://download.pytorch.org/models"
IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0"
WEIGHTS = {
    "resnet18": f"{TORCHVISION}/resnet18-f37072fd.pth",
    "resnet34": f"{TORCHVISION}/resnet34-b627a593.pth",
    "resnet50": f"{TORCHVISION}/resnet50-0676ba61.pth",
    "resnet101": f"{TORCHVISION}/resnet101-63fe2227.pth",
    "resnet152": f"{TORCHVISION}/resnet152-394f9c45.pth",
    "resnet18_ibn_a": f"{IBN_NET}/resnet18_ibn_a-2f571257.pth",
    "resnet34_ibn_a": f"{IBN_NET}/resnet34_ibn_a-94bc1577.pth",
    "resnet50_ibn_a": f"{IBN_NET}/resnet50_ibn_a-d9d0bb7b.pth",
    "resnet101_ibn_a": f"{IBN_NET}/resnet101_ibn_a-59ea0ac6.pth",
}


class IBN(nn.Module):
    """Instance norm for the first half of the channels, batch norm for the second."""

    def __init__(self, channels: int):
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.IN(x[:, : self.half]), self.BN(x[:, self.half :])], 1)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The 1x1 projection of a residual block, or None where the identity fits."""
    if stride == 1 and inputs == outputs:
        return None
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class SqueezeExcite(nn.Module):
    """Channels weighted by what their means say; (B, C, h, w) -> the same (Hu et al., 2018,
    arXiv:1709.01507)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class NonLocal(nn.Module):
    """Every position gets what all others have, by their similarity; (B, C, h, w) -> the same.

    Without a softmax, and through a single channel, as AGW (arXiv:2001.04193) and FastReID have the
    block of Wang et al., 2018 (arXiv:1711.07971). It begins as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, 1, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))
        for start in self.W[1].parameters():
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        values, keys, queries = (part(x).flatten(2) for part in (self.g, self.phi, self.theta))
        # (theta^T phi) g / N of single channels: the product of phi and g is one number a picture.
        seen = queries * (keys * values).mean(2, keepdim=True)  # (B, 1, h * w)
        return x + self.W(seen.unflatten(2, x.shape[2:]))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and -34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool, se: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = IBN(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcite(width) if se else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution and a shortcut: ResNet-50 and deeper."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool, se: bool):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = IBN(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcite(outputs) if se else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.se(self.bn3(self.conv3(out)))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


BLOCKS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
# How many of the last blocks of layers 2 and 3 a non-local block follows, as in FastReID.
NON_LOCAL = {"resnet50": (2, 3), "resnet101": (2, 9), "resnet152": (2, 9)}


class ResNet(nn.Module):
    """The ResNet called `name` as a re-ID backbone; (B, 3, H, W) -> (B, dim, H/16, W/16).

    Args:
        name: a key of `WEIGHTS`.
        last_stride: stride of layer 4; 1 keeps the map twice as fine, 2 is the ImageNet one.
        stem_relu: ReLU between the stem's batch norm and its max-pool. reid-strong-baseline and
            centroids-reid have none in their plain ResNets, so their weights want False.
        stem_ceil: the max-pool of the stem rounds its size up instead of padding the map, as in
            FastReID, so FastReID's weights want True. Maps keep their size where 4 divides a side.
        with_se: a squeeze-and-excitation block at the end of every block.
        with_nl: non-local blocks in layers 2 and 3, as AGW and SBS have.
    """

    pooled = False

    def __init__(
        self,
        name: str,
        *,
        last_stride: int = 1,
        stem_relu: bool = True,
        stem_ceil: bool = False,
        with_se: bool = False,
        with_nl: bool = False,
    ):
        super().__init__()
        if last_stride not in (1, 2):
            raise ValueError(f"LAST_STRIDE of {name} is {last_stride}; set it to 1 or 2.")
        depth, ibn = name.removesuffix("_ibn_a"), name.endswith("_ibn_a")
        if with_nl and depth not in NON_LOCAL:
            raise ValueError(
                f"WITH_NL is for {', '.join(NON_LOCAL)}, with or without _ibn_a, and not for "
                f"{name}; set it to False, or choose one of them."
            )
        self.name, self.stem_relu = name, stem_relu
        block, counts = BLOCKS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=0 if stem_ceil else 1, ceil_mode=stem_ceil)
        self.dim = 64
        self.layer1 = self._layer(block, 64, counts[0], 1, ibn, with_se)
        self.layer2 = self._layer(block, 128, counts[1], 2, ibn, with_se)
        self.layer3 = self._layer(block, 256, counts[2], 2, ibn, with_se)
        self.layer4 = self._layer(block, 512, counts[3], last_stride, False, with_se)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # After the other weights, so that their start is the same with and without.
        few = NON_LOCAL[depth] if with_nl else (0, 0)
        self.NL_2 = nn.ModuleList(NonLocal(128 * block.expansion) for _ in range(few[0]))
        self.NL_3 = nn.ModuleList(NonLocal(256 * block.expansion) for _ in range(few[1]))

    def _layer(
        self, block: type, width: int, count: int, stride: int, ibn: bool, se: bool
    ) -> nn.Sequential:
        blocks = []
        for index in range(count):
            blocks.append(block(self.dim, width, stride if index == 0 else 1, ibn, se))
            self.dim = width * block.expansion
        return nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(images))
        x = self.maxpool(self.relu(x) if self.stem_relu else x)
        x = _with_last(self.layer2, self.NL_2, self.layer1(x))
        return self.layer4(_with_last(self.layer3, self.NL_3, x))

    @property
    def segments(self) -> list[nn.Module]:
        return outermost(self, (BasicBlock, Bottleneck, NonLocal))

    def fetch(self) -> dict[str, Tensor]:
        """The published ImageNet weights: torchvision's IMAGENET1K_V1 or IBN-Net's."""
        url = WEIGHTS[self.name]
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=url.startswith(TORCHVISION), weights_only=True
        )
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
        return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


def _with_last(blocks: Sequence[nn.Module], extra: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Run `blocks`, each of the last ones followed by one of `extra`."""
    before = len(blocks) - len(extra)
    for place, block in enumerate(blocks):
        x = block(x)
        if place >= before:
            x = extra[place - before](x)
    return x


def _register(name: str) -> None:
    """One maker a depth: a signature is a schema, and theirs are all alike."""

    def make(
        *,
        last_stride: int = 1,
        stem_relu: bool = True,
        stem_ceil: bool = False,
        with_se: bool = False,
        with_nl: bool = False,
    ) -> ResNet:
        return ResNet(
            name,
            last_stride=last_stride,
            stem_relu=stem_relu,
            stem_ceil=stem_ceil,
            with_se=with_se,
            with_nl=with_nl,
        )

    depth, ibn = name.removeprefix("resnet").removesuffix("_ibn_a"), name.endswith("_ibn_a")
    block, counts = BLOCKS[f"resnet{depth}"]
    dim = 512 * block.expansion

    def options_of(entries: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that the tensors of a file tell; a ValueError for another network's."""
        deep = {entry.split(".")[1] for entry in entries if entry.startswith("layer3.")}
        expansion = 4 if "layer1.0.conv3.weight" in entries else 1
        theirs = len(deep), expansion, "layer1.0.bn1.IN.weight" in entries
        if theirs != (counts[2], block.expansion, ibn):
            raise ValueError(f"These are no tensors of {name}.")
        return {
            "with_se": any(".se.fc." in entry for entry in entries),
            "with_nl": any(entry.startswith("NL_") for entry in entries),
        }

    what = " with instance norm in layers 1-3" if ibn else ""
    paper = "1807.09441" if ibn else "1512.03385"
    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"ResNet-{depth}{what}, {dim}-d maps; options: see `ResNet`. arXiv:{paper}"
    make.options_of = options_of
    BACKBONES(make)


for _name in WEIGHTS:
    _register(_name)
