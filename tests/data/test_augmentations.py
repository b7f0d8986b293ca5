"""The augmentations that recipes add: what each does, and where its chance comes from."""

import numpy as np
import pytest
import torch
from PIL import Image

from reidtools.batches import train_transform
from reidtools.config.load import load
from reidtools.data.augmentations import (
    FIRST,
    Affine,
    AugMix,
    AutoAugment,
    ColorJitter,
    RandomPatch,
    ResizedCrop,
    draw_sizes,
)

# Each with the name of its probability.
EACH = {
    AutoAugment: "autoaug_prob",
    ResizedCrop: "crop_prob",
    ColorJitter: "cj_prob",
    Affine: "affine_prob",
    AugMix: "augmix_prob",
    RandomPatch: "rpt_prob",
}
each = pytest.mark.parametrize("make", EACH, ids=lambda make: make.__name__)


def made(make, prob=1.0, seed=0, **options):
    return make(torch.Generator().manual_seed(seed), **{EACH[make]: prob}, **options)


def noise(count=16, height=32, width=16):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(1, 256, (count, 3, height, width), generator=generator)
    return images.byte().to(memory_format=torch.channels_last)


def changed(out, images):
    return (out != images).flatten(1).any(1)


def test_the_steps_before_augment_are_all_but_the_patch():
    assert set(FIRST) == EACH.keys() - {RandomPatch}


@each
def test_it_is_off_until_asked_for_and_draws_nothing(make):
    generator, images = torch.Generator().manual_seed(0), noise()
    before = generator.get_state()
    assert make(generator)(images) is images
    assert torch.equal(generator.get_state(), before)


def test_a_run_without_them_is_what_it_was():
    """Nothing but Augment draws: flips, moves, then what to erase."""
    generator, alone = (torch.Generator().manual_seed(0) for _ in range(2))
    count = 4
    train_transform(load(), generator)(noise(count, 256, 128))
    torch.rand(count, generator=alone)
    torch.randint(-10, 11, (count, 2), generator=alone)
    for shape in ((count,), (count, 20), (count, 20), (count, 2)):
        torch.rand(shape, generator=alone)
    assert torch.equal(generator.get_state(), alone.get_state())


@each
def test_it_changes_as_many_as_its_probability_says(make):
    images = noise(300)
    out = made(make, 0.5)(images)
    assert out.shape == images.shape and out.dtype == torch.uint8
    assert out.is_contiguous(memory_format=torch.channels_last)
    # A piece may not fit and an operation may do nothing, so fewer than half is fine.
    assert 75 < changed(out, images).sum() < 180
    assert torch.equal(images, noise(300))  # what went in is as it was


@each
def test_chance_comes_from_the_generator_and_torch_s_own_is_left_alone(make):
    torch.manual_seed(0)
    first, after = made(make, seed=7)(noise()), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(made(make, seed=7)(noise()), first)
    assert not torch.equal(made(make, seed=8)(noise()), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), after)


@each
def test_all_frames_of_a_tracklet_are_treated_alike(make):
    """The same picture in every frame stays the same, and becomes what it would be alone."""
    tracklets = noise(32)[:, None].expand(-1, 3, -1, -1, -1).contiguous()
    out = made(make)(tracklets)
    assert out.shape == tracklets.shape and changed(out, tracklets).sum() > 8
    assert all(torch.equal(out[:, 0], out[:, t]) for t in (1, 2))
    assert torch.equal(out[:, 0], made(make)(noise(32)))


@each
def test_a_probability_is_from_0_to_1(make):
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"INPUT\.{EACH[make].upper()} is {wrong}; it is"):
            made(make, wrong)


def test_brightness_is_one_factor_for_the_whole_picture():
    """Grey 100 with brightness 0.2 lies from 80 to 120, and every pixel is the same."""
    images = torch.full((200, 3, 4, 4), 100, dtype=torch.uint8)
    only = {"cj_contrast": 0, "cj_saturation": 0, "cj_hue": 0}
    out = made(ColorJitter, cj_brightness=0.2, **only)(images).flatten(1)
    assert (out.amin(1) == out.amax(1)).all()
    assert 79 <= out.min() < 85 and 115 < out.max() <= 120


