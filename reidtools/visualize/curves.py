"""Curves of one or several models in one picture: CMC and ROC."""

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reidtools.evaluation.verification import Verification
from reidtools.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that colour-blind readers can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color),
# and one line style after another, for readers of grey prints.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLES = ["-", "--", "-.", ":"]


def cmc_curves(curves: Mapping[str, Tensor], path: str | Path, ranks: int = 50) -> None:
    """Draw how often a match is among the nearest k, for k up to `ranks`, into the PNG `path`.

    `curves` are the `Ranking.cmc` (shares) of each name. Raises ValueError when there are none,
    ImportError without matplotlib.
    """
    figure, axes = _canvas(curves)
    lowest = 1.0
    for place, (name, cmc) in enumerate(curves.items()):
        cmc = torch.as_tensor(cmc)[:ranks].double().cpu()
        lowest = min(lowest, cmc[0].item())
        label = _label(name, f"Rank-1 {_percent(cmc[0].item())}")
        axes.plot(range(1, len(cmc) + 1), 100 * cmc, label=label, **_look(place))
    last = max(2, min(ranks, max(len(cmc) for cmc in curves.values())))
    axes.set_xlim(1, last)
    every = 1 if last <= 12 else 5 if last <= 50 else 10 * math.ceil(last / 100)
    axes.set_xticks([1, *range(max(2, every), last + 1, every)])
    axes.set_ylim(max(0, math.floor(10 * lowest - 0.5) * 10), 101)
    axes.set_xlabel("Rank k")
    axes.set_ylabel("Queries with a match among the nearest k (%)")
    axes.set_title("Cumulative match characteristic (CMC)")
    _save(figure, axes, path)


def roc_curves(curves: Mapping[str, Verification], path: str | Path) -> None:
    """Draw which share of same pairs is accepted at which FAR, into the PNG `path`.

    A curve begins where its pairs begin to tell, at 1 / (number of different pairs); a dot marks
    its equal error rate. Raises ValueError when there are no curves, ImportError without
    matplotlib.
    """
    figure, axes = _canvas(curves)
    first = min(1 / found.different_pairs for found in curves.values())
    for place, (name, found) in enumerate(curves.items()):
        fars = torch.logspace(-math.log10(found.different_pairs), 0, 500, dtype=torch.double)
        fars[0], fars[-1] = 1 / found.different_pairs, 1
        tars = [100 * found.tar_at(far) for far in fars.tolist()]
        label = _label(name, f"EER {_percent(found.eer)}")
        (line,) = axes.plot(100 * fars, tars, label=label, **_look(place))
        if found.eer >= fars[0]:
            axes.plot(100 * found.eer, 100 - 100 * found.eer, "o", color=line.get_color(), ms=5)
    axes.set_xscale("log")
    axes.set_xlim(100 * 10 ** math.floor(math.log10(first) + 1e-9), 100)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.10f}".rstrip("0").rstrip("."))
    axes.set_ylim(0, 101)
    axes.set_xlabel("FAR: pairs of different people that are accepted (%)")
    axes.set_ylabel("TAR: pairs of the same person that are accepted (%)")
    axes.set_title("Verification (ROC); the dots are the equal error rates")
    _save(figure, axes, path)


def require_matplotlib() -> None:
    """Raise an ImportError that says how to install matplotlib where it is not."""
    if find_spec("matplotlib") is None:
        raise ImportError(
            "Curves are drawn with matplotlib, which is not installed; "
            "run pip install 'reidtools[plots]'."
        )


def _canvas(curves: Mapping) -> tuple["Figure", "Axes"]:
    """An empty figure of 800 x 600 pixels that no global state knows of."""
    if not curves:
        raise ValueError("There are no curves to draw; give at least one, with its name.")
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _look(place: int) -> dict[str, Any]:
    """Colour and line style of the curve in this place."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": STYLES[place % len(STYLES)],
        "linewidth": 2,
    }


def _label(name: str, figure: str) -> str:
    """A line of the legend: the end of a long name, and none of matplotlib's own signs."""
    short = name if len(name) <= 80 else f"…{name[-79:]}"
    space = " " if name.startswith("_") else ""  # a leading _ would hide the curve
    return f"{space}{short} ({figure})".replace("$", r"\$")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _save(figure: "Figure", axes: "Axes", path: str | Path) -> None:
    axes.grid(which="major", color="0.85")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 45 else min(2, len(labels))
    # Below the axes it covers no curve.
    figure.legend(loc="outside lower center", ncols=columns, fontsize=10 if len(labels) < 7 else 7)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: figure.savefig(file, format="png"))
