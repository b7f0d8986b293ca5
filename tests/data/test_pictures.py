from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reidtools.data.frames import FrameChoice, one_by_one
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


@pytest.fixture
def tracklets(samples):
    """Two tracklets, of the first three pictures and of the other two."""
    paths = [sample.paths[0] for sample in samples]
    return [Sample(tuple(paths[:3]), 7, 0), Sample(tuple(paths[3:]), 8, 1)]


def test_a_batch_of_tracklets_shows_as_many_frames_of_each(tracklets):
    choice = FrameChoice(0, frames=3)
    batch = Pictures(tracklets, (32, 16), {7: 0, 8: 1}, choice=choice)[[1, 0]]
    assert batch["images"].shape == (2, 3, 3, 32, 16)
    frames = batch["images"].flatten(0, 1)
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert frames[:, 0, 0, 0].tolist() == [120, 160, 160, 0, 40, 80]  # the last one repeated
    assert batch["pids"].tolist() == [1, 0]
    assert batch["paths"] == [tracklets[1].paths[0], tracklets[0].paths[0]]


def test_no_frame_is_decoded_that_is_not_used_and_none_twice(tracklets, monkeypatch):
    read = []
    monkeypatch.setattr(
        "reidtools.data.pictures.read_picture",
        lambda path, out, resize: (read.append(path), out.fill(0)),
    )
    Pictures(tracklets, (32, 16), choice=FrameChoice(0, frames=2))[[0]]
    assert len(read) == 2 and set(read) < set(tracklets[0].paths)
    read.clear()
    Pictures(tracklets, (32, 16), choice=FrameChoice(0, frames=9))[[1]]
    assert read == list(tracklets[1].paths)
    read.clear()
    kept = Pictures(tracklets, (32, 16), choice=FrameChoice(0, frames=3), cache="ram")
    kept[[0, 1]], kept[[1, 0]]
    assert sorted(read) == sorted(path for sample in tracklets for path in sample.paths)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_frames_do_not_depend_on_who_reads_them(tracklets, workers):
    class Again(list):
        def set_epoch(self, epoch):
            pass

    def run(count, epoch):
        pictures = Pictures(tracklets, (32, 16), choice=FrameChoice(5, frames=2))
        batches = Batches(pictures, Again([[0, 1], [1, 0], [0, 0]]), Tensor.float, workers=count)
        batches.set_epoch(epoch)
        return torch.stack([batch["images"] for batch in batches])

    assert torch.equal(run(workers, 3), run(0, 3))
    assert any(not torch.equal(run(workers, 3), run(workers, epoch)) for epoch in (4, 5, 6))


def test_each_tracklet_is_as_coarse_as_it_says(tracklets):
    coarse = [sample._replace(scale=scale) for sample, scale in zip(tracklets, (4, 1), strict=True)]
    pictures = Pictures(coarse, (32, 16), choice=FrameChoice(0, frames=2))
    noise = torch.rand(2, 2, 3, 32, 16)
    (batch,) = Batches(pictures, [[0, 1]], lambda images: noise, workers=0)
    assert torch.equal(batch["images"][1], noise[1])
    assert torch.equal(batch["images"][0], degrade_each(noise[0], [4, 4]))


def test_frames_as_pictures_tell_their_ends_and_what_is_readable(tracklets, tmp_path):
    (tmp_path / "1.png").write_bytes(b"broken")
    frames, ends = one_by_one(tracklets)
    batch = Pictures(frames, (32, 16), None, {}, ends=ends)[[0, 1, 2, 4]]
    assert batch["ends"].tolist() == [False, False, True, True]
    assert batch["readable"].tolist() == [True, False, True, True]