def test_saturation_and_hue_leave_grey_as_it_is():
    images = torch.full((50, 3, 4, 4), 100, dtype=torch.uint8)
    only = {"cj_brightness": 0, "cj_contrast": 0, "cj_saturation": 0.9, "cj_hue": 0.5}
    assert ((made(ColorJitter, **only)(images).int() - 100).abs() <= 1).all()
    red = images * torch.tensor([1, 0, 0], dtype=torch.uint8).view(3, 1, 1)
    assert changed(made(ColorJitter, **only)(red), red).all()


@pytest.mark.parametrize(
    ("option", "value", "limit"),
    [("cj_contrast", -0.1, "0 or more"), ("cj_hue", 0.6, "0 to 0.5")],
)
def test_jitter_that_cannot_be_is_refused(option, value, limit):
    with pytest.raises(ValueError, match=rf"INPUT\.{option.upper()} is {value}; it is {limit}"):
        made(ColorJitter, **{option: value})


def test_a_crop_is_a_part_of_the_picture():
    """Of a ramp from left to right a part is a flatter ramp, whose values lie within."""
    ramp = torch.arange(0, 240, 15, dtype=torch.uint8).expand(100, 3, 32, 16).contiguous()
    out = made(ResizedCrop, crop_scale=(0.25, 0.25), crop_ratio=(0.5, 0.5))(ramp).int()
    spans = (out.amax((1, 2, 3)) - out.amin((1, 2, 3))).float()
    # A quarter of 32 x 16 with width/height 0.5 is 16 x 8: eight steps of 15 less one.
    assert ((spans - 7 * 15).abs() <= 15).all()
    starts = out[:, 0, 0, 0]
    assert starts.min() < 20 and starts.max() > 100
    whole = made(ResizedCrop, crop_scale=(1, 1), crop_ratio=(0.5, 0.5))
    assert torch.equal(whole(noise()), noise())


def test_a_crop_is_enlarged_as_pillow_does_it_bicubically():
    """Half of the area, as wide as the picture: it is somewhere from the top to the middle."""
    images = noise(6)
    out = made(ResizedCrop, crop_scale=(0.5, 0.5), crop_ratio=(1.0, 1.0))(images)
    for picture, source in zip(out, images, strict=True):
        whole = Image.fromarray(source.movedim(0, -1).contiguous().numpy())
        parts = [whole.crop((0, top, 16, top + 16)) for top in range(17)]
        parts = [np.asarray(part.resize((16, 32), Image.Resampling.BICUBIC)) for part in parts]
        far = np.abs(np.stack(parts).astype(int) - picture.movedim(0, -1).numpy())
        assert far.max((1, 2, 3)).min() <= 1


def test_shares_and_ratios_that_cannot_be_are_refused():
    for option, pair in (("crop_scale", (0.5, 1.5)), ("crop_ratio", (2, 1)), ("crop_scale", (1,))):
        with pytest.raises(ValueError, match=rf"INPUT\.{option.upper()} is .*lowest, highest"):
            made(ResizedCrop, **{option: pair})


def test_an_affine_picture_is_turned_by_ten_degrees_at_most():
    """A white disc in the middle stays there; its radius changes by a tenth at most."""
    rows, columns = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = ((rows**2 + columns**2 < 20**2) * 255).byte().expand(50, 3, 64, 64).contiguous()
    areas = (made(Affine)(disc)[:, 0] > 0).sum((1, 2)) / (disc[0, 0] > 0).sum()
    assert 0.79 < areas.min() < 0.9 and 1.1 < areas.max() < 1.23  # 0.9 and 1.1 squared
    bar = torch.zeros(100, 3, 64, 64, dtype=torch.uint8)
    bar[:, :, :, 31:33] = 255
    tops = (made(Affine)(bar)[:, 0, 4].float() * torch.arange(64)).sum(1)
    tops = tops / made(Affine)(bar)[:, 0, 4].float().sum(1)
    moves = (tops - 31.5).abs()  # 27.5 rows above the middle: tan(10°) of that is 4.85
    assert 3 < moves.max() < 6


def test_what_autoaugment_brings_into_view_is_grey():
    """Turned or sheared pictures of one colour show another in their corners only."""
    images = torch.full((400, 3, 32, 16), 255, dtype=torch.uint8)
    images[:, :, 8:-8, 4:-4] = 0
    out = made(AutoAugment)(images)
    corners = out[:, 0, (0, 0, -1, -1), (0, -1, 0, -1)]
    assert (corners == 128).any()


