"""Augmentation and normalisation of whole batches, on whatever device they lie."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reidtools.data.augmentations import check_range, draw_sizes
from reidtools.ops.degrade import degrade_each
from reidtools.registry import choose

IN_CACHE = 4  # pictures, few enough to be in a CPU's cache when they are used again
REA_MODES = {"mean": False, "pixel": True}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalize:
    """uint8 pixels to what networks want: ``(x / 255 - mean) / std``, float32, RGB."""

    def __init__(
        self,
        *,
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
    ):
        if (
            len(pixel_mean) != 3
            or len(pixel_std) != 3
            or min(pixel_std) <= 0
            or max(pixel_mean) > 1
        ):
            raise ValueError(
                f"INPUT.PIXEL_MEAN {list(pixel_mean)} and INPUT.PIXEL_STD {list(pixel_std)} are "
                "three values each (red, green, blue) for pixels from 0 to 1, the latter above 0."
            )
        self.scale = 1 / (255 * torch.tensor(pixel_std))
        self.shift = -255 * torch.tensor(pixel_mean) * self.scale

    def __call__(self, images: Tensor) -> Tensor:
        """(B, [T,] 3, H, W) uint8 -> float32, in channels-last memory."""
        *lead, _, height, width = images.shape
        # One pass over whole rows of pixels: four times as fast on a CPU as channel by channel.
        rows = _rows(images).flatten(0, -3)
        shift, scale = (x.to(images.device).repeat(width) for x in (self.shift, self.scale))
        out = torch.empty(rows.shape, device=rows.device)
        few = IN_CACHE if rows.device.type == "cpu" else max(1, len(rows))
        for source, place in zip(rows.split(few), out.split(few), strict=True):
            torch.addcmul(shift, place.copy_(source), scale, out=place)
        return out.view(*lead, height, width, 3).movedim(-1, -3)


class Augment:
    """The bag-of-tricks augmentation of a batch (Luo et al., 2019, arXiv:1903.07071).

    Flip left-right with `flip_prob`; pad by `padding` black pixels and crop back at a random place;
    erase a rectangle with `rea_prob` (Zhong et al., 2017, arXiv:1708.04896), of `rea_area` of the
    picture and height/width within `rea_ratio`. It is filled with the mean colour `fill` (0..1,
    RGB) or, with `rea_mode` ``pixel``, with normal noise around it of the deviation `spread`, cut
    to what pixels can be, as in TransReID and CLIP-ReID.
    The frames of a tracklet are all treated alike; `rea_per_frame` erases in each one by itself.
    All chance comes from `generator`, on the CPU, so a run repeats whatever the device.
    """

    def __init__(
        self,
        generator: torch.Generator,
        fill: Sequence[float] = IMAGENET_MEAN,
        spread: Sequence[float] = IMAGENET_STD,
        *,
        flip_prob: float = 0.5,
        padding: int = 10,
        rea_prob: float = 0.5,
        rea_area: Sequence[float] = (0.02, 0.4),
        rea_ratio: Sequence[float] = (0.3, 3.33),
        rea_per_frame: bool = False,
        rea_mode: str = "mean",
    ):
        if not (0 <= flip_prob <= 1 and 0 <= rea_prob <= 1):
            raise ValueError(
                f"INPUT.FLIP_PROB {flip_prob} and INPUT.REA_PROB {rea_prob} are 0 to 1."
            )
        check_range("REA_AREA", rea_area, 1)
        check_range("REA_RATIO", rea_ratio)
        if padding < 0:
            raise ValueError(f"INPUT.PADDING is {padding}; it is a number of pixels, at least 0.")
        self.generator, self.padding = generator, padding
        self.noisy = choose("INPUT.REA_MODE", rea_mode, REA_MODES)
        self.spread = 255 * torch.tensor(spread).view(3, 1, 1)
        self.fill = (255 * torch.tensor(fill)).round().byte()
        self.flip_prob, self.rea_prob = flip_prob, rea_prob
        self.rea_area, self.rea_ratio, self.rea_per_frame = rea_area, rea_ratio, rea_per_frame

    def __call__(self, images: Tensor) -> Tensor:
        """(B, [T,] 3, H, W) uint8 -> the same shape and kind."""
        count, *frames, _, height, width = images.shape
        flips = (torch.rand(count, generator=self.generator) < self.flip_prob).tolist()
        moves = torch.randint(
            -self.padding, self.padding + 1, (count, 2), generator=self.generator
        ).tolist()
        apart = frames[0] if frames and self.rea_per_frame else 1
        holes = self._holes(count * apart, height, width)
        # Rows of bytes, 3·W each, are cut and filled without a look at what is a channel.
        source, on_cpu = _rows(images), images.device.type == "cpu"
        out = (torch.empty_like if on_cpu else torch.zeros_like)(source)
        fill = _sliced(self.fill.to(images.device).repeat(width))
        seen, to = _sliced(source), _sliced(out)
        for i, (flip, (down, right)) in enumerate(zip(flips, moves, strict=True)):
            picture = _sliced(_mirrored(source[i])) if flip else seen[i]
            _shift(picture, to[i], down, 3 * right, black=not on_cpu)
            for t, hole in enumerate(holes[i * apart : (i + 1) * apart]):
                if hole:
                    rows, columns = hole
                    spot = (to[i][t] if apart > 1 else to[i])[..., rows, columns]
                    noise = _sliced(self._noise(spot.shape).to(images)) if self.noisy else None
                    spot[:] = fill[columns] if noise is None else noise
        return out.unflatten(-1, (width, 3)).movedim(-1, -3)

    def _noise(self, shape: Sequence[int]) -> Tensor:
        """What fills a rectangle ([T,] h, 3·w): the same in all frames."""
        size = 3, shape[-2], shape[-1] // 3
        noise = torch.randn(size, generator=self.generator) * self.spread
        noise += self.fill.view(3, 1, 1)
        return noise.round().clamp(0, 255).movedim(0, -1).flatten(-2)

    def _holes(self, count: int, height: int, width: int) -> list[tuple[slice, slice] | None]:
        """The rectangle of bytes to erase in each picture's rows, or None where none fits."""
        wanted = torch.rand(count, generator=self.generator) < self.rea_prob
        shape = self.rea_area, self.rea_ratio
        sizes, fits = draw_sizes(self.generator, count, (height, width), *shape)
        room = torch.tensor([height, width]) - sizes + 1
        corners = (torch.rand(count, 2, generator=self.generator) * room).int()
        return [
            (slice(top, top + h), slice(3 * left, 3 * (left + w))) if use else None
            for use, (h, w), (top, left) in zip(
                (wanted & fits).tolist(), sizes.tolist(), corners.tolist(), strict=True
            )
        ]


