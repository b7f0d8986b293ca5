"""Neighbour feature centralisation of the crops of tracks (Pose2ID, arXiv:2503.00938)."""

from collections.abc import Mapping

import numpy as np

from reidtools.evaluation import Vectors, centralize
from reidtools.registry import choose
from reidtools.tracks.features import TrackFeatures, Tracks, features_of

SCOPES = {"track": False, "all": True}


def centralize_tracks(
    tracks: Mapping[int, TrackFeatures], *, scope: str = "track", k1: int = 2, k2: int = 2
) -> Tracks:
    """Every crop gets its mutual neighbours added, see `reidtools.evaluation.centralize`.

    Neighbours are looked for among the crops of its own track or, with `scope` ``"all"``, among
    those of all tracks. Crops have length 1 then, and `features` are their mean, brought to length
    1 as well. Raises LookupError for another scope.
    """
    together = choose("scope", scope, SCOPES)
    every = [track.all_features for track in tracks.values()]
    groups = [np.concatenate(every)] if together else every
    done = np.concatenate([_centralized(group, k1, k2) for group in groups])
    ends = np.cumsum([len(crops) for crops in every])[:-1]
    found = {}
    for (number, track), crops in zip(tracks.items(), np.split(done, ends), strict=True):
        found[number] = features_of(crops, track.frame_indices, unit=True)
    return found


def _centralized(crops: np.ndarray, k1: int, k2: int) -> np.ndarray:
    nobody = np.full(len(crops), -1)
    return centralize(Vectors(crops, nobody, nobody), k1=k1, k2=k2).vectors.numpy()
