"""Features of tracks in files: the documented pickle, read without running it, and an ``.npz``."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from reidtools.files import write_json, write_whole
from reidtools.tracks import safe_pickle


class TrackFeatures(NamedTuple):
    """What is known of one track: its own vector, and those of the crops that it is the mean of.

    `features` float32 (D,), `all_features` float32 (n, D), `frame_indices` (n,): the frame of each
    crop, counted from 1 as in the file of tracks.
    """

    features: np.ndarray
    all_features: np.ndarray
    frame_indices: list[int]


Tracks = dict[int, TrackFeatures]


def features_of(crops: np.ndarray, frames: list[int], *, unit: bool) -> TrackFeatures:
    """A track of the `crops` (n, D) in `frames`: their mean; with `unit` all have length 1."""
    if unit:
        crops = _of_length_1(crops)
    mean = crops.mean(0)
    return TrackFeatures(_of_length_1(mean) if unit else mean, crops, frames)


def _of_length_1(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def write_features(path: str | Path, tracks: Mapping[int, TrackFeatures]) -> None:
    """Write `tracks` whole or not at all; the ending of `path` is ``.pkl`` or ``.npz``.

    A pickle is ``{track id: {"features", "all_features", "frame_indices"}}``. An archive, which
    `numpy.load` opens without pickle, has the arrays `ids` (T,), `features` (T, D), `counts` (T,)
    and, one track after the other, `all_features` (N, D) and `frame_indices` (N,).
    """
    path = Path(path)
    writers = {".pkl": _write_pickle, ".npz": _write_archive}
    if path.suffix not in writers:
        raise ValueError(f"{path} must end in {' or '.join(writers)}; change its name.")
    write_whole(path, lambda file: writers[path.suffix](file, tracks))


def write_metadata(path: Path, tracks: Mapping[int, TrackFeatures]) -> None:
    """Write what there is of each track as JSON: num_frames, frame_indices, feature_dim."""
    rows = {
        str(number): {
            "num_frames": len(track.frame_indices),
            "frame_indices": list(track.frame_indices),
            "feature_dim": len(track.features),
        }
        for number, track in tracks.items()
    }
    write_json(path, rows)


def read_features(path: str | Path) -> Tracks:
    """The tracks in a ``.pkl`` or ``.npz`` file, by id.

    A pickle is read without running what may stand in it: only arrays, numbers, text and containers
    are accepted. Raises FileNotFoundError, and ValueError for a file that holds something else, no
    track, or vectors of different lengths or that are no numbers.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path.absolute()}; name what tools/extract_tracks.py wrote."
        )
    try:
        with path.open("rb") as file:
            found = _read_archive(file) if path.suffix == ".npz" else _read_pickle(file)
        tracks = {_id(number): _track(entry) for number, entry in found.items()}
        if len(tracks) < len(found):
            raise ValueError("two tracks have one id")
    except Exception as error:  # pickle, zipfile and NumPy raise whatever comes up
        raise ValueError(
            f"{path} holds no features of tracks ({error}); make it with tools/extract_tracks.py."
        ) from error
    dims = sorted({track.all_features.shape[1] for track in tracks.values()})
    if not tracks or len(dims) > 1:
        what = f"vectors of {dims} values" if tracks else "no track"
        raise ValueError(f"{path} has {what}; extract the features again, with one model.")
    bad = [n for n, t in tracks.items() if not all(np.isfinite(part).all() for part in t[:2])]
    if bad:
        raise ValueError(
            f"{len(bad)} tracks in {path} have values that are no numbers (first: {bad[:5]}); "
            "extract the features again."
        )
    return tracks


def _id(number: Any) -> int:
    if isinstance(number, float) and number % 1:
        raise ValueError(f"{number} is no id of a track")
    return int(number)


def _track(entry: Mapping[str, Any]) -> TrackFeatures:
    every = np.atleast_2d(np.asarray(entry["all_features"], np.float32))
    frames = [int(frame) for frame in entry["frame_indices"]]
    mean = np.asarray(entry["features"], np.float32)
    if len(frames) != len(every) or not every.size or mean.shape != every.shape[1:]:
        raise ValueError(
            f"a track has features {mean.shape}, all_features {every.shape} and {len(frames)} "
            "frame_indices"
        )
    return TrackFeatures(mean, every, frames)


def _write_pickle(file: BinaryIO, tracks: Mapping[int, TrackFeatures]) -> None:
    rows = {
        int(number): {
            "features": np.asarray(track.features, np.float32),
            "all_features": np.asarray(track.all_features, np.float32),
            "frame_indices": [int(frame) for frame in track.frame_indices],
        }
        for number, track in tracks.items()
    }
    pickle.dump(rows, file, protocol=4)


def _write_archive(file: BinaryIO, tracks: Mapping[int, TrackFeatures]) -> None:
    rows = list(tracks.values())
    empty = np.zeros((0, 0), np.float32)
    np.savez(
        file,
        ids=np.array(list(tracks), np.int64),
        features=np.stack([row.features for row in rows]) if rows else empty,
        counts=np.array([len(row.frame_indices) for row in rows], np.int64),
        all_features=np.concatenate([row.all_features for row in rows]) if rows else empty,
        frame_indices=np.array([f for row in rows for f in row.frame_indices], np.int64),
    )


def _read_archive(file: BinaryIO) -> dict[int, dict[str, Any]]:
    with np.load(file, allow_pickle=False) as saved:
        ends = saved["counts"].cumsum()
        places = list(zip(ends - saved["counts"], ends, strict=True))
        every, frames, means = (
            saved[name] for name in ("all_features", "frame_indices", "features")
        )
        if len({len(frames), len(every), saved["counts"].sum()}) > 1:
            raise ValueError("its arrays have different lengths")
        if len(set(saved["ids"].tolist())) < len(saved["ids"]):
            raise ValueError("two tracks have one id")
        return {
            number: {
                "features": mean,
                "all_features": every[first:last],
                "frame_indices": frames[first:last],
            }
            for number, mean, (first, last) in zip(saved["ids"], means, places, strict=True)
        }


def _read_pickle(file: BinaryIO) -> dict[int, dict[str, Any]]:
    found = safe_pickle.load(file)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}")
    return found
