"""Augmentation and normalisation of whole batches, on whatever device they lie."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from reidtools.data.augmentations import check_range, draw_sizes
from reidtools.data.flip_crop_erase import Drawn, at_once, one_by_one, rows_of
from reidtools.ops.degrade import degrade_each
from reidtools.ops.transfer import sent
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
        self._rows: dict[tuple[torch.device, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """(B, [T,] 3, H, W) uint8 -> float32, in channels-last memory."""
        *lead, _, height, width = images.shape
        # One pass over whole rows of pixels: four times as fast on a CPU as channel by channel.
        rows = rows_of(images).flatten(0, -3)
        shift, scale = self._row(images.device, width)
        out = torch.empty(rows.shape, device=rows.device)
        few = IN_CACHE if rows.device.type == "cpu" else max(1, len(rows))
        for source, place in zip(rows.split(few), out.split(few), strict=True):
            torch.addcmul(shift, place.copy_(source), scale, out=place)
        return out.view(*lead, height, width, 3).movedim(-1, -3)

    def _row(self, device: torch.device, width: int) -> tuple[Tensor, Tensor]:
        """Shift and scale (3·W,) of a row of pixels, sent to a device once."""
        if (device, width) not in self._rows:
            shift, scale = (sent(x.repeat(width), device) for x in (self.shift, self.scale))
            self._rows[device, width] = shift, scale
        return self._rows[device, width]


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
        way = one_by_one if images.device.type == "cpu" else at_once
        return way(images, self.draw(images.shape))

    def draw(self, shape: Sequence[int]) -> Drawn:
        """What happens to the next batch, of this `shape`."""
        count, *frames, _, height, width = shape
        flips = torch.rand(count, generator=self.generator) < self.flip_prob
        moves = torch.randint(-self.padding, self.padding + 1, (count, 2), generator=self.generator)
        apart = frames[0] if frames and self.rea_per_frame else 1
        holes = self._holes(count * apart, height, width)
        colours = self._noise(holes) if self.noisy else self.fill[None]
        return Drawn(flips, moves, holes, colours)

    def _noise(self, holes: Tensor) -> Tensor:
        """What fills the holes (N, 4), a pixel a row (P, 3)."""
        parts = [torch.empty(0, 3)]
        for _, _, h, w in holes.tolist():
            if h:
                noise = torch.randn(3, h, w, generator=self.generator) * self.spread
                noise += self.fill.view(3, 1, 1)
                parts.append(noise.movedim(0, -1).flatten(0, 1))
        return torch.cat(parts).round_().clamp_(0, 255).byte()

    def _holes(self, count: int, height: int, width: int) -> Tensor:
        """The rectangle to erase in each picture, (N, 4): top, left, height, width; else 0."""
        wanted = torch.rand(count, generator=self.generator) < self.rea_prob
        shape = self.rea_area, self.rea_ratio
        sizes, fits = draw_sizes(self.generator, count, (height, width), *shape)
        room = torch.tensor([height, width]) - sizes + 1
        corners = (torch.rand(count, 2, generator=self.generator) * room).int()
        return torch.cat([corners, sizes], 1) * (wanted & fits)[:, None]


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
