"""Backbones: normalised pictures (B, 3, H, W) -> maps (B, dim, h, w) or vectors (B, dim).

Every backbone is a module with these attributes:

- `dim`: number of channels of its output;
- `pooled`: True if it gives vectors, False if it gives maps;
- `fetch()`: downloads its published ImageNet state dict, without the classifier;
- `adapt(name, tensor)`, only where published files differ from the module: the name and tensor
  that fit the module, for one entry of such a file.
"""

from reidtools.modeling.backbones import densenet, osnet, resnet, timm_models, vit

__all__ = ["densenet", "osnet", "resnet", "timm_models", "vit"]