def test_a_patch_is_a_piece_of_another_picture():
    """Pictures of one colour each: what hides part of one is one other colour, or black corners."""
    colours = torch.arange(1, 41, dtype=torch.uint8)
    images = colours.view(40, 1, 1, 1).expand(40, 3, 32, 16).contiguous()
    out = made(RandomPatch)(images)
    assert changed(out, images).sum() > 30
    for i, picture in enumerate(out):
        mask = (picture != images[i])[0]
        if not mask.any():
            continue
        assert len(set(picture[0][mask].tolist()) - {0}) == 1
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert height < 32 and width < 16 and height * width <= 0.55 * 32 * 16  # rounded to pixels


def lies_in(picture, piece):
    """Whether `piece` is a part of `picture`; where it could begin is seen by its first pixel."""
    tall, wide = piece.shape[1:]
    begins = (picture == piece[:, :1, :1]).all(0).nonzero().tolist()
    return any(torch.equal(picture[:, y : y + tall, x : x + wide], piece) for y, x in begins)


def test_a_piece_is_as_it_was_or_mirrored_or_turned():
    """Two pictures, so that each is hidden by the other; what is turned has pixels elsewhere."""
    images, kinds = noise(2, 64, 32), {"plain": 0, "mirrored": 0, "turned": 0}
    for seed in range(150):
        out = made(RandomPatch, seed=seed)(images)[0]
        mask = (out != images[0]).any(0)
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        if len(rows) < 14 or len(columns) < 14:  # of small pieces a small turn changes nothing
            continue
        piece = out[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        mirrored = lies_in(images[1], piece.flip(-1))
        kind = "mirrored" if mirrored else "plain" if lies_in(images[1], piece) else "turned"
        kinds[kind] += 1
    count = sum(kinds.values())
    assert count > 30 and all(0.2 < kind / count < 0.55 for kind in kinds.values())


def test_nothing_hides_a_picture_that_is_alone():
    generator = torch.Generator().manual_seed(0)
    before, image = generator.get_state(), noise(1)
    assert RandomPatch(generator, rpt_prob=1.0)(image) is image
    assert torch.equal(generator.get_state(), before)


def test_sizes_have_the_area_and_the_shape_asked_for():
    drawn = draw_sizes(torch.Generator().manual_seed(0), 500, (200, 100), (0.1, 0.2), (0.5, 2.0))
    (tall, wide), fits = drawn[0].double().unbind(1), drawn[1]
    assert fits.all() and (tall < 200).all() and (wide < 100).all()
    area, ratio = tall * wide / 20_000, tall / wide
    assert 0.098 < area.min() < 0.11 and 0.19 < area.max() < 0.202
    assert 0.48 < ratio.min() < 0.6 and 1.8 < ratio.max() < 2.05
    assert not draw_sizes(torch.Generator(), 9, (8, 8), (1.0, 1.0), (1.0, 1.0))[1].any()


def test_the_config_turns_them_on():
    pairs = [word for name in EACH.values() for word in (f"INPUT.{name.upper()}", "1.0")]
    cfg = load("", ["INPUT.SIZE_TRAIN", "[32, 16]", "INPUT.PADDING", "2", *pairs])
    transform = train_transform(cfg, torch.Generator().manual_seed(0))
    names = [type(step).__name__ for step in transform.steps]
    assert names == [
        *(make.__name__ for make in FIRST),
        "Augment",
        "RandomPatch",
        "Normalize",
        "LowResolution",
    ]
    assert [step.prob for step in transform.steps[:5]] == [1.0] * 5
    plain = train_transform(load("", ["INPUT.PADDING", "2"]), torch.Generator().manual_seed(0))
    assert not torch.equal(transform(noise()), plain(noise()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="takes a CUDA device")
@each
def test_on_cuda_the_same_is_drawn_and_its_generator_is_left_alone(make):
    state = torch.cuda.get_rng_state()
    out = made(make)(noise().cuda())
    assert out.is_cuda and torch.equal(torch.cuda.get_rng_state(), state)
    far = (out.cpu().int() - made(make)(noise()).int()).abs()
    assert (far > 3).float().mean() < 0.02  # rounding, and ties of nearest pixels
