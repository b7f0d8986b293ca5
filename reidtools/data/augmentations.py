"""Augmentations that recipes add to flip, crop and erasing; each is off until its `prob` is set."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_prob(name: str, prob: float) -> None:
    """Raise ValueError unless INPUT's option `name` is a probability."""
    if not 0 <= prob <= 1:
        raise ValueError(f"INPUT.{name} is {prob}; it is a probability, 0 to 1.")


def check_range(name: str, pair: Sequence[float], most: float = float("inf")) -> None:
    """Raise ValueError unless INPUT's option `name` is lowest, highest, from above 0 to `most`."""
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most:
        limit = "" if most == float("inf") else f", at most {most}"
        raise ValueError(f"INPUT.{name} is {list(pair)}; it is lowest, highest, above 0{limit}.")


def draw_sizes(
    generator: torch.Generator,
    count: int,
    picture: tuple[int, int],
    area: Sequence[float],
    ratio: Sequence[float],
    tries: int = 20,
) -> tuple[Tensor, Tensor]:
    """Sizes of `count` rectangles, (count, 2) heights and widths, and whether each fits, (count,).

    They have `area` (lowest, highest) of a `picture` (height, width), and height/width within
    `ratio`. Each is drawn until it is smaller than the picture both ways, at most `tries` times.
    """

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, tries, generator=generator)

    height, width = picture
    areas, ratios = draw(*area) * height * width, draw(*ratio)
    tall, wide = (areas * ratios).sqrt().round().int(), (areas / ratios).sqrt().round().int()
    fits = (tall < height) & (wide < width) & (tall > 0) & (wide > 0)  # (count, tries)
    first = fits.int().argmax(1, keepdim=True)
    return torch.cat([tall.gather(1, first), wide.gather(1, first)], 1), fits.any(1)


class _OneByOne:
    """Changes each picture with probability `prob`, by what `change` draws for it.

    The frames of a tracklet are changed with the same draws. All chance comes from `generator`, on
    the CPU, so a run repeats whatever the device; with `prob` 0 nothing is drawn.
    """

    def __init__(self, generator: torch.Generator, name: str, prob: float):
        check_prob(name, prob)
        self.generator, self.prob = generator, prob

    def __call__(self, images: Tensor) -> Tensor:
        """(B, [T,] 3, H, W) uint8 -> the same shape and kind."""
        if not self.prob:
            return images
        wanted = torch.rand(len(images), generator=self.generator) < self.prob
        seeds = torch.randint(1 << 62, (len(images),), generator=self.generator).tolist()
        out = images.clone()
        # torchvision draws from torch's own generator on the CPU, which gets its state back after.
        # torch.manual_seed would seed the GPU's as well, and with it the model's dropout.
        with torch.random.fork_rng(devices=[]):
            for i in wanted.nonzero().flatten().tolist():
                torch.default_generator.manual_seed(seeds[i])
                # Plane by plane torchvision takes two thirds of the time.
                out[i] = self.change(images[i].contiguous())
        return out

    def change(self, picture: Tensor) -> Tensor:
        """A picture ([T,] 3, H, W) uint8, changed by torch's own generator on the CPU."""
        raise NotImplementedError


class AutoAugment(_OneByOne):
    """AutoAugment (Cubuk et al., CVPR 2019, arXiv:1805.09501) by its ImageNet policy.

    With `autoaug_prob` one of 25 pairs of operations is applied, as torchvision has them; what
    comes into view is grey. FastReID's SBS sets 0.1; it uses timm's ``original``: the same pairs,
    a few strengths counted otherwise, and before the picture is resized.
    """

    def __init__(self, generator: torch.Generator, *, autoaug_prob: float = 0.0):
        super().__init__(generator, "AUTOAUG_PROB", autoaug_prob)

    def change(self, picture: Tensor) -> Tensor:
        return _v2().AutoAugment(fill=128)(picture)


