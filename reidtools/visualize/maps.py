"""Embeddings as points on a plane: do a person's pictures lie together, across cameras?"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reidtools.extras import require
from reidtools.ops import pca
from reidtools.registry import choose
from reidtools.visualize.figures import canvas, require_matplotlib, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = "os^Dv<>P*Xphd8H"
GREY = "0.6"


def embedding_map(
    vectors: Tensor,
    pids: Tensor,
    camids: Tensor,
    path: str | Path,
    *,
    method: str = "tsne",
    seed: int = 0,
    people: int = 18,
    points: int = 4000,
) -> None:
    """Draw `vectors` (N, D), compared by direction, as points of a plane into the PNG `path`.

    The `people` with the most pictures have a colour each, all others are grey; pid -1 is nobody.
    Cameras (`camids`) have marks of their own. Of more than `points` pictures those of the coloured
    people are drawn first, and so many of the others, drawn by lot from `seed`, as there is room
    for.

    `method` is ``"tsne"`` (van der Maaten and Hinton, 2008), ``"umap"``
    (arXiv:1802.03426) or ``"pca"``. The first two keep neighbours together, and say nothing by the
    distances between groups; PCA keeps what differs most.

    Raises ValueError for fewer than 3 pictures, and ImportError for a method whose package is not
    installed (see `require_method`).
    """
    require_method(method)
    vectors, pids, camids = (torch.as_tensor(part).cpu() for part in (vectors, pids, camids))
    if not len(vectors) == len(pids) == len(camids) or len(vectors) < 3:
        raise ValueError(
            f"A map was asked for of {len(vectors)} vectors with {len(pids)} pids and "
            f"{len(camids)} camids; give 3 pictures or more, each with its pid and camid."
        )
    shown = _people_shown(pids, people)
    kept = _kept(torch.isin(pids, torch.tensor(shown, dtype=pids.dtype)), points, seed)
    unit = F.normalize(vectors[kept].float()).numpy()
    places = METHODS[method](unit, seed)
    figure, axes = canvas((10, 8))
    _scatter(axes, places, pids[kept].numpy(), camids[kept].numpy(), shown)
    axes.set_title(f"{TITLES[method]} of {len(kept)} of {len(vectors)} vectors")
    axes.set_aspect("equal", "datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside right upper", fontsize=8)
    write(figure, path)


def require_method(method: str) -> None:
    """Raise an ImportError that says how to install what a `method` of `embedding_map` needs.

    An unknown method is a LookupError.
    """
    choose("map", method, METHODS)
    require_matplotlib()
    if method == "tsne":
        require("sklearn", "t-SNE is computed by scikit-learn", "plots")
    elif method == "umap":
        require("umap", "UMAP is computed by umap-learn", "umap")


def _people_shown(pids: Tensor, people: int) -> list[int]:
    """The pids with the most pictures, at most `people` of them; equal ones by number."""
    names, counts = pids[pids >= 0].unique(return_counts=True)
    most = counts.argsort(descending=True, stable=True)[: max(0, people)]
    return names[most].tolist()


def _kept(first: Tensor, points: int, seed: int) -> Tensor:
    """Which rows are drawn, ascending: those in the mask `first`, and others as there is room."""
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed))
    order = torch.cat([order[first[order]], order[~first[order]]])
    return order[: max(3, points)].sort().values


def _pca(vectors: np.ndarray, seed: int) -> np.ndarray:
    places = pca.fit(vectors, 2).transform(vectors)
    return F.pad(places, (0, 2 - places.shape[1])).numpy()  # vectors of one value have one axis


def _tsne(vectors: np.ndarray, seed: int) -> np.ndarray:
    # Perplexity is a number of neighbours, and there must be three times as many to choose from.
    # Fewer than 6 have less to choose from: at 1 each would see its nearest one only.
    return tsne(vectors, seed, max(1.5, min(30.0, (len(vectors) - 1) / 3)))


def tsne(vectors: np.ndarray, seed: int, perplexity: float) -> np.ndarray:
    """Where t-SNE (van der Maaten & Hinton, 2008) puts `vectors` (N, D) on a plane, (N, 2)."""
    from sklearn.manifold import TSNE

    start = _pca(vectors, seed)
    start = start / max(1e-12, start[:, 0].std()) * 1e-4  # as its authors advise
    # scikit-learn's steps are 50 or longer, which throws single ones of few points far out.
    step = len(vectors) / 4 if len(vectors) < 200 else "auto"
    made = TSNE(perplexity=perplexity, init=start, learning_rate=step, random_state=seed)
    return made.fit_transform(vectors)


def _umap(vectors: np.ndarray, seed: int) -> np.ndarray:
    from umap import UMAP

    few = len(vectors) < 20  # its spectral start wants more points than neighbours and dimensions
    made = UMAP(
        n_neighbors=min(15, len(vectors) - 1),
        init="random" if few else "spectral",
        random_state=seed,
        n_jobs=1,  # with a seed it has no choice, and would warn
    )
    return made.fit_transform(vectors)


METHODS = {"pca": _pca, "tsne": _tsne, "umap": _umap}
TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def _scatter(
    axes: "Axes", places: np.ndarray, pids: np.ndarray, camids: np.ndarray, shown: list[int]
) -> None:
    """Draw the points `places` (N, 2): others below, people above, and what the legend says."""
    from matplotlib import colormaps

    pairs = [i for i in range(0, 20, 2) if i != 14]  # a dark hue and a light one, but no grey
    hues = [colormaps["tab20"].colors[i] for i in (*pairs, *(i + 1 for i in pairs))]
    marks = {camera: MARKS[i % len(MARKS)] for i, camera in enumerate(np.unique(camids).tolist())}
    colours = {pid: hues[i % len(hues)] for i, pid in enumerate(shown)}
    others = ~np.isin(pids, shown)
    for camera, mark in marks.items():
        seen = camids == camera
        rows = places[seen & others]
        axes.scatter(*rows.T, s=8, marker=mark, color=GREY, alpha=0.35, linewidths=0)
        rows = places[seen & ~others]
        hue = [colours[pid] for pid in pids[seen & ~others].tolist()]
        axes.scatter(*rows.T, s=34, marker=mark, c=hue or None, edgecolors="black", linewidths=0.4)
    empty = np.empty((2, 0))
    for pid, colour in colours.items():
        axes.scatter(*empty, s=34, marker="o", color=colour, label=f"person {pid}")
    if others.any():
        axes.scatter(*empty, s=20, marker="o", color=GREY, label="others")
    for camera, mark in marks.items():
        name = f"camera {camera + 1}" if camera >= 0 else "no camera"
        axes.scatter(*empty, s=34, marker=mark, color="white", edgecolors="black", label=name)
