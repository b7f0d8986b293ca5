import pytest
import torch

from reidtools.data.flip_crop_erase import Drawn, at_once, one_by_one
from reidtools.data.transforms import Augment, LowResolution, Normalize, TrainTransform
from reidtools.ops.degrade import degrade


def augment(seed=0, **options):
    nothing = {"flip_prob": 0.0, "padding": 0, "rea_prob": 0.0}
    return Augment(torch.Generator().manual_seed(seed), **{**nothing, **options})


def noise(count=64, height=32, width=16):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(1, 256, (count, 3, height, width), generator=generator)
    return images.byte().to(memory_format=torch.channels_last)


def test_normalize_is_torchvision_s_formula():
    pixel = torch.tensor([255, 0, 128], dtype=torch.uint8).view(1, 3, 1, 1)
    out = Normalize(pixel_mean=(0.5, 0.25, 0.5), pixel_std=(0.5, 0.25, 2.0))(pixel).flatten()
    expected = torch.tensor([(1 - 0.5) / 0.5, (0 - 0.25) / 0.25, (128 / 255 - 0.5) / 2.0])
    assert torch.allclose(out, expected)


def test_without_options_nothing_happens():
    assert torch.equal(augment()(noise()), noise())


def test_flip_always_and_sometimes():
    images = noise()
    assert torch.equal(augment(flip_prob=1.0)(images), images.flip(-1))
    out = augment(flip_prob=0.5)(images)
    flipped = [torch.equal(a, b) for a, b in zip(out, images.flip(-1), strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(out, images, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 16 < sum(flipped) < 48


def test_pad_and_crop_is_a_shift_with_black_edges():
    images, pad = noise(), 3
    out = augment(padding=pad)(images)
    padded = torch.nn.functional.pad(images, (pad,) * 4)
    shifts = set()
    for picture, source in zip(out, padded, strict=True):
        found = [
            (y, x)
            for y in range(2 * pad + 1)
            for x in range(2 * pad + 1)
            if torch.equal(picture, source[:, y : y + 32, x : x + 16])
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 20 and (0, 0) <= min(shifts) and max(shifts) <= (6, 6)


def test_erasing_makes_one_rectangle_of_the_mean_colour():
    images = noise(200)
    out = augment(rea_prob=0.5)(images)
    changed = (out != images).any(1)  # (B, H, W)
    count = changed.any(2).any(1).sum().item()
    assert 70 < count < 130
    for mask, picture in zip(changed, out, strict=True):
        if not mask.any():
            continue
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        hole = picture[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (hole == torch.tensor([124, 116, 104]).view(3, 1, 1)).all()
        height, width = hole.shape[1:]
        assert 0.01 < height * width / (32 * 16) < 0.45  # 2 % to 40 %, rounded to pixels


def test_noise_fills_the_rectangle_and_nothing_else():
    """Rectangles are drawn before noise, so that they are those of the same seed in one colour."""
    images = noise(40)
    options = {"rea_prob": 1.0, "flip_prob": 0.5, "padding": 3}
    plain = augment(**options | {"rea_prob": 0.0})(images)
    one_colour, pixels = augment(**options)(images), augment(**options, rea_mode="pixel")(images)
    holes = (one_colour != plain).any(1)
    assert holes.flatten(1).any(1).all()
    outside = ~holes[:, None].expand_as(plain)
    assert torch.equal(pixels[outside], plain[outside])
    inside = (pixels != plain).any(1)
    assert (inside & holes).sum() > 0.95 * holes.sum()  # a few pixels are hit by chance
    assert pixels.dtype == torch.uint8


def test_noise_has_the_mean_and_the_deviation_of_each_colour():
    images = torch.zeros(400, 3, 32, 16, dtype=torch.uint8)
    means, spreads = (0.5, 0.4, 0.6), (0.1, 0.05, 0.15)
    told = {"fill": means, "spread": spreads, "rea_mode": "pixel"}
    made = augment(rea_prob=1.0, **told)(images)
    channels = made.movedim(1, 0).float() / 255
    for channel, mean, spread in zip(channels, means, spreads, strict=True):
        values = channel[channel > 0]  # pixels that were erased; at these means none is black
        assert len(values) > 10_000
        assert values.mean().item() == pytest.approx(mean, abs=0.005)
        assert values.std().item() == pytest.approx(spread, abs=0.005)


def test_noise_is_cut_to_what_pixels_can_be():
    wide = {"fill": (0.0, 0.5, 1.0), "spread": (1.0, 1.0, 1.0), "rea_mode": "pixel"}
    images = torch.full((100, 3, 32, 16), 128, dtype=torch.uint8)
    made = augment(rea_prob=1.0, **wide)(images)
    assert (made.min(), made.max()) == (0, 255)
    red = made[:, 0][(made != images).any(1)]
    assert 0.4 < (red == 0).float().mean() < 0.6  # half of a normal distribution lies below 0


def test_an_unknown_filling_is_refused():
    with pytest.raises(LookupError, match="Did you mean 'pixel'"):
        augment(rea_mode="pixels")


@pytest.mark.parametrize("mode", ["mean", "pixel"])
def test_chance_comes_from_the_generator_only(mode):
    options = {"flip_prob": 0.5, "padding": 4, "rea_prob": 0.5, "rea_mode": mode}
    torch.manual_seed(0)
    first = augment(7, **options)(noise())
    torch.manual_seed(1)
    assert torch.equal(augment(7, **options)(noise()), first)
    assert not torch.equal(augment(8, **options)(noise()), first)


def test_memory_layout_survives():
    transform = TrainTransform(augment(flip_prob=0.5, padding=2, rea_prob=0.5), Normalize())
    assert transform(noise()).is_contiguous(memory_format=torch.channels_last)


def test_some_pictures_become_coarse():
    images = torch.randn(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    low = LowResolution(torch.Generator().manual_seed(3), low_res_prob=0.5, low_res_scales=[2, 4])
    out = low(images)
    kinds = {scale: degrade(images, scale) for scale in (1, 2, 4)}
    close = {s: (out - kind).abs().amax((1, 2, 3)) < 1e-5 for s, kind in kinds.items()}
    counts = {scale: own.sum().item() for scale, own in close.items()}
    assert sum(counts.values()) == 400
    assert 160 < counts[1] < 240 and 70 < counts[2] < 130 and 70 < counts[4] < 130
    again = LowResolution(torch.Generator().manual_seed(3), low_res_prob=0.5, low_res_scales=[2, 4])
    assert torch.equal(again(images), out)


def test_low_resolution_is_off_by_default_and_draws_nothing():
    generator = torch.Generator().manual_seed(0)
    before, images = generator.get_state(), torch.randn(2, 3, 8, 8)
    assert LowResolution(generator)(images) is images
    assert torch.equal(generator.get_state(), before)
    for wrong in ({"low_res_prob": 1.5}, {"low_res_scales": []}, {"low_res_scales": [0.5]}):
        with pytest.raises(ValueError, match=r"INPUT\.LOW_RES"):
            LowResolution(generator, **wrong)


def tracklets(count=16, frames=3):
    """The same picture in every frame, so that frames treated alike stay alike."""
    return noise(count)[:, None].expand(-1, frames, -1, -1, -1).contiguous()


@pytest.mark.parametrize("mode", ["mean", "pixel"])
def test_all_frames_of_a_tracklet_are_treated_alike(mode):
    options = {"flip_prob": 0.5, "padding": 4, "rea_prob": 0.5, "rea_mode": mode}
    out = augment(**options)(tracklets())
    assert out.shape == (16, 3, 3, 32, 16) and not torch.equal(out, tracklets())
    assert all(torch.equal(out[:, 0], out[:, t]) for t in (1, 2))
    assert torch.equal(out[:, 0], augment(**options)(noise(16)))  # and as a picture would be


def test_frames_can_be_erased_one_by_one():
    options = {"flip_prob": 0.5, "padding": 4, "rea_prob": 0.5}
    out = augment(**options, rea_per_frame=True)(tracklets())
    plain = augment(flip_prob=0.5, padding=4)(tracklets())
    erased = (out != plain).flatten(2).any(2)  # (16, 3)
    assert 12 < erased.sum() < 36
    assert (erased.any(1) & ~erased.all(1)).sum() > 3  # some frames of a tracklet, not all
    images = noise(8)
    assert torch.equal(
        augment(**options, rea_per_frame=True)(images), augment(**options)(images)
    )  # pictures are no tracklets


def test_a_pixel_is_mirrored_moved_and_erased():
    """One row of pixels 1 2 3 4: mirrored 4 3 2 1, moved right by 1: 0 4 3 2, one erased with 9."""
    row = torch.tensor([1, 2, 3, 4], dtype=torch.uint8).expand(1, 3, 1, 4)
    hole, nine = torch.tensor([[0, 2, 1, 1]]), torch.full((1, 3), 9, dtype=torch.uint8)
    drawn = Drawn(torch.tensor([True]), torch.tensor([[0, 1]]), hole, nine)
    for way in (one_by_one, at_once):
        assert way(row, drawn)[0].tolist() == [[[0, 4, 9, 2]]] * 3


@pytest.mark.parametrize("shape", [(16, 3, 32, 16), (6, 4, 3, 32, 16), (1, 3, 5, 7)])
@pytest.mark.parametrize("mode", ["mean", "pixel"])
@pytest.mark.parametrize("per_frame", [False, True])
def test_all_pictures_at_once_are_what_they_are_one_by_one(shape, mode, per_frame):
    """A GPU takes the first way: it has been told all that happens before it begins."""
    steps = augment(flip_prob=0.5, padding=4, rea_prob=0.5, rea_mode=mode, rea_per_frame=per_frame)
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2)).byte()
    for _ in range(3):
        drawn = steps.draw(shape)
        made, right = at_once(images, drawn), one_by_one(images, drawn)
        assert torch.equal(made, right) and made.stride() == right.stride()


def test_without_a_hole_there_is_no_noise():
    for way in (one_by_one, at_once):
        drawn = augment(rea_mode="pixel").draw(noise().shape)
        assert drawn.colours.shape == (0, 3) and torch.equal(way(noise(), drawn), noise())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", ["mean", "pixel"])
def test_a_gpu_makes_the_same_of_a_batch_and_nobody_waits_for_it(mode):
    options = {"flip_prob": 0.5, "padding": 4, "rea_prob": 0.5, "rea_mode": mode}
    low = LowResolution(torch.Generator().manual_seed(0), low_res_prob=0.5)
    there, here = augment(**options), augment(**options)
    normalize, images = Normalize(), noise().cuda()
    for turn in range(3):
        # The first turn makes room in pinned memory.
        torch.cuda.set_sync_debug_mode("error" if turn else "default")
        try:
            made = there(images)
            low(normalize(made))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(made.cpu(), here(noise()))


def test_normalize_takes_pictures_of_several_widths():
    normalize, images = Normalize(), noise(2)
    for _ in range(2):
        for width in (16, 8):
            whole = normalize(images)[..., :width]
            assert torch.equal(normalize(images[..., :width]), whole)


def test_tracklets_are_normalised_and_made_coarse_like_pictures():
    normalize = Normalize()
    out = normalize(tracklets())
    assert torch.equal(out[:, 1], normalize(noise(16)))
    assert out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    coarse = LowResolution(torch.Generator().manual_seed(0), low_res_prob=0.5)(out)
    changed = (coarse != out).flatten(2).any(2)
    assert 0 < changed[:, 0].sum() < 16 and torch.equal(changed[:, 0], changed[:, 2])
