"""What all figures share: an empty canvas, colours, the legend, the file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from reidtools.extras import require
from reidtools.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Target = str | Path | BinaryIO  # a file that is written whole, or one that is open
# Colours that colour-blind readers can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color),
# and one line style after another, for readers of grey prints.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLES = ["-", "--", "-.", ":"]


def require_matplotlib() -> None:
    """Raise an ImportError that says how to install matplotlib where it is not."""
    require("matplotlib", "Curves are drawn with matplotlib", "plots")


def canvas(inches: tuple[float, float] = (8, 6), *, dpi: int = 100) -> tuple["Figure", "Axes"]:
    """An empty figure of `inches`, 800 x 600 pixels, that no global state knows of."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def look(place: int) -> dict[str, Any]:
    """Colour and line style of the curve in this place."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": STYLES[place % len(STYLES)],
        "linewidth": 2,
    }


def entry(name: str, figure: str) -> str:
    """A line of the legend: the end of a long name, and none of matplotlib's own signs."""
    name = name.encode("utf-8", "replace").decode()  # bytes of a path that are no text
    short = name if len(name) <= 80 else f"…{name[-79:]}"
    space = " " if name.startswith("_") else ""  # a leading _ would hide the curve
    return f"{space}{short} ({figure})".replace("$", r"\$")


def save(figure: "Figure", axes: "Axes", path: Target) -> None:
    """Draw grid and legend, and write the PNG."""
    axes.grid(which="major", color="0.85")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _, labels = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 45 else min(2, len(labels))
    # Below the axes it covers no curve.
    figure.legend(loc="outside lower center", ncols=columns, fontsize=10 if len(labels) < 7 else 7)
    write(figure, path)


def write(figure: "Figure", path: Target) -> None:
    """Write `figure` as a PNG; a file is written all or nothing, its folder made if need be."""
    if not isinstance(path, str | Path):
        return figure.savefig(path, format="png")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: figure.savefig(file, format="png"))
