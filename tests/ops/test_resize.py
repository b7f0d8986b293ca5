"""Pictures get their size as Pillow gives it, or by areas."""

import cv2
import numpy as np
import pytest
from PIL import Image

from reidtools.ops.resize import Resize

SIZES = [(128, 64), (32, 16), (128, 20), (20, 64), (64, 32), (7, 5)]


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)


def resized(picture, size, **options):
    out = np.zeros((*size, 3), np.uint8)
    Resize(**options)(picture, out)
    return out


@pytest.mark.parametrize("way", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
def test_bilinear_and_bicubic_are_pillow_s_bit_for_bit(picture, size, way):
    """Enlarging, shrinking and one of each."""
    theirs = Image.fromarray(picture).resize(size[::-1], Image.Resampling[way.upper()])
    assert np.array_equal(resized(picture, size, interpolation=way), np.asarray(theirs))


@pytest.mark.parametrize("size", SIZES)
def test_the_default_is_areas_to_shrink_and_bilinear_to_enlarge(picture, size):
    way = cv2.INTER_LINEAR if size == (128, 64) or size == (64, 32) else cv2.INTER_AREA
    theirs = cv2.resize(picture, size[::-1], interpolation=way)
    assert np.array_equal(resized(picture, size), theirs)
    assert np.array_equal(resized(picture, size, interpolation="area"), theirs)


def test_half_the_size_by_areas_is_the_mean_of_four():
    picture = np.array([[0, 100], [40, 60]], np.uint8)[..., None].repeat(3, 2)
    assert resized(picture, (1, 1)).tolist() == [[[50, 50, 50]]]


@pytest.mark.parametrize("way", ["area", "bilinear", "bicubic"])
def test_a_view_backwards_is_resized_as_its_copy(picture, way):
    """Frames are BGR: their colours are turned round without a copy."""
    turned = picture[:, :, ::-1]
    own = resized(turned, (20, 64), interpolation=way)
    assert np.array_equal(own, resized(turned.copy(), (20, 64), interpolation=way))
    assert np.array_equal(own, resized(picture, (20, 64), interpolation=way)[:, :, ::-1])


def test_the_three_ways_differ(picture):
    ways = [resized(picture, (20, 10), interpolation=w) for w in ("area", "bilinear", "bicubic")]
    assert len({way.tobytes() for way in ways}) == 3


@pytest.mark.parametrize("way", ["area", "bicubic"])
def test_what_is_no_picture_is_refused(picture, way):
    for wrong in (picture / 255, picture[..., 0], picture[..., :2], picture[:0]):
        with pytest.raises(ValueError, match=r"uint8 \(height, width, 3\).*astype"):
            resized(wrong, (8, 8), interpolation=way)


def test_an_unknown_word_is_refused():
    with pytest.raises(LookupError, match=r"INPUT\.INTERPOLATION 'bicubc'.*Did you mean 'bicubic'"):
        Resize(interpolation="bicubc")
