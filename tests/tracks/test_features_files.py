import json
import pickle

import numpy as np
import pytest

from reidtools.tracks import TrackFeatures, read_features, write_features, write_metadata

TRACKS = {
    7: TrackFeatures(np.float32([1, 2]), np.float32([[0, 2], [2, 2]]), [5, 9]),
    2: TrackFeatures(np.float32([3, 4]), np.float32([[3, 4]]), [1]),
}


def same(found):
    assert list(found) == [7, 2]
    for number, track in TRACKS.items():
        assert (found[number].features == track.features).all()
        assert (found[number].all_features == track.all_features).all()
        assert found[number].frame_indices == track.frame_indices


@pytest.mark.parametrize("ending", ["pkl", "npz"])
def test_what_is_written_is_read_again(tmp_path, ending):
    write_features(tmp_path / f"x.{ending}", TRACKS)
    same(read_features(tmp_path / f"x.{ending}"))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_pickle_has_the_documented_form(tmp_path):
    write_features(tmp_path / "x.pkl", TRACKS)
    with (tmp_path / "x.pkl").open("rb") as file:
        found = pickle.load(file)
    assert list(found[7]) == ["features", "all_features", "frame_indices"]
    assert found[7]["features"].dtype == found[7]["all_features"].dtype == np.float32
    assert found[7]["frame_indices"] == [5, 9] and type(found[7]["frame_indices"][0]) is int


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_others_are_read_whatever_their_protocol(tmp_path, protocol):
    rows = {np.int64(n): track._asdict() for n, track in TRACKS.items()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows, protocol))
    same(read_features(tmp_path / "x.pkl"))


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({1: Trap()}))
    with pytest.raises(ValueError, match=r"open, which is not loaded from a pickle"):
        read_features(tmp_path / "x.pkl")
    assert not (tmp_path / "made").exists()


def forged(*opcodes):
    return b"".join((b"\x80\x04", *opcodes, b"."))


def test_a_pickle_that_would_reach_into_memory_is_refused(tmp_path):
    """Arrays of objects made of bytes, through NumPy's constructors, would be pointers anywhere."""
    arrays = {
        "called": b"cnumpy\nndarray\n(K\x02\x85cnumpy\ndtype\n\x8c\x01O\x85RC@" + b"A" * 64 + b"tR",
        "objects": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
        b"(K\x01K\x02\x85cnumpy\ndtype\n\x8c\x02O8\x85R\x89C\x10" + b"A" * 16 + b"tb",
        "too large": b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
        b"(K\x01J\xff\xff\xff\x7f\x85cnumpy\ndtype\n\x8c\x02f4\x85R\x89C\x04AAAAtb",
    }
    for array in arrays.values():
        (tmp_path / "x.pkl").write_bytes(forged(b"}K\x01}\x8c\x0call_features", array, b"ss"))
        with pytest.raises(ValueError, match="holds no features of tracks"):
            read_features(tmp_path / "x.pkl")


@pytest.mark.parametrize("kind", [">f4", "<f8", "float16"])
def test_other_kinds_and_orders_of_numbers_are_read(tmp_path, kind):
    rows = {1: {"features": np.ones(3, kind), "frame_indices": [4, 5]}}
    rows[1]["all_features"] = np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], kind))
    for protocol in (0, 2, 4, 5):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows, protocol))
        found = read_features(tmp_path / "x.pkl")[1]
        assert found.all_features.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert found.all_features.dtype == np.float32


def test_ids_that_become_one_and_arrays_that_do_not_fit_are_refused(tmp_path):
    one = TRACKS[2]._asdict()
    for rows in ({"1": one, 1: one}, {1.5: one}):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
        with pytest.raises(ValueError, match="one id|no id"):
            read_features(tmp_path / "x.pkl")
    write_features(tmp_path / "x.npz", TRACKS)
    for name, value in (("counts", [1, 1]), ("ids", [3, 3])):
        arrays = dict(np.load(tmp_path / "x.npz"))
        np.savez(tmp_path / "y.npz", **arrays | {name: np.array(value)})
        with pytest.raises(ValueError, match="different lengths|one id"):
            read_features(tmp_path / "y.npz")


def test_metadata_say_how_many_crops_there_are(tmp_path):
    write_metadata(tmp_path / "m.json", TRACKS)
    found = json.loads((tmp_path / "m.json").read_text())
    assert found["7"] == {"num_frames": 2, "frame_indices": [5, 9], "feature_dim": 2}
    assert '\n  "7": {\n    "num_frames"' in (tmp_path / "m.json").read_text()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, "no track"),
        ([1, 2], "it holds a list"),
        ({1: np.zeros(4)}, "holds no features of tracks"),
        ({1: {"features": np.zeros(4)}}, "all_features"),
        (
            {
                1: {
                    "features": np.zeros(3),
                    "all_features": np.zeros((2, 4)),
                    "frame_indices": [1, 2],
                }
            },
            "features",
        ),
        (
            {1: {"features": np.zeros(4), "all_features": np.zeros((2, 4)), "frame_indices": [1]}},
            "1 frame_indices",
        ),
        (
            {
                n: {"features": np.zeros(n), "all_features": np.zeros((1, n)), "frame_indices": [1]}
                for n in (2, 3)
            },
            "with one model",
        ),
        (
            {
                1: {
                    "features": np.zeros(2),
                    "all_features": np.full((1, 2), np.nan),
                    "frame_indices": [1],
                }
            },
            "no numbers",
        ),
    ],
)
def test_other_content_is_refused(tmp_path, rows, words):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(ValueError, match=words):
        read_features(tmp_path / "x.pkl")


def test_torn_and_missing_files_and_other_endings(tmp_path):
    write_features(tmp_path / "x.pkl", TRACKS)
    write_features(tmp_path / "x.npz", TRACKS)
    for name in ("x.pkl", "x.npz"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match="make it with tools/extract_tracks.py"):
            read_features(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="extract_tracks.py"):
        read_features(tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="must end in .pkl or .npz"):
        write_features(tmp_path / "x.json", TRACKS)
