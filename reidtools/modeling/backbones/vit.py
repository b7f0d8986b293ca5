"""Vision transformers (Dosovitskiy et al., 2021, arXiv:2010.11929) for pictures of any shape."""

from reidtools.modeling.backbones.timm_models import TimmBackbone
from reidtools.registry import BACKBONES


def _vit(name: str, image_size: tuple[int, int], drop_path: float, dropout: float) -> TimmBackbone:
    height, width = image_size
    if height % 16 or width % 16:
        near = [max(16, round(side / 16) * 16) for side in image_size]
        raise ValueError(
            f"{name} cuts pictures into patches of 16 x 16 pixels, which {height} x {width} is "
            f"not made of; set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST to {near}, for example."
        )
    settings = {
        "drop_path_rate": drop_path,
        "pos_drop_rate": dropout,
        "proj_drop_rate": dropout,
    }
    return TimmBackbone(f"{name}_224", image_size, settings)


@BACKBONES
def vit_small_patch16(
    image_size: tuple[int, int], *, drop_path: float = 0.1, dropout: float = 0.0
) -> TimmBackbone:
    """ViT-S/16: the class token, (B, 3, H, W) -> (B, 384). arXiv:2010.11929

    `drop_path` is the share of residual branches, `dropout` the share of tokens' values, left out
    in training.
    """
    return _vit("vit_small_patch16", image_size, drop_path, dropout)


@BACKBONES
def vit_base_patch16(
    image_size: tuple[int, int], *, drop_path: float = 0.1, dropout: float = 0.0
) -> TimmBackbone:
    """ViT-B/16: the class token, (B, 3, H, W) -> (B, 768). arXiv:2010.11929

    Options as for `vit_small_patch16`.
    """
    return _vit("vit_base_patch16", image_size, drop_path, dropout)
