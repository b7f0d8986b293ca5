"""Low resolution from high resolution: the one way pictures lose detail here."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from reidtools.ops.transfer import sent


def degrade(images: Tensor, scale: float) -> Tensor:
    """What a camera `scale` times as coarse would have seen, at the old size.

    Float (B, [T,] C, H, W) -> the same shape and memory format: bicubic down to the whole part of
    H / scale x W / scale, bicubic back up to H x W, both without antialiasing, as the octuplet
    recipe does to normalised batches. The whole picture is covered whether `scale` divides H and W
    or not, so nothing moves. `scale` 1 gives `images` itself. Raises ValueError for a `scale` below
    1, or one that leaves no pixel of a side.
    """
    height, width = images.shape[-2:]
    if not 1 <= scale <= min(height, width):
        raise ValueError(
            f"A picture of {height} x {width} cannot be made {scale} times as coarse; choose a "
            f"scale from 1 (nothing is lost) to {min(height, width)}."
        )
    if scale == 1:
        return images
    small, pictures = (int(height / scale), int(width / scale)), images.flatten(0, -4)
    for size in (small, (height, width)):
        pictures = interpolate(pictures, size=size, mode="bicubic", align_corners=False)
    return pictures.view_as(images)


def degrade_each(images: Tensor, scales: Sequence[float]) -> Tensor:
    """Each of `images` (B, [T,] C, H, W) as coarse as its one of the B `scales`; see `degrade`."""
    kinds = sorted(set(scales))
    if len(kinds) == 1:
        return degrade(images, kinds[0])
    images = images.clone()
    # All rows in one tensor, those of a scale side by side, so that one copy takes them there.
    rows = sent(torch.tensor(sorted(range(len(scales)), key=scales.__getitem__)), images.device)
    for scale, own in zip(kinds, rows.split([scales.count(kind) for kind in kinds]), strict=True):
        images[own] = degrade(images[own], scale)
    return images
