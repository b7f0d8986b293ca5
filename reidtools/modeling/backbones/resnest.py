"""ResNeSt (Zhang et al., 2020, arXiv:2004.08955): timm's, with the last stride of re-ID."""

from torch import nn

from reidtools.modeling.backbones.timm_models import TimmBackbone
from reidtools.registry import BACKBONES


def _resnest(timm_name: str, last_stride: int, image_size: tuple[int, int]) -> TimmBackbone:
    if last_stride not in (1, 2):
        raise ValueError(f"LAST_STRIDE of {timm_name} is {last_stride}; set it to 1 or 2.")
    if last_stride == 2:
        return TimmBackbone(timm_name, image_size, {})
    built = TimmBackbone(timm_name, image_size, {"output_stride": 16})
    layer = built.model.layer4
    for module in layer.modules():
        # timm spreads the kernels of a layer that halves no map; re-ID networks leave them.
        if isinstance(module, nn.Conv2d) and module.dilation == (2, 2):
            module.dilation, module.padding = (1, 1), (1, 1)
    # The authors' first block averages over 3 x 3 whatever its stride; its shortcut, by its stride.
    layer[0].avd_last, layer[0].downsample[0] = nn.AvgPool2d(3, 1, padding=1), nn.Identity()
    return built


@BACKBONES
def resnest50(image_size: tuple[int, int], *, last_stride: int = 1) -> TimmBackbone:
    """ResNeSt-50, 2048-d maps, FastReID's S50; needs timm.

    `last_stride` 1 keeps the map twice as fine as for ImageNet, which has 2. arXiv:2004.08955
    """
    return _resnest("resnest50d", last_stride, image_size)


@BACKBONES
def resnest101(image_size: tuple[int, int], *, last_stride: int = 1) -> TimmBackbone:
    """ResNeSt-101, 2048-d maps; options as for `resnest50`. arXiv:2004.08955"""
    return _resnest("resnest101e", last_stride, image_size)
