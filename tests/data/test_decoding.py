"""The GPU's way from JPEG files to batches, walked on the CPU, where torchvision decodes, too."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from reidtools.data import decoding
from reidtools.data.decoding import is_plain
from reidtools.data.frames import FrameChoice
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samples import Sample
from reidtools.ops.resize import Resize

ON = {"decoder": "cuda"}


def smooth(seed=0, height=128, width=64):
    """A picture without edges, in which no two ways to resize differ by much."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 4, 3), np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def jpeg(picture, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    return exif


@pytest.fixture
def samples(tmp_path):
    """JPEG files of two sizes, and others that nvJPEG and OpenCV would not show alike."""
    files = {
        "a.jpg": jpeg(smooth(0)),
        "b.jpg": jpeg(smooth(1, 300, 140)),
        "c.jpg": jpeg(smooth(2), progressive=True),
        "grey.jpg": jpeg(smooth(3).convert("L")),
        "cmyk.jpg": jpeg(smooth(4).convert("CMYK")),
        "turned.jpg": jpeg(smooth(5), exif=turned(3)),
        "upright.jpg": jpeg(smooth(6), exif=turned(1)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    smooth(7).save(tmp_path / "d.png")
    return [Sample((str(tmp_path / name),), i, 0) for i, name in enumerate([*files, "d.png"])]


@pytest.fixture
def given(monkeypatch):
    """How many files torchvision was given each time."""
    counts = []
    from torchvision import io as theirs

    real = theirs.decode_jpeg

    def decode(files, *rest):
        counts.append(len(files))
        return real(files, *rest)

    monkeypatch.setattr(theirs, "decode_jpeg", decode)
    return counts


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_pixels_are_those_of_opencv_but_for_a_few_grey_levels(samples, given, interpolation):
    resize = Resize(interpolation=interpolation)
    cpu = Pictures(samples, (256, 128), resize=resize)[range(8)]["images"]
    images = Pictures(samples, (256, 128), resize=resize, **ON)[range(8)]["images"]
    assert given == [4]  # a, b, c, upright
    assert images.dtype == torch.uint8 and images.shape == (8, 3, 256, 128)
    assert images.is_contiguous(memory_format=torch.channels_last)
    far = (images.int() - cpu.int()).abs().flatten(1)
    assert far.max() <= 6 and far.float().mean() < 0.7
    assert far[[3, 4, 5, 7]].max() == 0  # grey, CMYK, turned, PNG: by OpenCV


def test_a_picture_of_the_size_asked_for_is_not_resized(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(smooth(0)))
    sample = Sample((str(tmp_path / "a.jpg"),), 0, 0)
    shown = Pictures([sample], (128, 64), **ON)[[0]]["images"]
    from torchvision.io import decode_jpeg

    data = torch.frombuffer(bytearray(jpeg(smooth(0))), dtype=torch.uint8)
    assert torch.equal(shown[0], decode_jpeg(data))


def test_a_corrupt_picture_is_named_and_the_others_are_right(samples, given, tmp_path):
    data = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(data[:200] + bytes(100) + data[300:400])
    assert is_plain((tmp_path / "c.jpg").read_bytes())
    whole = Pictures(samples, (64, 32), **ON)[[0, 1]]["images"]
    unreadable = {}
    batch = Pictures(samples, (64, 32), None, unreadable, **ON)[[0, 1, 2]]
    assert given == [2, 3, 1, 1, 1]  # all together; then each by itself, to find who it is
    assert torch.equal(batch["images"][:2], whole)
    assert list(unreadable) == [str(tmp_path / "c.jpg")]
    assert batch["readable"].tolist() == [True, True, False]
    (tmp_path / "b.jpg").unlink()
    for index, name in ((1, "b.jpg"), (2, "c.jpg")):
        with pytest.raises(OSError, match=f"{name}.*restore or remove"):
            Pictures(samples, (64, 32), **ON)[[0, index]]


def test_frames_are_decoded_once_and_arrays_are_taken(samples, given):
    paths = [sample.paths[0] for sample in samples]
    tracklets = [Sample(tuple(paths[:1]), 0, 0), Sample(tuple(paths[:3]), 1, 0)]
    choice = FrameChoice(0, frames=3)
    arrays = {paths[1]: np.full((4, 4, 3), 77, np.uint8)}
    (Path(paths[1])).unlink()
    images = Pictures(tracklets, (64, 32), arrays=arrays, choice=choice, **ON)[[0, 1]]["images"]
    assert images.shape == (2, 3, 3, 64, 32) and given == [2]
    assert torch.equal(images[0, 0], images[0, 2])  # the one frame that it has
    assert images[1, 1].unique().tolist() == [77]


def test_what_is_plain():
    assert is_plain(jpeg(smooth())) and is_plain(jpeg(smooth(), progressive=True))
    assert is_plain(jpeg(smooth(), exif=turned(1)))
    assert is_plain(jpeg(smooth(), icc_profile=bytes(70000), comment=b"of two segments"))
    for other in (
        jpeg(smooth(), exif=turned(6)),
        jpeg(smooth(), exif=b"Exif\0\0broken"),
        jpeg(smooth().convert("L")),
        jpeg(smooth().convert("CMYK")),
        jpeg(smooth(), keep_rgb=True),
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xda" + bytes(50),
        b"\xff\xd8\xff\xc0\0\2" + bytes(50),
        b"\x89PNG\r\n\x1a\n" + bytes(50),
    ):
        assert not is_plain(other)
    whole = jpeg(smooth())
    assert {is_plain(whole[:end]) for end in range(len(whole))} == {False, True}  # and no error


def test_without_a_gpu_it_is_a_sentence(samples):
    with pytest.raises(ValueError, match="needs an Nvidia GPU.*MODEL.DEVICE cuda"):
        Batches(Pictures(samples, (64, 32), **ON), in_order(8, 4), lambda x: x)
    with pytest.raises(LookupError, match="decoder 'cudaa'.*Did you mean 'cuda'"):
        Pictures(samples, (64, 32), decoder="cudaa")
    with pytest.raises(ValueError, match="DATALOADER.CACHE ram to off"):
        Pictures(samples, (64, 32), cache="ram", **ON)


def test_without_torchvision_s_decoder_it_is_a_sentence(samples, monkeypatch):
    monkeypatch.delattr("torchvision.io.decode_jpeg")
    with pytest.raises(ImportError, match="install the torchvision that belongs to your torch"):
        Pictures(samples, (64, 32), **ON)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_on_a_gpu(samples, workers):
    cpu = Pictures(samples, (256, 128))[range(8)]["images"]
    pictures = Pictures(samples, (256, 128), **ON)
    on = {"workers": workers, "device": "cuda"}
    for batch in Batches(pictures, [range(8)] * 3, lambda images: images, **on):
        assert batch["images"].is_cuda
        far = (batch["images"].cpu().int() - cpu.int()).abs()
        assert far.max() <= 10 and far.float().mean() < 1
