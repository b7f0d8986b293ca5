"""ResNet (He et al., 2016, arXiv:1512.03385) and IBN-Net-a (Pan et al., 2018, arXiv:1807.09441).

Names in the state dict are torchvision's and, for IBN, those of the published IBN-Net weights.
"""

import torch
from torch import Tensor, nn

from reidtools.registry import BACKBONES

TORCHVISION = "https://download.pytorch.org/models"
IBN_NET = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0"
WEIGHTS = {
    "resnet18": f"{TORCHVISION}/resnet18-f37072fd.pth",
    "resnet34": f"{TORCHVISION}/resnet34-b627a593.pth",
    "resnet50": f"{TORCHVISION}/resnet50-0676ba61.pth",
    "resnet101": f"{TORCHVISION}/resnet101-63fe2227.pth",
    "resnet152": f"{TORCHVISION}/resnet152-394f9c45.pth",
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


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and -34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = IBN(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution and a shortcut: ResNet-50 and deeper."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, ibn: bool):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = IBN(width) if ibn else nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


BLOCKS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """The ResNet called `name` as a re-ID backbone; (B, 3, H, W) -> (B, dim, H/16, W/16).

    Args:
        name: a key of `WEIGHTS`.
        last_stride: stride of layer 4; 1 keeps the map twice as fine, 2 is the ImageNet one.
        stem_relu: ReLU between the stem's batch norm and its max-pool. reid-strong-baseline and
            centroids-reid have none in their plain ResNets, so their weights want False.
        stem_ceil: the max-pool of the stem rounds its size up instead of padding the map, as in
            FastReID, so FastReID's weights want True. Maps keep their size where 4 divides a side.
        frozen_layers: how many of layer 1..4 stay, with the stem, as they were loaded: no
            gradients, and batch norms that keep their statistics. 0 freezes nothing.
    """

    pooled = False

    def __init__(
        self, name: str, last_stride: int, stem_relu: bool, stem_ceil: bool, frozen_layers: int
    ):
        super().__init__()
        if last_stride not in (1, 2):
            raise ValueError(f"LAST_STRIDE of {name} is {last_stride}; set it to 1 or 2.")
        if frozen_layers not in range(5):
            raise ValueError(
                f"FROZEN_LAYERS of {name} is {frozen_layers}, but there are 4 layers; "
                "set it to 0 (nothing is frozen) … 4 (everything is)."
            )
        self.name, self.stem_relu, self.frozen_layers = name, stem_relu, frozen_layers
        block, counts = BLOCKS[name.removesuffix("_ibn_a")]
        ibn = name.endswith("_ibn_a")
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=0 if stem_ceil else 1, ceil_mode=stem_ceil)
        self.dim = 64
        self.layer1 = self._layer(block, 64, counts[0], 1, ibn)
        self.layer2 = self._layer(block, 128, counts[1], 2, ibn)
        self.layer3 = self._layer(block, 256, counts[2], 2, ibn)
        self.layer4 = self._layer(block, 512, counts[3], last_stride, False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self._frozen():
            module.requires_grad_(False)

    def _layer(self, block: type, width: int, count: int, stride: int, ibn: bool) -> nn.Sequential:
        blocks = []
        for index in range(count):
            blocks.append(block(self.dim, width, stride if index == 0 else 1, ibn))
            self.dim = width * block.expansion
        return nn.Sequential(*blocks)

    def _frozen(self) -> list[nn.Module]:
        layers = [self.layer1, self.layer2, self.layer3, self.layer4]
        stem = [self.conv1, self.bn1] if self.frozen_layers else []
        return stem + layers[: self.frozen_layers]

    def train(self, mode: bool = True) -> "ResNet":
        """As for every module, but the frozen layers stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(images))
        x = self.maxpool(self.relu(x) if self.stem_relu else x)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def fetch(self) -> dict[str, Tensor]:
        """The published ImageNet weights: torchvision's IMAGENET1K_V1 or IBN-Net's."""
        url = WEIGHTS[self.name]
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=url.startswith(TORCHVISION), weights_only=True
        )
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
        return {key: tensor for key, tensor in state.items() if not key.startswith("fc.")}


@BACKBONES
def resnet18(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-18, 512-d maps; options: see `ResNet`. arXiv:1512.03385"""
    return ResNet("resnet18", last_stride, stem_relu, stem_ceil, frozen_layers)


@BACKBONES
def resnet34(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-34, 512-d maps; options: see `ResNet`. arXiv:1512.03385"""
    return ResNet("resnet34", last_stride, stem_relu, stem_ceil, frozen_layers)


@BACKBONES
def resnet50(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-50, 2048-d maps; options: see `ResNet`. arXiv:1512.03385"""
    return ResNet("resnet50", last_stride, stem_relu, stem_ceil, frozen_layers)


@BACKBONES
def resnet101(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-101, 2048-d maps; options: see `ResNet`. arXiv:1512.03385"""
    return ResNet("resnet101", last_stride, stem_relu, stem_ceil, frozen_layers)


@BACKBONES
def resnet152(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-152, 2048-d maps; options: see `ResNet`. arXiv:1512.03385"""
    return ResNet("resnet152", last_stride, stem_relu, stem_ceil, frozen_layers)


@BACKBONES
def resnet50_ibn_a(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-50 with instance norm in layers 1-3, 2048-d maps. arXiv:1807.09441"""
    return ResNet("resnet50_ibn_a", last_stride, stem_relu, stem_ceil, frozen_layers)


@BACKBONES
def resnet101_ibn_a(
    *,
    last_stride: int = 1,
    stem_relu: bool = True,
    stem_ceil: bool = False,
    frozen_layers: int = 0,
) -> ResNet:
    """ResNet-101 with instance norm in layers 1-3, 2048-d maps. arXiv:1807.09441"""
    return ResNet("resnet101_ibn_a", last_stride, stem_relu, stem_ceil, frozen_layers)
