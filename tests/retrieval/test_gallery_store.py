"""A gallery's directory under bad luck: full disks, torn files, two writers, killed ones."""

import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from test_gallery import ABOUT, drawn, people

from reidtools.retrieval import Gallery, store


@pytest.fixture
def folder(tmp_path):
    about = {**ABOUT, "config": 5000 * "#"}  # gallery.json is the largest file here
    Gallery.build(people(drawn(60)), about).save(tmp_path / "g")
    return tmp_path / "g"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("room", [100, 2000, 4500])  # bytes of the largest file that fits
def test_a_full_disk_leaves_the_old_gallery(folder, room):
    before, gallery = content(folder), Gallery.open(folder)
    gallery.add(people(drawn(8, seed=3), first=60), ABOUT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written .*make room or choose another"):
            gallery.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(folder) == before and len(Gallery.open(folder, verify=True)) == 60
    gallery.save()  # there is room again
    assert len(Gallery.open(folder, verify=True)) == 68


def test_the_second_of_two_writers_gets_an_error(folder):
    first, second = Gallery.open(folder), Gallery.open(folder)
    first.add(people(drawn(2), first=60), ABOUT)
    second.add(people(drawn(3), first=70), ABOUT)
    first.save()
    with pytest.raises(OSError, match=r"changed by another process .*generation 2, not 1.*again"):
        second.save()
    assert Gallery.open(folder).paths[60:] == ["g/0060.jpg", "g/0061.jpg"]
    first.remove(["g/0000.jpg"])
    first.save()  # it may go on
    assert len(Gallery.open(folder)) == 61


LOCK = """
import fcntl, sys, time
with open(sys.argv[1], "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_while_another_process_writes(folder):
    command = [sys.executable, "-c", LOCK, str(folder / "lock")]
    gallery, before = Gallery.open(folder), content(folder)
    with subprocess.Popen(command, stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(OSError, match=r"Another process is writing .*Wait until it is done"):
            gallery.save()
        assert content(folder) == before and len(Gallery.open(folder)) == 60
        other.communicate()
    gallery.save()


WRITER = """
import sys
import numpy as np
from reidtools.evaluation import Vectors
from reidtools.retrieval import Gallery
rows = np.random.default_rng(1).standard_normal((20000, 16), dtype=np.float32)
unknown = np.zeros(20000)
while True:
    gallery = Gallery.open(sys.argv[1])
    gallery.add(Vectors(rows, unknown.astype(int), unknown.astype(int),
                        [f"{gallery.generation}/{i}.jpg" for i in range(20000)]), gallery.about)
    gallery.save()
    print(len(gallery), flush=True)
    gallery.remove([path for path in gallery.paths if not path.startswith("g/")])
    gallery.save()
"""


def test_a_killed_writer_leaves_a_whole_gallery(folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=-1, env=environment) as writer:
        writer.stdout.readline()  # the first time through
        time.sleep(0.02)
        writer.kill()
    assert len(Gallery.open(folder, verify=True)) in (60, 20060)
    gallery = Gallery.open(folder)
    for name in ("vectors-99.faiss", "gallery.json"):  # of a killed one
        (folder / f"{name}.7.partial").write_bytes(b"half")
    gallery.save()
    assert len(list(folder.iterdir())) == 5


def test_a_reader_that_a_writer_overtakes_reads_again(folder, monkeypatch):
    manifest, calls = store._manifest, []

    def overtaken(home):
        found = manifest(home)
        if not calls:
            calls.append(1)
            Gallery.open(home).save()
        return found

    monkeypatch.setattr(store, "_manifest", overtaken)
    assert Gallery.open(folder).generation == 2


@pytest.mark.parametrize("step", ["check", "_read_index"])
def test_a_reader_that_is_overtaken_between_looking_and_opening(folder, monkeypatch, step):
    """The files that were just looked at are gone, or are a later gallery's."""
    own, calls = getattr(store, step), []

    def overtaken(*args):
        found = own(*args) if step == "check" else None
        if not calls:
            calls.append(1)
            monkeypatch.setattr(store, step, own)
            Gallery.open(folder).save()
        return own(*args) if found is None and step == "_read_index" else found

    monkeypatch.setattr(store, step, overtaken)
    assert Gallery.open(folder).generation == 2 and calls


def spoil(path, change):
    data = path.read_bytes()
    path.write_bytes(change(data))


@pytest.mark.parametrize("role", ["vectors-1.faiss", "paths-1.npy", "people-1.npy"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:30], "30 bytes instead of"),
        (lambda data: b"", "0 bytes instead of"),
        (lambda data: data + b"x", "bytes instead of"),
        (lambda data: bytes(len(data)), "checksum differs"),
        (lambda data: data[:9] + b"\xff" + data[10:], "checksum differs"),
    ],
)
def test_a_torn_file_is_a_sentence(folder, role, change, says):
    spoil(folder / role, change)
    with pytest.raises(ValueError, match=f"{role}.*{says}.*build the gallery again"):
        Gallery.open(folder)


