"""Vectors and names in files and galleries, the nearest of them, and what was found."""

from reidtools.retrieval.embeddings import check_about, read_embeddings, write_embeddings
from reidtools.retrieval.gallery import Gallery
from reidtools.retrieval.matlab import read_matlab, write_matlab
from reidtools.retrieval.people import (
    camera_of,
    is_person,
    means,
    numbers,
    person_of,
    same_person,
    tidy,
)
from reidtools.retrieval.results import Accuracy, accuracy, write_csv, write_results
from reidtools.retrieval.search import Hits, fused, search

__all__ = [
    "Accuracy",
    "Gallery",
    "Hits",
    "accuracy",
    "camera_of",
    "check_about",
    "fused",
    "is_person",
    "means",
    "numbers",
    "person_of",
    "read_embeddings",
    "read_matlab",
    "same_person",
    "search",
    "tidy",
    "write_csv",
    "write_embeddings",
    "write_matlab",
    "write_results",
]
