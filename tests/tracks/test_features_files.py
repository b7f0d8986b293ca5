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
