"""embeddings.npy and paths.npy: back as they were, never one without the other, never unpickled."""

import pickle

import numpy as np
import pytest

from reidtools.engine import checkpoints
from reidtools.retrieval import read_embeddings, write_embeddings

VECTORS = np.array([[1, 2, 3], [4, 5, 6.5]], np.float32)
PATHS = ["g/0001_c1.jpg", "größer/not utf-8 \udcff.jpg"]
CURE = r"make both files again with tools/create_embeddings\.py\.$"


@pytest.fixture
def folder(tmp_path):
    write_embeddings(tmp_path, VECTORS, PATHS)
    return tmp_path


def test_they_come_back_as_they_were(tmp_path):
    files = write_embeddings(tmp_path / "new" / "out", VECTORS.astype(np.float64), PATHS)
    assert [file.name for file in files] == ["embeddings.npy", "paths.npy"]
    assert sorted(files[0].parent.iterdir()) == files
    vectors, paths = read_embeddings(str(files[0].parent))
    assert (vectors == VECTORS).all() and vectors.dtype == np.float32 and paths == PATHS


def test_numpy_alone_opens_them(folder):
    assert np.load(folder / "embeddings.npy").dtype == np.float32
    assert np.load(folder / "paths.npy").dtype.kind == "U"


def test_a_prefix_keeps_two_pairs_apart(folder):
    files = write_embeddings(folder, -VECTORS[:1], PATHS[:1], prefix="query_")
    assert [file.name for file in files] == ["query_embeddings.npy", "query_paths.npy"]
    assert len(read_embeddings(folder)[1]) == 2
    assert (read_embeddings(folder, "query_")[0] == -VECTORS[:1]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int32])
def test_other_kinds_of_numbers_are_taken(folder, dtype):
    np.save(folder / "embeddings.npy", VECTORS.astype(dtype))
    vectors, _ = read_embeddings(folder)
    assert vectors.dtype == np.float32 and (vectors == VECTORS.astype(dtype)).all()


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_both_old_files(folder, monkeypatch, failing):
    save, calls = np.save, []

    def fail(file, *args, **options):
        calls.append(file)
        if len(calls) == failing:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(file, *args, **options)

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_embeddings(folder, VECTORS[:1], PATHS[:1])
    vectors, paths = read_embeddings(folder)
    assert (vectors == VECTORS).all() and paths == PATHS
    assert len(list(folder.iterdir())) == 2


def test_both_are_complete_before_one_is_replaced(folder, monkeypatch):
    seen, replace = [], checkpoints.Path.replace

    def look(self, target):
        partial = {file.name.split(".")[0]: file for file in folder.glob("*.partial")}
        if not seen:
            assert np.load(partial["embeddings"]).shape == (1, 3)
            assert np.load(partial["paths"]).shape == (1,)
        seen.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(checkpoints.Path, "replace", look)
    write_embeddings(folder, VECTORS[:1], PATHS[:1])
    assert sorted(seen) == ["embeddings.npy", "paths.npy"]


@pytest.mark.parametrize("name", ["embeddings.npy", "paths.npy"])
def test_a_missing_file_is_told(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing; {CURE}"):
        read_embeddings(folder)


@pytest.mark.parametrize("name", ["embeddings.npy", "paths.npy"])
def test_what_cannot_be_opened_is_told(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(OSError, match=f"{name} cannot be read .*; {CURE}"):
        read_embeddings(folder)


@pytest.mark.parametrize("name", ["embeddings.npy", "paths.npy"])
def test_a_torn_file_never_passes_unnoticed(folder, name):
    data = (folder / name).read_bytes()
    for length in range(0, len(data), 7):
        (folder / name).write_bytes(data[:length])
        with pytest.raises(ValueError, match=f"{name} is torn or no array .*; {CURE}"):
            read_embeddings(folder)


class Trap:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("name", ["embeddings.npy", "paths.npy"])
def test_nothing_is_unpickled(folder, name):
    np.save(folder / name, np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=f"{name} is torn or no array .*allow_pickle.*; {CURE}"):
        read_embeddings(folder)
    (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=f"{name} is torn or no array .*; {CURE}"):
        read_embeddings(folder)
    with (folder / name).open("wb") as file:
        np.savez(file, VECTORS)
    with pytest.raises(ValueError, match=f"{name} is torn or no array .*; {CURE}"):
        read_embeddings(folder)


@pytest.mark.parametrize(
    ("vectors", "paths", "says"),
    [
        (VECTORS[0], PATHS, r"must be numbers \(pictures, dimensions\).* float32 \(3,\)"),
        (VECTORS[None], PATHS, r"float32 \(1, 2, 3\)"),
        (VECTORS[:0], PATHS[:0], r"float32 \(0, 3\)"),
        (VECTORS.astype(np.complex64), PATHS, "complex64"),
        (VECTORS, PATHS[:1], r"2 embeddings, and <U\d+ \(1,\) for as many paths"),
        (VECTORS, [PATHS], r"<U\d+ \(1, 2\)"),
        (VECTORS, [1, 2], r"int64 \(2,\)"),
        (VECTORS * [[1], [np.inf]], PATHS, r"1 of 2 rows \(first: größer/.*check the weights"),
        (VECTORS * np.float64(1e300), PATHS, "2 of 2 rows"),
    ],
)
def test_what_does_not_fit_is_told(folder, vectors, paths, says):
    np.save(folder / "embeddings.npy", vectors)
    np.save(folder / "paths.npy", np.array(paths))
    with pytest.raises(ValueError, match=rf"(?s){says}.*{CURE}"):
        read_embeddings(folder)


@pytest.mark.parametrize(
    ("vectors", "paths"),
    [(VECTORS, PATHS[:1]), (VECTORS * np.nan, PATHS), (VECTORS[:0], []), (VECTORS[0], PATHS)],
)
def test_nothing_wrong_is_written(tmp_path, vectors, paths):
    with pytest.raises(ValueError, match=r"These embeddings .*embed pictures first\.$"):
        write_embeddings(tmp_path / "out", vectors, paths)
    assert not (tmp_path / "out").exists()
