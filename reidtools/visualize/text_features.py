"""Text features of people on one page: who is near to whom, and how far apart they all are."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reidtools.ops.distances import pairwise
from reidtools.visualize.figures import COLOURS, canvas, write
from reidtools.visualize.maps import require_method, tsne

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEED = 42
PANELS = [["map", "cosine", "cosine pairs"], ["map", "euclidean", "euclidean pairs"]]
NAMES = {"cosine": "Cosine distance", "euclidean": "Euclidean distance"}


def text_feature_page(
    features: Tensor | np.ndarray, captioned: Tensor | np.ndarray, path: str | Path
) -> Path:
    """Draw the text `features` (n, D) of n people, as they are, into the PNG `path`; its path.

    To the left they are points of a plane, by t-SNE (van der Maaten and Hinton, 2008; perplexity 30
    or, of fewer than 31, n - 1; seed 42); those in the mask `captioned` (n,), which come from
    captions and not from learned prompts, stand out. To the right are the distances of each to
    each, by cosine and Euclidean, as heat maps, and how many pairs have which distance. The picture
    has 1600 x 800 pixels.

    Raises ValueError for fewer than 3 features, ones that are not finite, or a mask of another
    length, ImportError without matplotlib or scikit-learn.
    """
    require_method("tsne")
    features = torch.as_tensor(features).detach().cpu().double()
    captioned = torch.as_tensor(captioned).detach().cpu().bool().numpy()
    if features.ndim != 2 or len(features) < 3 or captioned.shape != (len(features),):
        raise ValueError(
            f"A page was asked for of text features {tuple(features.shape)} with a mask of "
            f"captions {captioned.shape}; give 3 people or more, (n, D), and a mask (n,)."
        )
    if not features.isfinite().all():
        raise ValueError(
            "Some text features are not finite, so there is nothing to draw; lower the learning "
            "rate that they were learned with."
        )
    figure, only = canvas((16, 8))
    only.remove()
    axes = figure.subplot_mosaic(PANELS, width_ratios=[1.7, 1, 0.9])
    _map(axes["map"], features.numpy(), captioned)
    for metric in NAMES:
        distances = pairwise(features, features, metric).clamp(min=0).numpy()
        _heat_map(figure, axes[metric], distances, metric)
        _histogram(axes[f"{metric} pairs"], distances, metric)
    write(figure, path)
    return Path(path)


def _map(axes: "Axes", features: np.ndarray, captioned: np.ndarray) -> None:
    """The features as points, those of captions above the others."""
    count = len(features)
    perplexity = min(30, count - 1)
    places = tsne(features, SEED, perplexity)  # CLIP-ReID's perplexity
    size = 24 if count > 200 else 60
    looks = [
        (~captioned, "learned prompts", {"color": COLOURS[0], "marker": "o", "alpha": 0.6}),
        (captioned, "captions", {"color": COLOURS[1], "marker": "^", "s": 1.6 * size}),
    ]
    for rows, name, look in looks:
        if rows.any():
            look = {"s": size, "edgecolors": "black", "linewidths": 0.4} | look
            axes.scatter(*places[rows].T, label=f"{name} ({rows.sum()})", **look)
    axes.set_title(f"t-SNE of the text features of {count} people (perplexity {perplexity})")
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)
    axes.set_aspect("equal", "datalim")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.01), ncols=2, frameon=False)


def _heat_map(figure: "Figure", axes: "Axes", distances: np.ndarray, metric: str) -> None:
    """Distances (n, n) as colours; none on the diagonal, or its zeros would dim all others."""
    shown = np.ma.masked_array(distances, np.eye(len(distances), dtype=bool))
    drawn = axes.imshow(shown, "viridis", interpolation="antialiased")  # many people share a dot
    axes.set_facecolor("0.9")
    axes.set_title(NAMES[metric])
    axes.set(xlabel="person", ylabel="person")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True, nbins=6)
    figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03)


def _histogram(axes: "Axes", distances: np.ndarray, metric: str) -> None:
    """How many pairs of two people have which of the distances (n, n)."""
    pairs = distances[np.triu_indices(len(distances), 1)]
    bins = min(50, max(10, int(len(pairs) ** 0.5)))
    axes.hist(pairs, bins=bins, color=COLOURS[0], edgecolor="white", linewidth=0.4)
    mean = pairs.mean()
    axes.axvline(mean, color=COLOURS[1], linestyle="--", linewidth=2)
    axes.set_title(f"{len(pairs)} pairs, mean {mean:.3g} (dashed)")
    axes.set(xlabel=NAMES[metric], ylabel="pairs")
    axes.grid(axis="y", color="0.85")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
