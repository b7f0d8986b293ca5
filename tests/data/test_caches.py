"""Pictures kept on disk are those that were decoded, or are decoded again."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reidtools.data import caches
from reidtools.data import pictures as module
from reidtools.data.frames import FrameChoice
from reidtools.data.pictures import Pictures
from reidtools.data.samples import Sample
from reidtools.ops.resize import Resize

SIZE = (16, 8)


@pytest.fixture
def samples(tmp_path):
    """Six pictures of noise."""
    rng, made = np.random.default_rng(0), []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (20, 10, 3), np.uint8)).save(path)
        made.append(Sample((str(path),), i, 0))
    return made


@pytest.fixture
def decoded(monkeypatch):
    """The names of files that have been decoded."""
    names, real = [], module.read_picture

    def read(path, out, resize):
        names.append(Path(path).stem)
        real(path, out, resize)

    monkeypatch.setattr(module, "read_picture", read)
    return names


@pytest.fixture
def on_disk(tmp_path):
    """Opens the disk cache of samples, as a new run does."""

    def opened(samples, size=SIZE, **more):
        folder = str(tmp_path / "cache")
        return Pictures(samples, size, cache="disk", cache_dir=folder, **more)

    return opened


def plain(samples):
    return Pictures(samples, SIZE)[range(len(samples))]["images"]


def cache_files(tmp_path):
    return sorted((tmp_path / "cache").iterdir())


def test_a_later_run_decodes_nothing(samples, on_disk, decoded):
    expected = plain(samples)
    decoded.clear()
    first = on_disk(samples)
    assert torch.equal(first[range(6)]["images"], expected)
    assert decoded == list("012345")
    assert torch.equal(first[[3, 1]]["images"], expected[[3, 1]])
    again = on_disk(samples[::-1])  # the same set in another order
    assert torch.equal(again[range(6)]["images"], expected.flip(0))
    assert decoded == list("012345")


def test_it_fills_as_pictures_are_asked_for(samples, on_disk, decoded):
    on_disk(samples)[[4, 2]]
    on_disk(samples)[range(6)]
    assert decoded == list("42") + list("0135")


def test_frames_of_tracklets_are_pictures_like_others(samples, on_disk, decoded):
    paths = [sample.paths[0] for sample in samples]
    tracklets = [Sample(tuple(paths[:4]), 0, 0), Sample(tuple(paths[4:]), 1, 0)]
    first = on_disk(tracklets, choice=FrameChoice(0, frames=4))[[0, 1]]["images"]
    assert sorted(decoded) == list("012345")
    again = on_disk(tracklets, choice=FrameChoice(0, frames=4))[[0, 1]]["images"]
    assert torch.equal(first, again) and len(decoded) == 6
    on_disk(samples)[range(6)]  # the same files one by one are the same set
    assert len(decoded) == 6


def test_a_changed_picture_is_seen_by_the_next_run(samples, on_disk, decoded):
    before = on_disk(samples)[range(6)]["images"]
    Image.new("RGB", (10, 20), (200, 0, 0)).save(samples[2].paths[0])
    decoded.clear()
    after = on_disk(samples)[range(6)]["images"]
    assert decoded == ["2"] and after[2, 0].unique().tolist() == [200]
    others = [0, 1, 3, 4, 5]
    assert torch.equal(after[others], before[others])


def test_a_touched_or_missing_file_is_not_taken_from_the_cache(samples, on_disk, decoded):
    on_disk(samples)[range(6)]
    decoded.clear()
    os.utime(samples[0].paths[0], ns=(1, 1))
    Path(samples[1].paths[0]).unlink()
    pictures = on_disk(samples)
    pictures[[0]]
    assert decoded == ["0"]
    with pytest.raises(OSError, match="1.png.*restore or remove"):
        pictures[[1]]


def test_size_and_way_have_caches_of_their_own(samples, on_disk, decoded, tmp_path):
    on_disk(samples)[range(6)]
    on_disk(samples, (32, 8))[range(6)]
    bicubic = Resize(interpolation="bicubic")
    shown = on_disk(samples, resize=bicubic)[range(6)]["images"]
    assert len(decoded) == 18
    assert torch.equal(shown, Pictures(samples, SIZE, resize=bicubic)[range(6)]["images"])
    names = [file.name.rpartition("-")[0] for file in cache_files(tmp_path)]
    assert names == ["16x8-area", "16x8-bicubic", "32x8-area"]


def test_what_another_opencv_decoded_is_decoded_again(
    samples, on_disk, decoded, monkeypatch, tmp_path
):
    on_disk(samples)[range(6)]
    monkeypatch.setattr("cv2.__version__", "0.0")
    on_disk(samples)[range(6)]
    assert len(decoded) == 12 and len(cache_files(tmp_path)) == 1


def test_a_half_written_picture_is_never_shown(samples, on_disk, decoded, tmp_path):
    """After a power cut any part of the file may be as it was before: here, zero."""
    expected = plain(samples)
    on_disk(samples)[range(6)]
    (file,) = cache_files(tmp_path)
    whole = file.read_bytes()
    stride = len(whole) // 6
    assert stride == 3 * 16 * 8 + 20  # pixels; size, time and checksum
    rng, again = np.random.default_rng(0), 0
    for _ in range(200):
        begin, end = sorted(rng.integers(0, len(whole) + 1, 2))
        file.write_bytes(whole[:begin] + bytes(end - begin) + whole[end:])
        decoded.clear()
        assert torch.equal(on_disk(samples)[range(6)]["images"], expected)
        hurt = {str(i) for i in range(6) if i * stride < end and begin < (i + 1) * stride}
        assert set(decoded) <= hurt  # a single byte may have been zero before
        assert file.read_bytes() == whole  # mended
        again += len(decoded)
    assert again > 400


def test_a_short_file_is_filled_up(samples, on_disk, tmp_path):
    expected = plain(samples)
    pictures = on_disk(samples)
    pictures[range(6)]
    (file,) = cache_files(tmp_path)
    os.truncate(file, 500)  # while it is open
    assert torch.equal(pictures[range(6)]["images"], expected)
    assert torch.equal(on_disk(samples)[range(6)]["images"], expected)


def test_only_what_was_asked_for_takes_room(samples, tmp_path):
    wide = Pictures(samples, (256, 256), cache="disk", cache_dir=str(tmp_path / "cache"))
    wide[[5]]
    (file,) = cache_files(tmp_path)
    assert file.stat().st_size > 6 * 3 * 256 * 256
    assert 512 * file.stat().st_blocks < 2 * 3 * 256 * 256


FILLING = """
import sys
from reidtools.data.pictures import Pictures
from reidtools.data.samples import Sample
folder, *paths = sys.argv[1:]
samples = [Sample((path,), 0, 0) for path in paths]
print("ready", flush=True)
sys.stdin.readline()
for turn in range(int(1e9)):
    Pictures(samples, (256, 128), cache="disk", cache_dir=f"{folder}/{turn}")[range(len(samples))]
