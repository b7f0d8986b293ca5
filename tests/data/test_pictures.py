from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reidtools.data.pictures import Batches, Pictures, in_order, read_picture
from reidtools.data.samples import Sample
from reidtools.ops.degrade import degrade_each


@pytest.fixture
def samples(tmp_path):
    """Five pictures in plain colours, (40 * i, 10, 200), stored without loss."""
    made = []
    for i in range(5):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (8, 16), (40 * i, 10, 200)).save(path)
        made.append(Sample((str(path),), 100 + i, i % 2))
    return made


def read(path, size):
    out = np.zeros((*size, 3), np.uint8)
    read_picture(path, out)
    return out.astype(int)


def test_a_batch_is_uint8_rgb_in_channels_last_memory(samples):
    batch = Pictures(samples, (32, 16))[[3, 0]]
    images = batch["images"]
    assert images.shape == (2, 3, 32, 16) and images.dtype == torch.uint8
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images[0, :, 0, 0].tolist() == [120, 10, 200]
    assert batch["pids"].tolist() == [103, 100] and batch["camids"].tolist() == [1, 0]
    assert batch["index"].tolist() == [3, 0]
    assert batch["paths"] == [samples[3].paths[0], samples[0].paths[0]]


def test_labels_replace_pids(samples):
    labels = {100 + i: i for i in range(5)}
    assert Pictures(samples, (32, 16), labels)[[4, 2]]["pids"].tolist() == [4, 2]


def test_enlarging_is_bilinear_as_in_pillow(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    theirs = np.asarray(picture.resize((64, 128), Image.BILINEAR), int)
    assert np.abs(read(tmp_path / "a.png", (128, 64)) - theirs).max() <= 1


def test_shrinking_averages(tmp_path):
    checks = np.indices((64, 32)).sum(0) % 2 * 255
    Image.fromarray(np.repeat(checks[..., None], 3, 2).astype(np.uint8)).save(tmp_path / "a.png")
    assert np.abs(read(tmp_path / "a.png", (32, 16)) - 128).max() <= 1


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("empty.jpg", "text.jpg", "missing.jpg"):
        with pytest.raises(OSError, match=f"{name}.*restore or remove"):
            read(tmp_path / name, (32, 16))


def test_the_ram_cache_reads_each_file_once(samples, tmp_path):
    pictures = Pictures(samples, (32, 16), cache="ram")
    first = pictures[[1, 2]]["images"]
    for sample in samples:
        (tmp_path / sample.paths[0]).unlink()
    assert torch.equal(pictures[[1, 2]]["images"], first)
    with pytest.raises(LookupError, match="Did you mean 'ram'"):
        Pictures(samples, (32, 16), cache="rams")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whatever_the_number_of_threads(samples, workers):
    order = in_order(5, 2)
    batches = Batches(Pictures(samples, (16, 8)), order, lambda x: x.float(), workers=workers)
    assert len(batches) == 3
    for _ in range(2):
        assert [batch["index"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]
    assert next(iter(batches))["images"].dtype == torch.float32


def test_an_error_while_reading_ahead_arrives_with_its_file(samples):
    broken = [*samples, Sample(("nowhere.jpg",), 1, 0)]
    batches = Batches(Pictures(broken, (16, 8)), in_order(6, 2), lambda x: x, workers=2)
    with pytest.raises(OSError, match="nowhere.jpg"):
        list(batches)


def test_coarse_samples_are_shown_coarse_and_sharp_again(samples):
    noise = np.random.default_rng(0).integers(0, 256, (16, 8, 3), np.uint8)
    Image.fromarray(noise).save(samples[1].paths[0])
    mixed = [sample._replace(scale=[1.0, 2.0, 4.0][i % 3]) for i, sample in enumerate(samples)]
    pictures = Pictures(mixed, (16, 8), cache="ram")

    def shown(pictures):
        (batch,) = Batches(pictures, in_order(5, 5), lambda images: images.float(), workers=0)
        return batch["images"]

    sharp = Pictures(samples, (16, 8))[range(5)]["images"].float()
    assert torch.equal(shown(pictures), degrade_each(sharp, [1, 2, 4, 1, 2]))
    assert not torch.equal(shown(pictures)[1], sharp[1])
    assert torch.equal(shown(pictures.at_full_resolution()), sharp)
    assert pictures[[1]]["scales"] == [2.0]  # the coarse ones stay as they are


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_pictures_can_be_collected(samples, workers):
    (bad, good), unreadable = (samples[1].paths[0], samples[0].paths[0]), {}
    Path(bad).write_bytes(b"no picture")
    pictures = Pictures(samples, (8, 4), None, unreadable)
    (batch,) = Batches(pictures, in_order(5, 5), lambda images: images.float(), workers=workers)
    assert list(unreadable) == [bad] and "not a readable picture" in unreadable[bad]
    assert batch["images"][1].sum() == 0 < batch["images"][2].sum()
    assert batch["paths"][:2] == [good, bad]
    with pytest.raises(OSError, match="not a readable picture"):
        Pictures(samples, (8, 4))[[1]]
