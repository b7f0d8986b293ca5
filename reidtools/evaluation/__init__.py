"""Vectors in, rankings and figures out."""

from reidtools.evaluation.ranking import Ranking, rank
from reidtools.evaluation.report import Report
from reidtools.evaluation.vectors import Vectors, embed

__all__ = ["Ranking", "Report", "Vectors", "embed", "rank"]