"""


def test_processes_share_a_cache_and_may_be_killed(samples, tmp_path):
    """Two fill the same caches at the same time until both are killed, wherever they are."""
    paths = [sample.paths[0] for sample in samples]
    command = [sys.executable, "-c", FILLING, str(tmp_path / "cache"), *paths]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    deadline = time.monotonic() + 60
    while not (tmp_path / "cache" / "9").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    expected = Pictures(samples, (256, 128))[range(6)]["images"]
    folders = list((tmp_path / "cache").iterdir())
    assert len(folders) >= 10
    for folder in folders:
        again = Pictures(samples, (256, 128), cache="disk", cache_dir=str(folder))
        assert torch.equal(again[range(6)]["images"], expected)


def test_a_disk_that_fills_up_is_told_once_and_pictures_are_right(samples, on_disk, caplog):
    """A limit on the size of files stands for the full disk: writes stop in a picture's middle."""
    expected, pictures = plain(samples), on_disk(samples)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, limits[1]))
    try:
        for _ in range(2):
            assert torch.equal(pictures[range(6)]["images"], expected)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "No more pictures" in warning and "DATALOADER.CACHE_DIR" in warning
    assert torch.equal(on_disk(samples)[range(6)]["images"], expected)


def test_too_little_room_is_told_before_training(samples, on_disk, monkeypatch, tmp_path):
    usage = caches.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda folder: usage._replace(free=999))
    with pytest.raises(OSError, match=r"DATALOADER.CACHE disk needs 0.0 GB for 6 .*make room"):
        on_disk(samples)
    assert not cache_files(tmp_path)
    on_disk(samples[:2])[range(2)]  # 808 bytes


def test_a_cache_that_is_there_needs_no_more_room(samples, on_disk, monkeypatch, tmp_path):
    on_disk(samples)[range(6)]
    usage = caches.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda folder: usage._replace(free=0))
    on_disk(samples)


def test_a_folder_that_cannot_be_is_a_sentence(samples, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be made .*choose another DATALOADER.CACHE_DIR"):
        Pictures(samples, SIZE, cache="disk", cache_dir=str(tmp_path / "file"))


def test_the_folder_is_that_of_the_user_s_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caches.cache_folder() == tmp_path / "reidtools" / "pictures"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert caches.cache_folder() == Path.home() / ".cache" / "reidtools" / "pictures"
    assert caches.cache_folder("~/here") == Path.home() / "here"


@pytest.mark.parametrize("cache", ["off", "disk"])
def test_a_corrupt_picture_is_named_every_time(samples, cache, tmp_path):
    Path(samples[3].paths[0]).write_bytes(b"no picture")
    pictures = Pictures(samples, SIZE, cache=cache, cache_dir=str(tmp_path / "cache"))
    for _ in range(2):
        with pytest.raises(OSError, match="3.png is not a readable picture; restore or remove it"):
            pictures[range(6)]


def test_folders_that_are_read_once_are_not_kept(samples, tmp_path):
    folder = tmp_path / "cache"
    Pictures(samples, SIZE, None, {}, cache="disk", cache_dir=str(folder))[range(6)]
    array = {samples[0].paths[0]: np.zeros((4, 4, 3), np.uint8)}
    Pictures(samples, SIZE, arrays=array, cache="disk", cache_dir=str(folder))[range(6)]
    assert not folder.exists()


def test_memory_that_is_not_there_is_told(samples, monkeypatch, caplog):
    monkeypatch.setattr(caches, "free_memory", lambda: 2 * 3 * 16 * 8 * 6 - 1)
    Pictures(samples, SIZE, cache="ram")
    assert not caplog.records
    Pictures(samples, (32, 8), cache="ram")
    (record,) = caplog.records
    assert "6 pictures of 32 x 8" in record.getMessage() and "disk" in record.getMessage()


def test_free_memory_is_some_of_it():
    free = caches.free_memory()
    if free is None:
        pytest.skip("this system does not tell")
    assert 1e6 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