def _rows(images: Tensor) -> Tensor:
    """(…, 3, H, W) -> (…, H, 3·W), the same memory if that is channels-last."""
    return images.movedim(-3, -1).flatten(-2)


def _mirrored(rows: Tensor) -> Tensor:
    return rows.unflatten(-1, (-1, 3)).flip(-2).flatten(-2)


def _sliced(tensor: Tensor) -> Any:
    """What is quick to slice: NumPy takes a tenth of torch's time to say which bytes are meant."""
    return tensor.numpy() if tensor.device.type == "cpu" else tensor


def _shift(source: Any, out: Any, down: int, right: int, *, black: bool) -> None:
    """Fill `out` (…, h, w) with `source`, moved; what becomes free is black, or is so already."""
    height, width = out.shape[-2:]
    rows = slice(max(0, down), height + min(0, down))
    columns = slice(max(0, right), width + min(0, right))
    out[..., rows, columns] = source[
        ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    if down and not black:
        out[..., slice(down) if down > 0 else slice(down, None), :] = 0
    if right and not black:
        out[..., slice(right) if right > 0 else slice(right, None)] = 0


class LowResolution:
    """Makes some pictures of a batch coarse, so that one model learns both resolutions.

    With probability `low_res_prob` a picture becomes as coarse as one of `low_res_scales`, all
    equally likely, as in the benchmarks of Jiao et al. (AAAI 2018). All chance comes from
    `generator`, on the CPU.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        low_res_prob: float = 0.0,
        low_res_scales: Sequence[float] = (2.0, 3.0, 4.0),
    ):
        if not 0 <= low_res_prob <= 1:
            raise ValueError(f"INPUT.LOW_RES_PROB is {low_res_prob}; it is 0 to 1.")
        if not low_res_scales or min(low_res_scales) < 1:
            raise ValueError(
                f"INPUT.LOW_RES_SCALES is {list(low_res_scales)}; give scales of at least 1, such "
                "as [2, 3, 4]."
            )
        self.generator, self.prob, self.scales = generator, low_res_prob, tuple(low_res_scales)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, [T,] 3, H, W) float -> the same shape and kind; all frames of a tracklet alike."""
        if not self.prob:
            return images
        coarse = torch.rand(len(images), generator=self.generator) < self.prob
        drawn = torch.randint(len(self.scales), (len(images),), generator=self.generator)
        scales = [
            self.scales[i] if low else 1.0
            for i, low in zip(drawn.tolist(), coarse.tolist(), strict=True)
        ]
        return degrade_each(images, scales)


class TrainTransform:
    """The steps of a training batch, one after the other.

    They are AutoAugment, ResizedCrop, ColorJitter, Affine, AugMix, `Augment`, RandomPatch (see
    `augmentations`), `Normalize`, `LowResolution`. In FastReID colour jitter, affine and AugMix
    come between the two halves of `Augment`, which is one pass here: after flip and padded crop,
    before erasing. Flips commute with them; what differs is that the black border of the padded
    crop keeps its colour, and that a picture is turned before it is moved.
    """

    def __init__(self, *steps: Callable[[Tensor], Tensor]):
        self.steps = steps

    def __call__(self, images: Tensor) -> Tensor:
        for step in self.steps:
            images = step(images)
        return images
