"""What a run wrote into its metrics.jsonl, by epochs."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reidtools.visualize.curves import Line

NO_LOSS = ("epoch", "iteration", "lr", "pictures_per_second", "peak_memory_mb", "figures")
SCORES = ("mAP", "Rank-1")


class History(NamedTuple):
    """Losses (mean of each epoch) and scores in percent of a run: name -> (epochs, values).

    Epochs are how many had been trained, from 1.
    """

    losses: dict[str, Line]
    scores: dict[str, Line]


def read_history(path: str | Path) -> History:
    """The history in the metrics.jsonl at `path`; empty if there is no such file.

    Of a run that was resumed, what was written last about an iteration counts. Lines that are no
    JSON, as of a run that is writing, are left out.
    """
    reports: dict[int, dict[str, Any]] = {}
    scores: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for row in _rows(Path(path)):
        if "iteration" in row:
            reports[row["iteration"]] = row
        elif "dataset" in row and "title" not in row:  # those with a title are not plain
            for name in SCORES:
                if name in row:
                    scores[f"{row['dataset']} {name}"][row["epoch"] + 1] = row[name]
    sums: defaultdict[str, dict[int, list[float]]] = defaultdict(dict)
    for row in reports.values():
        for name in row.keys() - set(NO_LOSS):
            sums[name].setdefault(row["epoch"] + 1, []).append(row[name])
    means = {name: {e: sum(v) / len(v) for e, v in sums[name].items()} for name in sorted(sums)}
    return History(_lines(means), _lines(scores))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "epoch" in row:
            yield row


def _lines(points: dict[str, dict[int, float]]) -> dict[str, Line]:
    return {name: tuple(zip(*sorted(own.items()), strict=True)) for name, own in points.items()}
