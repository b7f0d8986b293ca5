"""Augmentation and normalisation of whole batches, on whatever device they lie."""

from collections.abc import Sequence

import torch
from torch import Tensor

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
        """(B, 3, H, W) uint8 -> float32, in channels-last memory."""
        count, _, height, width = images.shape
        # One pass over whole rows of pixels: four times as fast on a CPU as channel by channel.
        rows = images.permute(0, 2, 3, 1).reshape(count, height, 3 * width).float()
        shift, scale = (x.to(images.device).repeat(width) for x in (self.shift, self.scale))
        torch.addcmul(shift, rows, scale, out=rows)
        return rows.view(count, height, width, 3).permute(0, 3, 1, 2)


class Augment:
    """The bag-of-tricks augmentation of a batch (Luo et al., 2019, arXiv:1903.07071).

    Flip left-right with `flip_prob`; pad by `padding` black pixels and crop back at a random place;
    erase a rectangle with `rea_prob` (Zhong et al., 2017, arXiv:1708.04896), of `rea_area` of the
    picture and height/width within `rea_ratio`, filled with the mean colour `fill` (0..1, RGB).
    All chance comes from `generator`, on the CPU, so a run repeats whatever the device.
    """

    TRIES = 20

    def __init__(
        self,
        generator: torch.Generator,
        fill: Sequence[float] = IMAGENET_MEAN,
        *,
        flip_prob: float = 0.5,
        padding: int = 10,
        rea_prob: float = 0.5,
        rea_area: Sequence[float] = (0.02, 0.4),
        rea_ratio: Sequence[float] = (0.3, 3.33),
    ):
        if not (0 <= flip_prob <= 1 and 0 <= rea_prob <= 1):
            raise ValueError(
                f"INPUT.FLIP_PROB {flip_prob} and INPUT.REA_PROB {rea_prob} are 0 to 1."
            )
        for name, pair, most in (("AREA", rea_area, 1), ("RATIO", rea_ratio, float("inf"))):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
                raise ValueError(
                    f"INPUT.REA_{name} is {list(pair)}; it is lowest, highest, above 0."
                )
        if padding < 0:
            raise ValueError(f"INPUT.PADDING is {padding}; it is a number of pixels, at least 0.")
        self.generator, self.padding = generator, padding
        self.fill = (255 * torch.tensor(fill)).round().byte().view(3, 1, 1)
        self.flip_prob, self.rea_prob = flip_prob, rea_prob
        self.rea_area, self.rea_ratio = rea_area, rea_ratio

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> the same shape and kind."""
        count, _, height, width = images.shape
        flips = (torch.rand(count, generator=self.generator) < self.flip_prob).tolist()
        moves = torch.randint(
            -self.padding, self.padding + 1, (count, 2), generator=self.generator
        ).tolist()
        out, fill = torch.zeros_like(images), self.fill.to(images.device)
        for i, (flip, (down, right), hole) in enumerate(
            zip(flips, moves, self._holes(count, height, width), strict=True)
        ):
            rows = slice(max(0, down), height + min(0, down))
            columns = slice(max(0, right), width + min(0, right))
            source = images[i].flip(-1) if flip else images[i]
            out[i, :, rows, columns] = source[
                :, max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
            ]
            if hole:
                out[i][:, hole[0], hole[1]] = fill
        return out

    def _holes(self, count: int, height: int, width: int) -> list[tuple[slice, slice] | None]:
        """The rectangle to erase in each picture, or None.

        A shape is drawn until it fits, at most `TRIES` times, as in the paper.
        """

        def draw(low, high):
            return low + (high - low) * torch.rand(count, self.TRIES, generator=self.generator)

        wanted = torch.rand(count, generator=self.generator) < self.rea_prob
        area, ratio = draw(*self.rea_area) * height * width, draw(*self.rea_ratio)
        tall, wide = (area * ratio).sqrt().round().int(), (area / ratio).sqrt().round().int()
        fits = (tall < height) & (wide < width) & (tall > 0) & (wide > 0)  # (B, TRIES)
        first = fits.int().argmax(1, keepdim=True)
        sizes = torch.cat([tall.gather(1, first), wide.gather(1, first)], 1)  # (B, 2)
        room = torch.tensor([height, width]) - sizes + 1
        corners = (torch.rand(count, 2, generator=self.generator) * room).int()
        return [
            (slice(top, top + h), slice(left, left + w)) if use else None
            for use, (h, w), (top, left) in zip(
                (wanted & fits.any(1)).tolist(), sizes.tolist(), corners.tolist(), strict=True
            )
        ]


class TrainTransform:
    """`Augment`, then `Normalize`."""

    def __init__(self, augment: Augment, normalize: Normalize):
        self.augment, self.normalize = augment, normalize

    def __call__(self, images: Tensor) -> Tensor:
        return self.normalize(self.augment(images))
