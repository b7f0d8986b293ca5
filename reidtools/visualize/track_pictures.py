"""Pictures of tracks: a map with a point for each, and how similar each is to each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reidtools.visualize.figures import canvas, entry, write
from reidtools.visualize.maps import MARKS, METHODS, TITLES, require_method

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEED = 42
# Where a label may stand: across and up from its point, by half its own size and half a mark.
PLACES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]


def track_map(
    vectors: np.ndarray,
    tracks: Sequence[int],
    path: str | Path,
    *,
    method: str = "tsne",
    cameras: Sequence[str] = (),
    seed: int = SEED,
) -> None:
    """Draw `vectors` (T, D) of `tracks`, compared by direction, as labelled points, into a PNG.

    It has 1800 x 1500 pixels. Beside each point stands ``T<id>``; colours, those of tab20, only
    tell neighbours apart. `cameras`, if given, names the camera of each track: each has a mark.
    `method` is as in `embedding_map`.

    Raises ValueError for fewer than 3 tracks or other numbers of names, LookupError for an unknown
    method, ImportError for one whose package is not installed.
    """
    require_method(method)
    if len(vectors) < 3:
        raise ValueError(
            f"A map shows who is near to whom, and {len(vectors)} tracks are too few; give 3 or "
            "more, or compare them with tools/similarity.py."
        )
    if len(tracks) != len(vectors) or len(cameras) not in (0, len(vectors)):
        raise ValueError(
            f"{len(vectors)} vectors have {len(tracks)} ids and {len(cameras)} cameras; give each "
            "its id, and its camera or none at all."
        )
    lengths = np.linalg.norm(np.asarray(vectors, np.float32), axis=1, keepdims=True)
    unit = np.asarray(vectors, np.float32) / np.maximum(lengths, 1e-12)
    places = METHODS[method](unit, seed)
    figure, axes = canvas((12, 10), dpi=150)
    _points(axes, places, cameras)
    axes.set_title(f"{TITLES[method]} of {len(tracks)} tracks", fontsize=14)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.07)
    axes.set_aspect("equal", "datalim")
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=10)
    _label(axes, places, [f"T{number}" for number in tracks])
    write(figure, path)


def heat_map(
    matrix: np.ndarray,
    rows: Sequence[int],
    columns: Sequence[int],
    path: str | Path,
    *,
    names: tuple[str, str] = ("rows", "columns"),
) -> None:
    """Draw similarities `matrix` (N, M) of tracks `rows` and `columns` into the PNG `path`.

    Colours, those of viridis, go from 0 to 1; what is less than 0 has the colour of 0. Up to 20
    tracks have their figures in their cells; of very many every second, fifth … id is written.
    `names` are those of the cameras. Raises ValueError where the shape does not fit.
    """
    if matrix.shape != (len(rows), len(columns)) or not matrix.size:
        raise ValueError(
            f"A matrix {matrix.shape} has {len(rows)} names of rows and {len(columns)} of columns; "
            "give one of each, and one or more."
        )
    # Cells of half an inch where that is little in all, and a figure of 16 inches at most.
    cell = min(0.5, 14 / max(matrix.shape))
    high, wide = (max(2.5, cell * count) for count in matrix.shape)
    figure, axes = canvas((wide + 2.2, high + 1.3), dpi=150)
    drawn = axes.imshow(matrix, "viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    extend = "min" if (matrix < 0).any() else "neither"
    figure.colorbar(drawn, label="cosine similarity", extend=extend, fraction=0.5 / wide, pad=0.01)
    sides = [(axes.xaxis, columns, names[1], wide), (axes.yaxis, rows, names[0], high)]
    for axis, numbers, name, inches in sides:
        step = _step(len(numbers), inches)
        axis.set_ticks(range(0, len(numbers), step), [f"T{n}" for n in numbers[::step]], fontsize=8)
        axis.set_label_text(entry(name, f"{len(numbers)} tracks"))
    axes.tick_params(axis="x", rotation=90)
    if max(matrix.shape) <= 20:
        for row, column in np.ndindex(matrix.shape):
            value = matrix[row, column]
            colour = "black" if value > 0.6 else "white"
            text = f"{value:.2f}".replace("-0.00", "0.00")
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    write(figure, path)


def _step(count: int, inches: float) -> int:
    """Every how many of `count` names are written on `inches`, where each takes 0.15 of them."""
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500)
    return next((step for step in steps if count / step * 0.15 <= inches), max(1, count))


def _points(axes: "Axes", places: np.ndarray, cameras: Sequence[str]) -> None:
    """Draw the points `places` (T, 2), and for the legend the mark of each camera."""
    from matplotlib import colormaps

    hues = colormaps["tab20"].colors
    names = list(dict.fromkeys(cameras)) or [""]
    own = np.array([names.index(camera) for camera in cameras] or [0] * len(places))
    for place, name in enumerate(names):
        which = np.flatnonzero(own == place)
        look = {"s": 70, "marker": MARKS[place % len(MARKS)], "linewidths": 0.5}
        colours = [hues[i % len(hues)] for i in which]
        axes.scatter(*places[which].T, c=colours, edgecolors="black", **look)
        if cameras:
            label = entry(name, f"{len(which)} tracks")
            axes.scatter([], [], color="white", edgecolors="black", label=label, **look)


def _label(axes: "Axes", places: np.ndarray, texts: Sequence[str]) -> None:
    """Write each of `texts` beside its point, where it covers least of the points and the others.

    Of eight places the first that is free is taken, else the one with least below it.
    """
    figure = axes.figure
    size = 9 if len(texts) <= 60 else 7 if len(texts) <= 200 else 5
    figure.draw_without_rendering()  # from here on places are known in pixels …
    figure.set_layout_engine("none")  # … and stay
    points = axes.transData.transform(places)
    dot = figure.dpi / 72 * 5.5  # half a mark, in pixels, and a little air
    taken = np.concatenate([points - dot, points + dot], 1)  # left, bottom, right, top
    for text, point in zip(texts, points, strict=True):
        written = figure.text(*point, text, transform=None, fontsize=size, ha="center", va="center")
        box = written.get_window_extent()
        half = np.array([box.width, box.height]) / 2
        centres = point + np.array(PLACES) * (half + dot)
        boxes = np.concatenate([centres - half, centres + half], 1)
        best = min(range(len(boxes)), key=lambda i: _overlap(boxes[i], taken))
        written.set_position(centres[best])
        taken = np.concatenate([taken, boxes[best : best + 1]])


def _overlap(box: np.ndarray, others: np.ndarray) -> float:
    """The area that `box` (4,), left, bottom, right, top, shares with all of `others` (n, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(sides.clip(min=0).prod(1).sum())
