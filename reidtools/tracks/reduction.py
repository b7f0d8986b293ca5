"""Shorter features of tracks: principal components, and the file that later queries need."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from reidtools.files import write_whole
from reidtools.ops import pca
from reidtools.ops.pca import Pca
from reidtools.tracks.features import TrackFeatures, Tracks

LOG = logging.getLogger("reidtools")
COMPONENTS = 128


def fit(tracks: Mapping[int, TrackFeatures], components: int = COMPONENTS) -> Pca:
    """The principal components of all crops of all `tracks`.

    Of few crops or short vectors there are fewer than asked, with a warning: at most the number of
    crops less one, and the length of a vector. Raises ValueError for a single crop.
    """
    crops = np.concatenate([track.all_features for track in tracks.values()])
    if len(crops) < 2:
        raise ValueError(
            "Principal components say how crops differ, and there is one crop; extract more tracks."
        )
    found = pca.fit(crops, components)
    if len(found.components) < components:
        LOG.warning(
            "%d components were asked for; %d crops of %d values have no more than %d, which are "
            "all taken.",
            components,
            *crops.shape,
            len(found.components),
        )
    return found


def reduced(tracks: Mapping[int, TrackFeatures], axes: Pca) -> Tracks:
    """`tracks` with `features` (K,) and `all_features` (n, K), float32, on the `axes`.

    The vector of a track is projected as its crops are: where it was their mean it stays their
    mean. Zero is the mean of what the axes were fitted on, so that cosines, and thresholds of them,
    are others than before. Raises ValueError for vectors of another length than the axes'.
    """
    return {
        number: TrackFeatures(
            axes.transform(track.features[None])[0].float().numpy(),
            axes.transform(track.all_features).float().numpy(),
            track.frame_indices,
        )
        for number, track in tracks.items()
    }


def save(path: str | Path, axes: Pca) -> None:
    """Write `axes` into an ``.npz`` file: mean (D,), components (K, D), variances (K,), float64."""
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path} must end in .npz; change its name.")
    arrays = {name: value.numpy() for name, value in axes._asdict().items()}
    write_whole(path, lambda file: np.savez(file, **arrays))


def load(path: str | Path) -> Pca:
    """What `save` wrote, to the last bit; no pickle is read.

    Raises FileNotFoundError, and ValueError for a file of something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path.absolute()}; name what tools/reduce_features.py --save-pca "
            "wrote."
        )
    try:
        with np.load(path, allow_pickle=False) as saved:
            axes = Pca(*(torch.from_numpy(saved[name]).double() for name in Pca._fields))
        mean, components, variances = axes
        if components.shape != (len(variances), len(mean)) or not components.numel():
            raise ValueError(f"mean {tuple(mean.shape)}, components {tuple(components.shape)}")
        if not all(part.isfinite().all() for part in axes):
            raise ValueError("it has values that are no numbers")
    except Exception as error:  # zipfile and NumPy raise whatever comes up
        raise ValueError(
            f"{path} holds no principal components ({error}); make it with "
            "tools/reduce_features.py --save-pca."
        ) from error
    return axes
