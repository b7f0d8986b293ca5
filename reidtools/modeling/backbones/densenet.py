"""DenseNet (Huang et al., 2017, arXiv:1608.06993), built by torchvision."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.registry import BACKBONES

TORCHVISION = "https://download.pytorch.org/models"
WEIGHTS = {
    "densenet121": f"{TORCHVISION}/densenet121-a639ec97.pth",
    "densenet169": f"{TORCHVISION}/densenet169-b2777c0a.pth",
    "densenet201": f"{TORCHVISION}/densenet201-c1103571.pth",
}


class DenseNet(nn.Module):
    """The DenseNet called `name`; (B, 3, H, W) -> (B, dim, H/32, W/32).

    `final_relu` is torchvision's ReLU after the last batch norm. Feature extractors made of
    torchvision's `features` alone skip it; weights trained so want False.
    """

    pooled = False

    def __init__(self, name: str, final_relu: bool):
        super().__init__()
        import torchvision

        self.name, self.final_relu = name, final_relu
        self.features = torchvision.models.get_model(name, weights=None).features
        self.dim = self.features.norm5.num_features

    def forward(self, images: Tensor) -> Tensor:
        maps = self.features(images)
        return F.relu(maps) if self.final_relu else maps

    @property
    def segments(self) -> list[nn.Module]:
        """Layers and transitions."""
        found: list[nn.Module] = []
        for part in self.features:
            if isinstance(part, nn.ModuleDict):
                found += part.values()
            elif isinstance(part, nn.Sequential):
                found.append(part)
        return found

    def fetch(self) -> dict[str, Tensor]:
        """torchvision's IMAGENET1K_V1 weights without the classifier."""
        state = torch.hub.load_state_dict_from_url(
            WEIGHTS[self.name], map_location="cpu", check_hash=True, weights_only=True
        )
        return {key: tensor for key, tensor in state.items() if not key.startswith("classifier.")}

    def adapt(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        """Old files, the published ones among them, say ``norm.1`` for ``norm1``."""
        return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name), tensor


@BACKBONES
def densenet121(*, final_relu: bool = True) -> DenseNet:
    """DenseNet-121, 1024-d maps; options: see `DenseNet`. arXiv:1608.06993"""
    return DenseNet("densenet121", final_relu)


@BACKBONES
def densenet169(*, final_relu: bool = True) -> DenseNet:
    """DenseNet-169, 1664-d maps; options: see `DenseNet`. arXiv:1608.06993"""
    return DenseNet("densenet169", final_relu)


@BACKBONES
def densenet201(*, final_relu: bool = True) -> DenseNet:
    """DenseNet-201, 1920-d maps; options: see `DenseNet`. arXiv:1608.06993"""
    return DenseNet("densenet201", final_relu)


def _options_of(maker: Callable, layers: int) -> Callable[[Mapping[str, Tensor]], dict[str, Any]]:
    """What `recognise` asks of a DenseNet with so many layers in its third block."""

    def told(entries: Mapping[str, Tensor]) -> dict[str, Any]:
        prefix = "features.denseblock3.denselayer"
        theirs = {name.removeprefix(prefix).split(".")[0] for name in entries if prefix in name}
        if len(theirs) != layers:
            raise ValueError(f"These are no tensors of {maker.__name__}.")
        return {}

    return told


for _maker, _layers in ((densenet121, 24), (densenet169, 32), (densenet201, 48)):
    _maker.options_of = _options_of(_maker, _layers)
