"""Rankings as tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from reidtools.evaluation.ranking import Ranking
from reidtools.evaluation.vectors import Vectors
from reidtools.evaluation.verification import Verification

RANKS = (1, 5, 10, 20, 50)
RESULTS = ("Rank-1", "Rank-5", "mAP")
CENTROIDS = "Centroid gallery, made with ground-truth ids: not comparable with the other figures"
COUNT, TRAINED = "valid queries", "trained on"
Rows = dict[str, dict[str, float]]
Table = Mapping[str, Mapping[str, float | str | None]]


@dataclass
class Report:
    """Figures of one or several test sets: ``report.figures["market1501"]["mAP"]``, in percent.

    `figures` are always those of the plain protocol. What was measured otherwise (re-ranked, with
    a centroid gallery, as verification …) is in `others`, by title, and has tables of its own, so
    that no column mixes what cannot be compared. `cmc` and `verifications` hold what curves are
    drawn from, `ranked` (query, gallery, ranking) of each set where nearest pictures were asked
    for, `resolutions` those of query and gallery of each set, such as ``LR(x4) - HR``. `unseen`
    are the test sets that the model was not trained on, where that is known: the first table then
    says of each whether it was, and ends with the mean over two or more of them.
    """

    figures: Rows = field(default_factory=dict)
    others: dict[str, Rows] = field(default_factory=dict)
    cmc: dict[str, Tensor] = field(default_factory=dict)
    ranked: dict[str, tuple[Vectors, Vectors, Ranking]] = field(default_factory=dict)
    verifications: dict[str, Verification] = field(default_factory=dict)
    resolutions: dict[str, str] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)

    def add(
        self, dataset: str, ranking: Ranking, title: str = "", *, only_cmc: bool = False
    ) -> dict[str, float]:
        """Add the ranking of a test set; returns its figures.

        A rank beyond the gallery counts as its last. A `title` says what is not plain about it;
        with `only_cmc` that is about the ranks alone, so mAP and mINP are left out.
        """
        cmc = ranking.cmc
        row = {f"Rank-{k}": 100 * cmc[min(k, len(cmc)) - 1].item() for k in RANKS}
        if not only_cmc:
            row |= {"mAP": 100 * ranking.mAP, "mINP": 100 * ranking.mINP}
        row |= {COUNT: ranking.num_valid}
        if not title:
            self.cmc[dataset] = cmc
        return self.add_row(dataset, row, title)

    def add_row(self, dataset: str, row: dict[str, float], title: str = "") -> dict[str, float]:
        """Add figures of another kind under a `title`; returns them."""
        (self.others.setdefault(title, {}) if title else self.figures)[dataset] = row
        return row

    def add_verification(self, dataset: str, verification: Verification) -> dict[str, float]:
        """Add how well pairs of a test set are told apart; returns the figures."""
        self.verifications[dataset] = verification
        return self.add_row(dataset, verification.figures(), "Verification")

    @property
    def mAP(self) -> float:
        """Mean of the plain mAP over the test sets: what the best checkpoint is chosen by.

        Over all of them, those trained on and those not: who wants it of the latter alone names
        them alone in DATASETS.TESTS.
        """
        return sum(row["mAP"] for row in self.figures.values()) / len(self.figures)

    @property
    def unseen_mean(self) -> dict[str, float]:
        """Means of the plain figures over `unseen` sets; of fewer than two there are none."""
        rows = [self.figures[name] for name in self.unseen if name in self.figures]
        if len(rows) < 2:
            return {}
        keys = [key for key in rows[0] if key != COUNT]
        return {key: sum(row[key] for row in rows) / len(rows) for key in keys}

    @property
    def notes(self) -> list[str]:
        """What one must know to read the first table."""
        return [
            f"Figures of {name} are of query and gallery at {pair}."
            for name, pair in self.resolutions.items()
            if pair != "HR - HR"
        ]

    def __str__(self) -> str:
        tables = [_table(self._with_trained())]
        tables += [f"{title}\n{_table(rows)}" for title, rows in self.others.items()]
        return "\n".join([*self.notes, "\n\n".join(tables)])

    def _with_trained(self) -> Table:
        """The rows of the first table: as the last column, whether a set was trained on."""
        if not self.unseen:
            return self.figures
        rows: dict[str, Mapping[str, float | str | None]] = {
            name: {**row, TRAINED: "no" if name in self.unseen else "yes"}
            for name, row in self.figures.items()
        }
        if mean := self.unseen_mean:
            rows[f"mean of {len(self.unseen)} not trained on"] = {**mean, COUNT: None}
        return rows

    def blocks(self) -> str:
        """Rank-k and mAP as centroids-reid and SNU_ReID print them, for what reads their output."""
        rows = {"Test baseline": self.figures, "Test CTL (oracle ids)": self.others.get(CENTROIDS)}
        lines = []
        for title, sets in rows.items():
            for dataset, row in (sets or {}).items():
                lines += [f"{title}: {dataset}"]
                lines += [f"top-k, Rank-{k:<3}:{row[f'Rank-{k}']:.1f}%" for k in RANKS]
                lines += [f"mAP: {row['mAP'] / 100:.5f}"]
        return "\n".join(lines)

    def test_results(self) -> str:
        """Rank-1, Rank-5 and mAP as CLIP-ReID prints them; of several test sets under their names.

        They are those of the plain protocol, the first table: ``Test Results - Rank-1: 95.22%``.
        """
        lines = []
        for dataset, row in self.figures.items():
            lines += [dataset] if len(self.figures) > 1 else []
            lines += [f"Test Results - {key}: {row[key]:.2f}%" for key in RESULTS]
        return "\n".join(lines)


def _table(rows: Table) -> str:
    from tabulate import tabulate

    head = ["Dataset", *next(iter(rows.values()))]
    return tabulate(
        [[name, *row.values()] for name, row in rows.items()], head, "pipe", floatfmt=".2f"
    )
