"""Curves of one or several models in one picture: CMC and ROC; and how a run went."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reidtools.evaluation.verification import Verification
from reidtools.visualize.figures import Target, canvas, entry, look, save

Line = tuple[Sequence[float], Sequence[float]]  # places from left to right, heights


def cmc_curves(curves: Mapping[str, Tensor], path: Target, ranks: int = 50) -> None:
    """Draw how often a match is among the nearest k, for k up to `ranks`, into the PNG `path`.

    `curves` are the `Ranking.cmc` (shares) of each name. Raises ValueError when there are none,
    ImportError without matplotlib.
    """
    figure, axes = _axes(curves)
    lowest = 1.0
    for place, (name, cmc) in enumerate(curves.items()):
        cmc = torch.as_tensor(cmc)[:ranks].double().cpu()
        lowest = min(lowest, cmc[0].item())
        text = entry(name, f"Rank-1 {_percent(cmc[0].item())}")
        axes.plot(range(1, len(cmc) + 1), 100 * cmc, label=text, **look(place))
    last = max(2, min(ranks, max(len(cmc) for cmc in curves.values())))
    axes.set_xlim(1, last)
    every = 1 if last <= 12 else 5 if last <= 50 else 10 * math.ceil(last / 100)
    axes.set_xticks([1, *range(max(2, every), last + 1, every)])
    axes.set_ylim(max(0, math.floor(10 * lowest - 0.5) * 10), 101)
    axes.set_xlabel("Rank k")
    axes.set_ylabel("Queries with a match among the nearest k (%)")
    axes.set_title("Cumulative match characteristic (CMC)")
    save(figure, axes, path)


def roc_curves(curves: Mapping[str, Verification], path: Target) -> None:
    """Draw which share of same pairs is accepted at which FAR, into the PNG `path`.

    A curve begins where its pairs begin to tell, at 1 / (number of different pairs); a dot marks
    its equal error rate. Raises ValueError when there are no curves, ImportError without
    matplotlib.
    """
    figure, axes = _axes(curves)
    first = min(1 / found.different_pairs for found in curves.values())
    for place, (name, found) in enumerate(curves.items()):
        fars = torch.logspace(-math.log10(found.different_pairs), 0, 500, dtype=torch.double)
        fars[0], fars[-1] = 1 / found.different_pairs, 1
        tars = [100 * found.tar_at(far) for far in fars.tolist()]
        text = entry(name, f"EER {_percent(found.eer)}")
        (line,) = axes.plot(100 * fars, tars, label=text, **look(place))
        if found.eer >= fars[0]:
            axes.plot(100 * found.eer, 100 - 100 * found.eer, "o", color=line.get_color(), ms=5)
    axes.set_xscale("log")
    axes.set_xlim(100 * 10 ** math.floor(math.log10(first) + 1e-9), 100)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.10f}".rstrip("0").rstrip("."))
    axes.set_ylim(0, 101)
    axes.set_xlabel("FAR: pairs of different people that are accepted (%)")
    axes.set_ylabel("TAR: pairs of the same person that are accepted (%)")
    axes.set_title("Verification (ROC); the dots are the equal error rates")
    save(figure, axes, path)


def progress_curves(lines: Mapping[str, Line], path: Target, *, title: str, height: str) -> None:
    """Draw figures of a run over its epochs into the PNG `path`.

    `lines` are the epochs and the values of each name; a single value is a dot. `title` stands
    above, `height` beside the axis. Raises as `cmc_curves`.
    """
    figure, axes = _axes(lines)
    for place, (name, (epochs, values)) in enumerate(lines.items()):
        mark = "o" if len(epochs) < 25 else ""
        last = f"last {values[-1]:.4g}"
        axes.plot(epochs, values, label=entry(name, last), marker=mark, ms=4, **look(place))
    axes.set_xlim(left=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("Epochs trained")
    axes.set_ylabel(height)
    axes.set_title(title)
    save(figure, axes, path)


def ap_histogram(ap: Tensor, path: Target, *, name: str = "queries", bins: int = 20) -> None:
    """Draw how many queries have which average precision into the PNG `path`.

    `ap` (Q,) are shares, NaN (no match in the gallery) is left out, as `Ranking.ap` has them.
    Raises as `cmc_curves`.
    """
    known = 100 * ap[~ap.isnan()].double().cpu()
    figure, axes = _axes({name: known} if len(known) else {})
    mean = known.mean().item()
    style = {"color": look(0)["color"], "edgecolor": "white"}
    axes.hist(known.numpy(), bins=bins, range=(0, 100), label=entry(name, f"{len(known)}"), **style)
    axes.axvline(mean, label=entry("mean, the mAP", f"{mean:.2f}%"), **look(1))
    axes.set_xlim(0, 100)
    axes.set_xlabel("Average precision of a query (%)")
    axes.set_ylabel("Queries")
    axes.set_title("How the average precision is spread")
    save(figure, axes, path)


def _axes(curves: Mapping):
    """An empty figure with axes, if there is something to draw."""
    if not curves:
        raise ValueError("There are no curves to draw; give at least one, with its name.")
    return canvas()


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
