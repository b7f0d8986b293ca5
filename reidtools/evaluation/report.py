"""Rankings as a table."""

from dataclasses import dataclass, field

from reidtools.evaluation.ranking import Ranking

RANKS = (1, 5, 10, 20, 50)


@dataclass
class Report:
    """Figures of one or several test sets, in percent: ``report.figures["market1501"]["mAP"]``."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, dataset: str, ranking: Ranking) -> dict[str, float]:
        """Add a test set; returns its figures. A rank beyond the gallery counts as its last."""
        cmc = ranking.cmc
        row = {f"Rank-{k}": 100 * cmc[min(k, len(cmc)) - 1].item() for k in RANKS}
        row |= {"mAP": 100 * ranking.mAP, "mINP": 100 * ranking.mINP}
        self.figures[dataset] = row | {"valid queries": ranking.num_valid}
        return self.figures[dataset]

    @property
    def mAP(self) -> float:
        """Mean over the test sets, in percent: what the best checkpoint is chosen by."""
        return sum(row["mAP"] for row in self.figures.values()) / len(self.figures)

    def __str__(self) -> str:
        from tabulate import tabulate

        head = ["Dataset", *next(iter(self.figures.values()))]
        rows = [[name, *row.values()] for name, row in self.figures.items()]
        return tabulate(rows, head, "pipe", floatfmt=".2f")
