"""Vectors and names in files, the nearest of them, and what was found, in files again."""

from reidtools.retrieval.embeddings import read_embeddings, write_embeddings
from reidtools.retrieval.people import camera_of, means, numbers, person_of, same_person
from reidtools.retrieval.results import Accuracy, accuracy, write_csv, write_results
from reidtools.retrieval.search import Hits, search

__all__ = [
    "Accuracy",
    "Hits",
    "accuracy",
    "camera_of",
    "means",
    "numbers",
    "person_of",
    "read_embeddings",
    "same_person",
    "search",
    "write_csv",
    "write_embeddings",
    "write_results",
]
