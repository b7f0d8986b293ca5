"""Who is who in several cameras: tracks get one global id for each person."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from reidtools.extras import require
from reidtools.tracks.features import Tracks

LOG = logging.getLogger("reidtools")
THRESHOLD, EPS, MIN_SAMPLES = 0.6, 0.5, 2
Ids = dict[str, dict[int, int]]  # camera -> track -> global id
Key = tuple[str, int]  # camera, track


class Match(NamedTuple):
    """Two tracks of two cameras that were taken for one person."""

    cam1: str
    track1: int
    cam2: str
    track2: int
    similarity: float


class Conflict(NamedTuple):
    """Two tracks of one camera that have one global id, and overlap in time."""

    camera: str
    track1: int
    track2: int
    global_id: int


def similarity(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Cosines of every row of `a` and every row of `b`; (N, D), (M, D) -> float64 (N, M).

    Without `b`, of `a` with itself: symmetric to the last bit. Rows are divided by their lengths +
    1e-8, so that one of zeros is similar to none. Raises ValueError for rows of different lengths.
    """
    if b is not None and (a.ndim, a.shape[1:]) != (2, b.shape[1:]):
        raise ValueError(
            f"Vectors {a.shape} and {b.shape} cannot be compared; extract both with one model."
        )
    first = _unit(a)
    return first @ (first if b is None else _unit(b)).T


def stacked(tracks: Tracks) -> np.ndarray:
    """The vectors of all `tracks`, by ascending id; (T, D)."""
    return np.stack([tracks[number].features for number in sorted(tracks)])


def check_cameras(cameras: Mapping[str, Tracks]) -> None:
    """Raise a ValueError for vectors that differ in length or are no numbers; warn of zeros."""
    dims = {name: stacked(tracks).shape[1] for name, tracks in cameras.items()}
    if len(set(dims.values())) > 1:
        told = ", ".join(f"{name} has {dim}" for name, dim in dims.items())
        raise ValueError(
            f"Vectors of different lengths cannot be compared: {told} values; extract all cameras "
            "with one model."
        )
    for name, tracks in cameras.items():
        if bad := [n for n, track in tracks.items() if not np.isfinite(track.features).all()]:
            raise ValueError(
                f"{len(bad)} tracks of {name} have values that are no numbers (first: {bad[:5]}); "
                "extract the features again."
            )
        if zero := [n for n in sorted(tracks) if not tracks[n].features.any()]:
            LOG.warning(
                "%d tracks of %s have a vector of zeros, which is similar to none (first: %s).",
                len(zero),
                name,
                zero[:5],
            )


def associate_by_assignment(
    cameras: Mapping[str, Tracks], *, threshold: float = THRESHOLD
) -> tuple[Ids, list[Match]]:
    """Global ids by an optimal assignment of the tracks of each pair of `cameras`, and its matches.

    For each pair the sum of similarities is made largest (the Hungarian algorithm,
    https://doi.org/10.1002/nav.3800020109); matches below `threshold` are dropped. Tracks that hang
    together by matches have one id: by way of a third camera two tracks of one camera may be
    among them, see `conflicts`. Raises ValueError for a single camera, a threshold that is no
    cosine, and vectors that cannot be compared.
    """
    from scipy.optimize import linear_sum_assignment

    if len(cameras) < 2:
        raise ValueError(
            "An assignment is between cameras, and there is one; give the file of another, or "
            "choose the method dbscan."
        )
    if not -1 <= threshold <= 1:
        raise ValueError(f"The threshold {threshold} is no cosine; choose one from -1 to 1.")
    check_cameras(cameras)
    matches, best = [], -1.0
    for one, two in combinations(cameras, 2):
        found = similarity(stacked(cameras[one]), stacked(cameras[two]))
        best = max(best, found.max())
        # A track of zeros is similar to none, also where the threshold is below 0.
        lone = [~stacked(cameras[name]).any(1) for name in (one, two)]
        names = [sorted(cameras[name]) for name in (one, two)]
        for row, column in zip(*linear_sum_assignment(1 - found), strict=True):
            if found[row, column] >= threshold and not (lone[0][row] or lone[1][column]):
                pair = (one, names[0][row], two, names[1][column])
                matches.append(Match(*pair, float(found[row, column])))
    if not matches:
        LOG.warning(
            "No two tracks are taken for one person: the highest similarity is %.3f and the "
            "threshold %g; lower it if that is one, and see that one model made all files.",
            best,
            threshold,
        )
    keys = _keys(cameras)
    return _numbered(keys, _joined(keys, matches)), matches


