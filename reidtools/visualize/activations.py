"""Where in a picture a model looks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.data.pictures import read_picture
from reidtools.files import make_folder
from reidtools.modeling.backbones.timm_models import TimmBackbone, grid_of
from reidtools.visualize.images import file_names, write_png

HEIGHT, SPACE = 256, 4  # of a tile, and between two of them, in pixels


@torch.inference_mode()
def activation_maps(model: nn.Module, images: Tensor) -> Tensor:
    """How much each place of normalised `images` (B, 3, H, W) counts: (B, H, W), from 0 to 1.

    The least of every picture is 0, its most 1, so that pictures cannot be compared with each
    other. `model` is an `Embedder` or a backbone; it is put into evaluation mode for the time of
    the call.

    Convolutional networks: the energy of the last maps, the sum of squares over channels
    (Zagoruyko and Komodakis, arXiv:1612.03928). Transformers: attention rollout (Abnar and Zuidema,
    arXiv:2005.00928), what of every patch reaches the class token, or the mean of all tokens where
    those are pooled. The energy of their last patches would not do: a layer norm makes it nearly
    the same for all, and with a class token nothing has taught the last patches what to be. Models
    of tokens without attention matrices (mixers, linear attention) show each patch's part of the
    length of their mean: its dot product with it.

    Raises ValueError for other shapes, and for a model that makes no maps.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(
            f"Activation maps are of pictures (B, 3, H, W), these are {tuple(images.shape)}; give "
            "one frame of each tracklet."
        )
    backbone = getattr(model, "backbone", model)
    training = model.training
    model.eval()
    try:
        if isinstance(backbone, TimmBackbone) and backbone.pooled:
            maps = _of_tokens(backbone.model, images)
        else:
            maps = _of_last_map(backbone, images)
    finally:
        model.train(training)
    maps = F.interpolate(maps[:, None].float(), images.shape[2:], mode="bilinear")[:, 0]
    lowest, highest = maps.amin((1, 2), True), maps.amax((1, 2), True)
    # A map without any difference is 0 everywhere, rounding not made large.
    reach = (highest - lowest).clamp(min=1e-6 * highest.abs().clamp(min=1e-12))
    return ((maps - lowest) / reach).cpu()


def _of_last_map(backbone: nn.Module, images: Tensor) -> Tensor:
    """The energy of the last output with height and width; (B, h, w)."""
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple, output: object) -> None:
        if (
            isinstance(output, Tensor)
            and output.ndim == 4
            and output.shape[2] * output.shape[3] > 1
        ):
            seen[:] = [output]

    # A backbone comes last itself, unless it pools as OSNet does: then it is a layer of it.
    hooks = [module.register_forward_hook(look) for module in backbone.modules()]
    try:
        backbone(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise ValueError(
            f"{type(backbone).__name__} makes no maps of pictures of {images.shape[2]} x "
            f"{images.shape[3]}, so there is nothing to show; use larger pictures."
        )
    return seen[0].float().square().sum(1)


def _of_tokens(model: nn.Module, images: Tensor) -> Tensor:
    """What each patch gives to the vector of timm's `model`; (B, h, w)."""
    with _attention_of(model) as attention:
        tokens = model.forward_features(images)
    if tokens.ndim != 3:
        return _of_last_map(model, images)
    count = tokens.shape[1]
    extra = getattr(model, "num_prefix_tokens", 0)  # class token, registers
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is None or grid[0] * grid[1] != count - extra:
        grid = grid_of(count - extra)
    if grid is None:
        raise ValueError(
            f"{type(model).__name__} makes {count} tokens that lie on no known grid, so there is "
            "no map of them; show another model."
        )
    if attention and all(matrix.shape[2:] == (count, count) for matrix in attention):
        flow = rollout(attention)
        by_class = getattr(model, "global_pool", "") == "token"
        weights = (flow[:, 0] if by_class else flow[:, extra:].mean(1))[:, extra:]
    else:
        patches = tokens[:, extra:].float()
        weights = (patches @ patches.mean(1)[:, :, None])[:, :, 0]
    return weights.reshape(len(images), *grid)


def rollout(attention: Sequence[Tensor]) -> Tensor:
    """What of every token reaches every other through all layers; (B, N, N), rows add up to 1.

    `attention` are the matrices (B, heads, N, N) of each layer, from the first; rows attend to
    columns. Heads are averaged, and half of a token goes past them (arXiv:2005.00928).
    """
    flow = None
    for matrices in attention:
        mean = matrices.float().mean(1)
        step = (mean + torch.eye(mean.shape[1], device=mean.device)) / 2
        flow = step if flow is None else step @ flow
    return flow


@contextmanager
def _attention_of(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that gets the attention matrices (B, heads, N, N) of every layer that runs.

    The fused kernel never has them, so timm's layers take the plain path for that time; there,
    what goes through `attn_drop` is the matrix.
    """
    seen: list[Tensor] = []
    layers = [m for m in model.modules() if hasattr(m, "fused_attn") and hasattr(m, "attn_drop")]
    before = [layer.fused_attn for layer in layers]

    def look(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        seen.append(output)

    hooks = [layer.attn_drop.register_forward_hook(look) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield seen
    finally:
        for layer, fused, hook in zip(layers, before, hooks, strict=True):
            layer.fused_attn = fused
            hook.remove()


def overlay(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`picture`, uint8 RGB (H, W, 3), under the colours of `weights` (H, W), from 0 to 1.

    Blue is little, red much.
    """
    import cv2

    heat = cv2.applyColorMap(np.round(255 * weights).astype(np.uint8), cv2.COLORMAP_JET)
    return cv2.addWeighted(picture, 0.5, np.ascontiguousarray(heat[:, :, ::-1]), 0.5, 0)


def write_activations(paths: Sequence[str | Path], maps: Tensor, folder: str | Path) -> list[Path]:
    """Write each picture of `paths`, beside it the same under its map (`maps` (B, H, W)), as PNG.

    The files in `folder` are called like their pictures, with a number where several are called
    alike. Raises ValueError where there are not as many maps, OSError for what is no picture.
    """
    import cv2

    if len(paths) != len(maps):
        raise ValueError(f"{len(paths)} pictures and {len(maps)} maps; give each picture its own.")
    folder = make_folder(Path(folder))
    files = [folder / f"{name}.png" for name in file_names(paths)]
    wide = max(1, round(HEIGHT * maps.shape[2] / maps.shape[1]))
    for path, weights, file in zip(paths, maps.cpu().numpy(), files, strict=True):
        picture = np.empty((HEIGHT, wide, 3), np.uint8)
        read_picture(path, picture)
        fitted = cv2.resize(weights, (wide, HEIGHT), interpolation=cv2.INTER_LINEAR)
        space = np.full((HEIGHT, SPACE, 3), 255, np.uint8)
        write_png(file, np.hstack([picture, space, overlay(picture, fitted)]))
    return files
