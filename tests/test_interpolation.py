"""INPUT.INTERPOLATION counts on every way that a picture takes to a network."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import reidtools as rt
from reidtools import build
from reidtools.config.load import load
from reidtools.data.samples import Sample
from reidtools.modeling import Embedder
from reidtools.registry import HEADS
from reidtools.tracks.crops import Crops
from reidtools.tracks.mot import TrackBoxes
from reidtools.tracks.video import open_frames

SIZE = (32, 16)
WAYS = ["bilinear", "bicubic"]


@pytest.fixture
def files(tmp_path):
    """Four people, larger than the network takes: two PNGs and two JPEGs."""
    rng, made = np.random.default_rng(0), []
    for i in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 6, 3), dtype=np.uint8))
        picture = coarse.resize((45, 97), Image.Resampling.BICUBIC)
        path = tmp_path / f"{i}.{'jpg' if i % 2 else 'png'}"
        picture.save(path)
        made.append(str(path))
    return made


def settings(way):
    words = ["INPUT.SIZE_TRAIN", str(list(SIZE)), "INPUT.INTERPOLATION", way]
    words += ["INPUT.FLIP_PROB", "0", "INPUT.PADDING", "0", "INPUT.REA_PROB", "0"]
    words += ["INPUT.PIXEL_MEAN", "[0, 0, 0]", "INPUT.PIXEL_STD", "[1, 1, 1]"]
    words += ["DATALOADER.NUM_WORKERS", "0", "DATALOADER.SAMPLER.NUM_INSTANCE", "1"]
    words += ["MODEL.BACKBONE.NAME", "osnet_x0_25", "MODEL.BACKBONE.PRETRAIN", "False"]
    return load("", [*words, "SOLVER.IMS_PER_BATCH", "4", "MODEL.DEVICE", "cpu"])


def by_pillow(picture, way):
    """What the others feed their networks: float32 (3, H, W), 0 to 1."""
    resized = picture.convert("RGB").resize(SIZE[::-1], Image.Resampling[way.upper()])
    return torch.from_numpy(np.asarray(resized).astype(np.float32) / 255).movedim(-1, 0)


def check(batches, files, way):
    count = 0
    for batch in batches:
        for path, image in zip(batch["paths"], batch["images"], strict=True):
            assert torch.allclose(image, by_pillow(Image.open(path), way), atol=1e-6), path
            count += 1
    assert count == len(files)


@pytest.mark.parametrize("way", WAYS)
def test_in_training_in_tests_and_for_losses(files, way):
    cfg, on = settings(way), torch.device("cpu")
    samples = [Sample((path,), pid, 0) for pid, path in enumerate(files)]
    check(build.train_batches(cfg, samples, torch.Generator(), on), files, way)
    check(build.test_batches(cfg, samples, on), files, way)
    check(build.plain_batches(cfg, samples, on), files, way)


@pytest.mark.parametrize("way", WAYS)
def test_of_tracklets(files, way):
    """Frames of a tracklet, two of two."""
    cfg, on = settings(way), torch.device("cpu")
    samples = [Sample(tuple(files[:2]), 0, 0), Sample(tuple(files[2:]), 1, 0)]
    check(build.test_batches(cfg, samples, on), files, way)
    (batch,) = build.plain_batches(cfg, samples, on)
    shown = batch["images"].reshape(2, -1, 3, *SIZE)
    assert torch.allclose(shown[1, 0], by_pillow(Image.open(files[2]), way), atol=1e-6)


class Pixels(nn.Module):
    """A network whose vectors are the pixels it sees."""

    dim, pooled = 3 * SIZE[0] * SIZE[1], True

    def forward(self, images):
        return images.flatten(1)


def pixel_model(way):
    head = HEADS.build("Linear", {"dim": Pixels.dim, "pooled": True}, {})
    model = Embedder(Pixels(), head, None, build.preparation(settings(way))).eval()
    model.config = settings(way)
    return model


@pytest.mark.parametrize("way", WAYS)
def test_of_files_and_arrays_that_are_embedded(files, way):
    pictures = [Image.open(path).convert("RGB") for path in files]
    theirs = torch.stack([by_pillow(picture, way) for picture in pictures]).flatten(1)
    for given in (files, [np.asarray(picture) for picture in pictures]):
        assert torch.allclose(rt.embed(pixel_model(way), given).vectors, theirs, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_of_people_in_frames(files, way, tmp_path):
    """A tracker's call, and the crops of a video."""
    person, frame = (
        np.asarray(Image.open(files[0]).convert("RGB")),
        np.zeros((120, 60, 3), np.uint8),
    )
    frame[10:107, 5:50] = person[:, :, ::-1]  # as OpenCV has it
    expected, model = by_pillow(Image.fromarray(person), way), pixel_model(way)
    found = model.extract_features(np.array([[5, 10, 50, 107]]), frame)
    assert np.allclose(found, expected.flatten(), atol=1e-6)

    (tmp_path / "film").mkdir()
    cv2.imwrite(str(tmp_path / "film/000001.png"), frame)
    one = np.array([1])
    boxes = TrackBoxes(one, one, np.array([[5.0, 10.0, 50.0, 107.0]]), one)
    (batch,) = Crops(open_frames(tmp_path / "film"), boxes, model.preparation, 8)
    assert torch.allclose(batch["images"][0], expected, atol=1e-6)


def test_an_unknown_word_is_told_before_anything_is_read(files):
    cfg = settings("bicubc")
    samples = [Sample((path,), pid, 0) for pid, path in enumerate(files)]
    for make in (
        lambda: build.embedder(cfg),
        lambda: build.train_batches(cfg, samples, torch.Generator(), torch.device("cpu")),
    ):
        with pytest.raises(LookupError, match="Did you mean 'bicubic'"):
            make()
