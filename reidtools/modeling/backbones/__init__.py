"""Backbones: normalised pictures (B, 3, H, W) -> maps (B, dim, h, w) or vectors (B, dim).

Every backbone is a module with these attributes:

- `dim`: number of channels of its output;
- `pooled`: True if it gives vectors, False if it gives maps;
- `segments`: its blocks, one after the other, each of which can compute its activations again on
  the way back (MODEL.BACKBONE.GRAD_CHECKPOINT);
- `parts`, only where a vector is several features side by side: their widths;
- `by_camera`, only where it is True: the module takes camids (B,) besides pictures;
- `fetch()`: downloads its published ImageNet state dict, without the classifier;
- `adapt(name, tensor)`, only where published files differ from the module: the name and tensor
  that fit the module, for one entry of such a file;
- `copies(name)`, only where parts of the module begin as copies of one part of published files:
  their names, for the adapted name of an entry of such a file.
"""

from reidtools.modeling.backbones import (
    clip,
    densenet,
    mgn,
    osnet,
    resnest,
    resnet,
    solider,
    timm_models,
    transreid,
    vit,
)

__all__ = [
    "clip",
    "densenet",
    "mgn",
    "osnet",
    "resnest",
    "resnet",
    "solider",
    "timm_models",
    "transreid",
    "vit",
]