class ResizedCrop(_OneByOne):
    """With `crop_prob` a part of the picture, enlarged to its size (arXiv:1409.4842, inception).

    The part has `crop_scale` (lowest, highest) of the area, and width/height in pixels within
    `crop_ratio`; where none fits after ten tries it is the middle. It is enlarged bicubically. The
    numbers are FastReID's, whose crops are square; for 256 x 128 set a `crop_ratio` around 0.5.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        crop_prob: float = 0.0,
        crop_scale: Sequence[float] = (0.16, 1.0),
        crop_ratio: Sequence[float] = (0.75, 1.3333),
    ):
        super().__init__(generator, "CROP_PROB", crop_prob)
        check_range("CROP_SCALE", crop_scale, 1)
        check_range("CROP_RATIO", crop_ratio)
        self.scale, self.ratio = tuple(crop_scale), tuple(crop_ratio)

    def change(self, picture: Tensor) -> Tensor:
        size, way = picture.shape[-2:], _v2().InterpolationMode.BICUBIC
        return _v2().RandomResizedCrop(size, self.scale, self.ratio, way)(picture)


class ColorJitter(_OneByOne):
    """With `cj_prob` other colours: brightness, contrast, saturation and hue, in any order.

    The first three are multiplied by 1 plus or minus at most `cj_brightness`, `cj_contrast` and
    `cj_saturation`; the hue is turned by at most `cj_hue` (0 to 0.5) of a circle. The numbers are
    FastReID's; torchreid's ``color_jitter`` is 0.2, 0.15, 0, 0 with `cj_prob` 1.
    """

    def __init__(
        self,
        generator: torch.Generator,
        *,
        cj_prob: float = 0.0,
        cj_brightness: float = 0.15,
        cj_contrast: float = 0.15,
        cj_saturation: float = 0.1,
        cj_hue: float = 0.1,
    ):
        super().__init__(generator, "CJ_PROB", cj_prob)
        self.most = {
            "brightness": cj_brightness,
            "contrast": cj_contrast,
            "saturation": cj_saturation,
            "hue": cj_hue,
        }
        for name, value in self.most.items():
            if not 0 <= value <= (0.5 if name == "hue" else float("inf")):
                limit = "0 to 0.5" if name == "hue" else "0 or more"
                raise ValueError(f"INPUT.CJ_{name.upper()} is {value}; it is {limit}.")

    def change(self, picture: Tensor) -> Tensor:
        return _v2().ColorJitter(**self.most)(picture)


class Affine(_OneByOne):
    """With `affine_prob` turned by up to 10 degrees, scaled by 0.9 to 1.1, sheared by 0.1 degrees.

    These are FastReID's numbers, which are set in its code and always applied: `affine_prob` 1.
    What comes into view is black.
    """

    def __init__(self, generator: torch.Generator, *, affine_prob: float = 0.0):
        super().__init__(generator, "AFFINE_PROB", affine_prob)

    def change(self, picture: Tensor) -> Tensor:
        return _v2().RandomAffine(degrees=10, scale=(0.9, 1.1), shear=0.1)(picture)


class AugMix(_OneByOne):
    """With `augmix_prob` AugMix (Hendrycks et al., ICLR 2020, arXiv:1912.02781).

    The picture is mixed with three copies that went through chains of one to three operations, all
    of torchvision's at severity 3. FastReID chooses from fewer, at severity 1.
    """

    def __init__(self, generator: torch.Generator, *, augmix_prob: float = 0.0):
        super().__init__(generator, "AUGMIX_PROB", augmix_prob)

    def change(self, picture: Tensor) -> Tensor:
        from torchvision.tv_tensors import Image, Video

        # A video has one mixture, a batch of pictures several. They are drawn on its device, so
        # that has to be the CPU.
        kind = Video if picture.ndim == 4 else Image
        return _v2().AugMix()(kind(picture.cpu())).as_subclass(Tensor).to(picture.device)


class RandomPatch:
    """With `rpt_prob` a piece of another picture hides part of one (OSNet, arXiv:1905.00953).

    As in torchreid a piece has 1 to 50 % of the area and height/width from 0.1 to 10, is flipped in
    half of all cases, turned by up to 10 degrees in half, and lies anywhere. There pieces come from
    a pool of 50,000 collected so far; here from the same batch, so that there is nothing that a
    resumed run would have lost. A tracklet is hidden by one other tracklet, frame by frame at the
    same place. All chance comes from `generator`, on the CPU; with `rpt_prob` 0, or a single
    picture, nothing is drawn.
    """

    AREA, RATIO, DEGREES = (0.01, 0.5), (0.1, 10.0), 10

    def __init__(self, generator: torch.Generator, *, rpt_prob: float = 0.0):
        check_prob("RPT_PROB", rpt_prob)
        self.generator, self.prob = generator, rpt_prob

    def __call__(self, images: Tensor) -> Tensor:
        """(B, [T,] 3, H, W) uint8 -> the same shape and kind."""
        count, size = len(images), (images.shape[-2], images.shape[-1])
        if not self.prob or count < 2:
            return images
        wanted, flips, turns = torch.rand(3, count, generator=self.generator)
        others = torch.randint(1, count, (count,), generator=self.generator)
        others = (others + torch.arange(count)) % count
        degrees = torch.randint(-self.DEGREES, self.DEGREES + 1, (count,), generator=self.generator)
        sizes, fits = draw_sizes(self.generator, count, size, self.AREA, self.RATIO)
        room = torch.tensor(size) - sizes + 1
        corners = (torch.rand(2, count, 2, generator=self.generator) * room).int()
        out = images.clone()
        for i in ((wanted < self.prob) & fits).nonzero().flatten().tolist():
            piece = images[others[i]][_spot(corners[0, i], sizes[i])]
            piece = piece.flip(-1) if flips[i] < 0.5 else piece
            if turns[i] < 0.5:
                piece = _v2().functional.rotate(piece, float(degrees[i]))
            out[i][_spot(corners[1, i], sizes[i])] = piece
        return out


def _spot(corner: Tensor, size: Tensor) -> tuple[Any, ...]:
    """The index of a rectangle in pictures (…, H, W)."""
    (top, left), (height, width) = corner.tolist(), size.tolist()
    return ..., slice(top, top + height), slice(left, left + width)


def _v2() -> Any:
    """torchvision's transforms, which take a second to import."""
    from torchvision.transforms import v2

    return v2


FIRST = (AutoAugment, ResizedCrop, ColorJitter, Affine, AugMix)  # before `Augment`, in this order
