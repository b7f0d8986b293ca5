"""How models do on the sets of others: several checkpoints on several test sets, in one table."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reidtools import assess, build
from reidtools.api.recipes import get_config
from reidtools.api.testing import known_people, ready, seeded_device, test_splits, trained_on
from reidtools.config import load as configs
from reidtools.data.samples import of_other_sets
from reidtools.engine import logbook
from reidtools.evaluation import Report
from reidtools.files import write_json, writing_into

LOGGER = logging.getLogger("reidtools")
UNKNOWN, KNOWN_PEOPLE = "unknown", "all"


@dataclass
class Row:
    """A checkpoint: the sets it was trained on, none if it does not tell, and its report.

    `combined` tells that query and gallery of these were trained on as well.
    """

    weights: str
    trained: list[str]
    combined: bool
    report: Report

    @property
    def name(self) -> str:
        """The sets as the field writes them: ``msmt17(all)``, ``market1501+cuhk03``."""
        mark = "(all)" if self.combined else ""
        return "+".join(f"{Path(name).name}{mark}" for name in self.trained) or UNKNOWN


@dataclass
class CrossDomain:
    """Rank-1 and mAP of every checkpoint (rows) on every set of `tests` (columns), in percent."""

    tests: list[str]
    rows: list[Row] = field(default_factory=list)

    def __str__(self) -> str:
        from tabulate import tabulate

        head = ["Trained on", *self.tests, "Weights"]
        lines = [
            [row.name, *(self._cell(row, name) for name in self.tests), row.weights]
            for row in self.rows
        ]
        means = [row.report.unseen_mean for row in self.rows]
        if any(means):
            head.insert(-1, "mean of others")
            for line, mean in zip(lines, means, strict=True):
                line.insert(-1, _figures(mean) if mean else "")
        note = (
            "Rank-1 (mAP). * a set that the model was trained on (other people of it), "
            f"{KNOWN_PEOPLE}: on these very people, so there is no figure."
        )
        return f"{tabulate(lines, head, 'pipe', disable_numparse=True)}\n{note}"

    def _cell(self, row: Row, name: str) -> str:
        if name not in row.report.figures:
            return KNOWN_PEOPLE
        seen = row.trained and name not in row.report.unseen
        return _figures(row.report.figures[name]) + (" *" if seen else "")

    def plain(self) -> dict[str, Any]:
        """All of it as plain values, with every figure."""
        rows = [
            {
                "weights": row.weights,
                "trained_on": row.trained,
                "combineall": row.combined,
                "figures": row.report.figures,
                "unseen": row.report.unseen,
                "unseen_mean": row.report.unseen_mean,
            }
            for row in self.rows
        ]
        return {"tests": self.tests, "rows": rows}


def cross_domain(
    weights: Sequence[str | Path],
    path: str | Path | Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
) -> CrossDomain:
    """Test each of the checkpoints `weights` on DATASETS.TESTS; writes cross_domain.json.

    Without TESTS it is all sets that they were trained on. Every checkpoint is tested as its own
    config says, under the files `path` and the ``KEY VALUE`` pairs `overrides`, which count for
    all. The file goes to OUTPUT_DIR, else to output_dir. Raises ValueError for no checkpoint, or
    sets of which nobody says which; else what `evaluate` raises.
    """
    logbook.set_up_logging()
    if not weights:
        raise ValueError("There is no model: name one checkpoint or more.")
    typed = [[*overrides, "MODEL.WEIGHTS", str(file)] for file in weights]
    given = [get_config((), words, fragment=path) for words in typed]
    trained = [trained_on(str(file)) for file in weights]
    told = [name for own in trained for name in own.get("NAMES", [])]
    asked = given[0].DATASETS.TESTS if path or "DATASETS.TESTS" in overrides else []
    tests = list(dict.fromkeys(asked or told))
    if not tests:
        raise ValueError("The checkpoints tell no dataset; name test sets in DATASETS.TESTS.")
    found = CrossDomain(tests)
    with writing_into(Path(given[0].OUTPUT_DIR or "output_dir")) as folder:
        for file, cfg, own in zip(weights, given, trained, strict=True):
            known = known_people(own, tests) if own else []
            report = _tested(cfg, [name for name in tests if name not in known])
            report.unseen = of_other_sets(report.figures, own["NAMES"]) if own else []
            combined = bool(own.get("COMBINEALL"))
            found.rows.append(Row(str(file), own.get("NAMES", []), combined, report))
        write_json(folder / "cross_domain.json", found.plain())
    file = folder / "cross_domain.json"
    LOGGER.info("Models (rows) on test sets\n%s\nWritten: %s", found, file)
    return found


def _figures(row: dict[str, float]) -> str:
    return f"{row['Rank-1']:.1f} ({row['mAP']:.1f})"


def _tested(cfg: Any, tests: list[str]) -> Report:
    """The figures of MODEL.WEIGHTS on the `tests`, of which there may be none."""
    if not tests:
        return Report()
    cfg = configs.changed(cfg, {"DATASETS.TESTS": tests})
    device = seeded_device(cfg)
    model = ready(cfg, None, device)
    sets = build.test_sets(cfg, test_splits(cfg), device)
    return assess.report_on(cfg, model, sets, build.amp_dtype(cfg, device), final=True)
