"""Down and up again: against torch's own two steps, and on paper."""

import pytest
import torch
from torch.nn.functional import interpolate

from reidtools.ops.degrade import degrade, degrade_each


def pictures(height=256, width=128, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, height, width, generator=generator, dtype=dtype)


def test_scale_one_is_the_very_same_tensor():
    images = pictures()
    assert degrade(images, 1) is images
    assert degrade(images, 1.0) is images


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_scale_that_divides_the_sides_is_torch_bicubic_twice(scale):
    images = pictures()
    down = interpolate(images, scale_factor=1 / scale, mode="bicubic", align_corners=False)
    up = interpolate(down, scale_factor=scale, mode="bicubic", align_corners=False)
    assert torch.equal(degrade(images, scale), up)


@pytest.mark.parametrize("scale", [1.5, 3, 5.1, 100, 128])
def test_any_scale_keeps_the_size(scale):
    assert degrade(pictures(), scale).shape == (2, 3, 256, 128)


def test_the_small_size_is_the_whole_part_and_exact():
    """98 x 49 by 49 is 2 x 1; ``98 * (1 / 49)`` would fall just short of 2."""
    images = pictures(98, 49)
    down = interpolate(images, size=(2, 1), mode="bicubic", align_corners=False)
    up = interpolate(down, size=(98, 49), mode="bicubic", align_corners=False)
    assert torch.equal(degrade(images, 49), up)


@pytest.mark.parametrize("scale", [2, 3, 5.1])
def test_nothing_moves_and_one_colour_stays_itself(scale):
    """A ramp that rises by 1 a pixel becomes wavy, but keeps its place, away from the borders."""
    ramp = torch.arange(128.0).expand(1, 3, 256, 128)
    change = (degrade(ramp, scale) - ramp)[..., 16:-16]
    assert change.mean().abs() < 1e-4 and change.abs().max() < 0.3
    flat = torch.full((1, 3, 10, 9), -2.0)
    torch.testing.assert_close(degrade(flat, scale), flat)


def test_detail_below_the_scale_is_gone():
    """Stripes one pixel wide: every coarse pixel lies in the middle of a dark and a bright one."""
    stripes = torch.tensor([0.0, 1.0]).repeat(64).expand(1, 1, 128, 128)
    inside = degrade(stripes, 2)[..., 8:-8]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5))


def test_memory_format_and_dtype_stay():
    images = pictures(dtype=torch.float64).to(memory_format=torch.channels_last)
    small = degrade(images, 2)
    assert small.is_contiguous(memory_format=torch.channels_last) and small.dtype == torch.float64
    assert degrade(pictures(), 2).is_contiguous()


def test_a_batch_may_be_empty_and_gradients_flow():
    assert degrade(torch.zeros(0, 3, 8, 4), 2).shape == (0, 3, 8, 4)
    images = pictures(8, 4).requires_grad_()
    degrade(images, 2).sum().backward()
    assert images.grad.sum().item() == pytest.approx(images.numel())


@pytest.mark.parametrize("scale", [0.5, 0, -2, 129, float("inf"), float("nan")])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match=r"256 x 128.*scale from 1 .* to 128"):
        degrade(pictures(), scale)


def test_each_picture_as_coarse_as_it_should_be():
    images = torch.cat([pictures(32, 16), pictures(32, 16).flip(-1)])
    images = images.to(memory_format=torch.channels_last)
    out = degrade_each(images, [2, 1, 4, 2])
    for own, image, scale in zip(out, images, [2, 1, 4, 2], strict=True):
        assert torch.allclose(own, degrade(image[None], scale)[0], atol=1e-6)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert degrade_each(images, [1.0] * 4) is images
    assert torch.equal(degrade_each(images, [4] * 4), degrade(images, 4))
