"""MGN, multiple granularities of one picture (Wang et al., 2018, arXiv:1804.01438)."""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from reidtools.modeling.backbones.resnet import BLOCKS, WEIGHTS, Bottleneck, ResNet
from reidtools.ops.recompute import outermost
from reidtools.registry import BACKBONES, choose

BASES = {
    name: block
    for name in WEIGHTS
    if (block := BLOCKS[name.removesuffix("_ibn_a")][0]) is Bottleneck
}
BRANCHES = ("b1", "b2", "b3")


class MGNet(nn.Module):
    """A ResNet that falls into three branches after the first block of its layer 3; see `mgn`."""

    pooled = False

    def __init__(self, base: str, **options: Any):
        super().__init__()
        choose("MODEL.BACKBONE.BASE", base, BASES)
        whole = self.whole = ResNet(base, **options)
        self.name, self.fetch = base, whole.fetch
        self.parts = (whole.dim,) * len(BRANCHES)
        self.dim = sum(self.parts)
        last = nn.ModuleDict({"layer3": nn.Sequential(*whole.layer3[1:]), "layer4": whole.layer4})
        whole.layer3, whole.layer4 = whole.layer3[:1], nn.Sequential()
        for branch in BRANCHES:
            self.add_module(branch, deepcopy(last))

    def forward(self, images: Tensor) -> Tensor:
        x = self.whole(images)
        branches = (getattr(self, name) for name in BRANCHES)
        return torch.cat([branch["layer4"](branch["layer3"](x)) for branch in branches], 1)

    @property
    def segments(self) -> list[nn.Module]:
        return outermost(self, Bottleneck)

    def adapt(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        """A part of a ResNet that comes before the branches is that of `whole`."""
        before = re.match(r"(conv1|bn1|layer[12]|layer3\.0)\.", name)
        return (f"whole.{name}" if before else name), tensor

    def copies(self, name: str) -> tuple[str, ...]:
        """Where a part of a ResNet that comes after the fork goes."""
        if found := re.match(r"layer3\.([1-9]\d*)\.", name):
            rest = f"layer3.{int(found[1]) - 1}.{name[found.end() :]}"
        elif name.startswith("layer4."):
            rest = name
        else:
            return ()
        return tuple(f"{branch}.{rest}" for branch in BRANCHES)


@BACKBONES
def mgn(
    *,
    base: str = "resnet50",
    stem_relu: bool = True,
    stem_ceil: bool = False,
    with_se: bool = False,
) -> MGNet:
    """Three copies of the end of a ResNet, (B, 3, H, W) -> three maps side by side (B, 6144, h, w).

    The ResNet called `base` falls into branches after the first block of layer 3, and none of them
    halves the map in layer 4; the head `MGN` cuts the maps into stripes. Weights of the ResNet fill
    every branch. Other options: see `ResNet`. arXiv:1804.01438
    """
    return MGNet(base, stem_relu=stem_relu, stem_ceil=stem_ceil, with_se=with_se)


def _options_of(entries: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options that the tensors of a file tell; a ValueError for one of another network."""
    deep = {int(n.split(".")[2]) for n in entries if n.startswith("b1.layer3.")}
    depths = {5: "resnet50", 22: "resnet101", 35: "resnet152"}
    if len(deep) not in depths:
        raise ValueError("These are no tensors of MGN.")
    ibn = any(".bn1.IN." in name for name in entries)
    se = any(".se.fc." in name for name in entries)
    return {"base": depths[len(deep)] + ("_ibn_a" if ibn else ""), "with_se": se}


mgn.options_of = _options_of