def test_a_change_far_inside_is_found_when_asked_for(tmp_path):
    Gallery.build(people(drawn(3000)), ABOUT).save(tmp_path)
    spoil(tmp_path / "vectors-1.faiss", lambda data: data[:-9] + b"\xff" + data[-8:])
    Gallery.open(tmp_path)
    with pytest.raises(ValueError, match="checksum differs"):
        Gallery.open(tmp_path, verify=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "torn or describes no gallery"),
        ("{", "torn or describes no gallery"),
        ("[]", "torn or describes no gallery"),
        ('{"format": 1, "generation": 1}', "torn or describes no gallery"),
        ('{"format": 9}', "later version of reidtools; update"),
    ],
)
def test_a_torn_manifest(folder, text, says):
    (folder / "gallery.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        Gallery.open(folder)
    other = Gallery.build(people(drawn(5)), ABOUT)
    with pytest.raises(ValueError, match="holds a gallery already"):
        other.save(folder)
    other.save(folder, replace=True)
    assert len(Gallery.open(folder)) == 5 and Gallery.open(folder).generation == 2


@pytest.mark.parametrize("key", ["options", "recall", "about", "names", "kind"])
def test_a_manifest_that_lacks_something(folder, key):
    manifest = json.loads((folder / "gallery.json").read_text())
    del manifest[key]
    (folder / "gallery.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="torn or describes no gallery; restore"):
        Gallery.open(folder)


def test_files_of_two_galleries(folder, tmp_path):
    Gallery.build(people(drawn(5)), ABOUT).save(tmp_path / "other")
    manifest = json.loads((folder / "gallery.json").read_text())
    other = json.loads((tmp_path / "other/gallery.json").read_text())
    manifest["files"]["paths"] = other["files"]["paths"]
    (folder / "paths-1.npy").write_bytes((tmp_path / "other/paths-1.npy").read_bytes())
    (folder / "gallery.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"do not fit together: vectors \(60, 16\).*\(5,\)"):
        Gallery.open(folder)


def test_missing_ones(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no gallery in .*gallery\.json\); build one"):
        Gallery.open(tmp_path / "nothing")
    (folder / "people-1.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"people-1\.npy is missing; restore"):
        Gallery.open(folder)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="cannot be made"):
        Gallery.build(people(drawn(2)), ABOUT).save(tmp_path / "file/g")


def test_another_gallery_is_not_replaced_by_accident(folder):
    other = Gallery.build(people(drawn(5)), ABOUT)
    with pytest.raises(ValueError, match="holds a gallery already; choose another folder"):
        other.save(folder)
    assert len(Gallery.open(folder)) == 60


def test_an_open_gallery_outlives_its_files(folder):
    reader, writer = Gallery.open(folder), Gallery.open(folder)
    writer.remove(writer.paths[:50])
    writer.save()
    assert reader.search(drawn(60), 1).indices[:, 0].tolist() == list(range(60))
    assert np.array_equal(reader.pids, people(drawn(60)).pids) and reader.path(3) == "g/0003.jpg"