def associate_by_clusters(
    cameras: Mapping[str, Tracks], *, eps: float = EPS, min_samples: int = MIN_SAMPLES
) -> tuple[Ids, list[list[Key]]]:
    """Global ids by DBSCAN (Ester et al., 1996) on cosine distances, and its clusters.

    A track with `min_samples` tracks, itself among them, no farther than `eps` starts a cluster or
    links two. Cameras make no difference, so tracks of one camera may be joined; there may be a
    single one. What is in no cluster has an id of its own. Raises ValueError for options out of
    their range and vectors that cannot be compared, ImportError without scikit-learn.
    """
    require("sklearn", "DBSCAN is computed by scikit-learn", "plots")
    from sklearn.cluster import DBSCAN

    if not 0 < eps <= 2:
        raise ValueError(f"Cosine distances are 0 to 2; choose an eps among them, not {eps}.")
    if min_samples < 1:
        raise ValueError(f"{min_samples} tracks are no cluster; choose a min_samples of 1 or more.")
    check_cameras(cameras)
    keys = _keys(cameras)
    vectors = np.concatenate([stacked(tracks) for tracks in cameras.values()]).astype(np.float64)
    seen = np.flatnonzero(vectors.any(1))  # a track of zeros has no direction: it stays alone
    labels = np.full(len(keys), -1)
    if len(seen):
        made = DBSCAN(eps=eps, min_samples=min_samples, metric="cosine")
        labels[seen] = made.fit_predict(vectors[seen])
    if not (labels >= 0).any():
        LOG.warning(
            "No two tracks are taken for one person: every track is noise; raise eps (%g) or lower "
            "min_samples (%d).",
            eps,
            min_samples,
        )
    noise = iter(range(labels.max() + 1, labels.max() + 1 + len(keys)))
    groups = [label if label >= 0 else next(noise) for label in labels.tolist()]
    clusters: dict[int, list[Key]] = {}
    for key, label in zip(keys, labels.tolist(), strict=True):
        if label >= 0:
            clusters.setdefault(label, []).append(key)
    return _numbered(keys, groups), list(clusters.values())


def conflicts(cameras: Mapping[str, Tracks], ids: Ids) -> list[Conflict]:
    """Pairs of tracks with one id that one camera saw at the same time: they are two people.

    The time of a track is that from its first crop to its last. Within it the tracker may have lost
    somebody, and called him otherwise for a while; that is rare.
    """
    found = []
    for camera, tracks in cameras.items():
        members: dict[int, list[int]] = {}
        for number in sorted(tracks):
            members.setdefault(ids[camera][number], []).append(number)
        spans = {n: (min(t.frame_indices), max(t.frame_indices)) for n, t in tracks.items()}
        for global_id, numbers in members.items():
            for one, two in combinations(numbers, 2):
                if max(spans[one][0], spans[two][0]) <= min(spans[one][1], spans[two][1]):
                    found.append(Conflict(camera, one, two, global_id))
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    rows = np.asarray(vectors, np.float64)
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-8)


def _keys(cameras: Mapping[str, Tracks]) -> list[Key]:
    return [(camera, number) for camera, tracks in cameras.items() for number in sorted(tracks)]


def _joined(keys: Sequence[Key], matches: Sequence[Match]) -> list[int]:
    """The connected component of each of `keys`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    place = {key: i for i, key in enumerate(keys)}
    rows = [place[match.cam1, match.track1] for match in matches]
    columns = [place[match.cam2, match.track2] for match in matches]
    graph = coo_array((np.ones(len(matches)), (rows, columns)), shape=(len(keys), len(keys)))
    return connected_components(graph, directed=False)[1].tolist()


def _numbered(keys: Sequence[Key], groups: Iterable[int]) -> Ids:
    """Ids 1, 2 … of the `groups` in the order in which `keys` name them first."""
    numbers: dict[int, int] = {}
    ids: Ids = {}
    for (camera, number), group in zip(keys, groups, strict=True):
        ids.setdefault(camera, {})[number] = numbers.setdefault(group, len(numbers) + 1)
    return ids
