"""Vectors in, rankings and figures out."""

from reidtools.evaluation.centroids import rank_centroids
from reidtools.evaluation.expansion import centralize, expand
from reidtools.evaluation.fusion import fuse_generated
from reidtools.evaluation.ranking import Ranking, rank
from reidtools.evaluation.report import Report
from reidtools.evaluation.reranking import rerank
from reidtools.evaluation.vectors import Vectors, embed
from reidtools.evaluation.verification import Verification, verify

__all__ = [
    "Ranking",
    "Report",
    "Vectors",
    "Verification",
    "centralize",
    "embed",
    "expand",
    "fuse_generated",
    "rank",
    "rank_centroids",
    "rerank",
    "verify",
]
