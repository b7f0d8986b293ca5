"""Vectors and names in files, the nearest of them, and what was found, in files again."""

from reidtools.retrieval.embeddings import check_about, read_embeddings, write_embeddings
from reidtools.retrieval.people import camera_of, is_person, means, numbers, person_of, tidy
from reidtools.retrieval.results import Accuracy, accuracy, write_csv, write_results
from reidtools.retrieval.search import Hits, search

__all__ = [
    "Accuracy",
    "Hits",
    "accuracy",
    "camera_of",
    "check_about",
    "is_person",
    "means",
    "numbers",
    "person_of",
    "read_embeddings",
    "search",
    "tidy",
    "write_csv",
    "write_embeddings",
    "write_results",
]
