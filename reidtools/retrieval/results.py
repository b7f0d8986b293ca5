"""What a search found, as files: every hit for programs, the best one for people."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from reidtools import files
from reidtools.files import make_folder, write_whole
from reidtools.retrieval.people import is_person, person_of, same_person, tidy
from reidtools.retrieval.search import Hits

COLUMNS = ("query filename", "predicted class", "predicted path", "distance")


def write_results(
    folder: str | Path,
    query_paths: Sequence[str | Path],
    gallery_paths: Sequence[str | Path],
    hits: Hits,
) -> list[Path]:
    """Write all `hits` into results.npy and results.json in `folder`; the two files.

    Both map the path of each query to its hits, nearest first: ``indices`` into `gallery_paths`,
    their ``paths`` and cosine ``distances``. results.npy is a pickled dict of arrays (k,), read by
    ``numpy.load(path, allow_pickle=True).item()``; results.json has lists, distances with 7
    decimals, and a line for each query. Raises ValueError where hits and paths do not belong
    together, or two queries have one path.
    """
    queries, gallery = _checked(query_paths, gallery_paths, hits)
    if len(set(queries)) < len(queries):
        double = next(path for place, path in enumerate(queries) if path in queries[:place])
        raise ValueError(f"The query {double} is given twice; name every query once.")
    made = make_folder(Path(folder))
    files = [made / "results.npy", made / "results.json"]

    def found() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for query, indices, distances in zip(queries, *hits, strict=True):
            there = indices >= 0
            indices, distances = indices[there], distances[there]
            # As objects, every path is in memory once, however often it was found.
            yield query, {"indices": indices, "paths": gallery[indices], "distances": distances}

    def write_npy(file: BinaryIO) -> None:
        np.save(file, np.array(dict(found()), dtype=object), allow_pickle=True)

    def write_json(file: BinaryIO) -> None:
        bar = tqdm(
            found(), "Writing results.json", len(queries), leave=False, disable=None, delay=2
        )
        for place, (query, own) in enumerate(bar):
            lists = {name: values.tolist() for name, values in own.items()}
            lists["distances"] = np.round(own["distances"].astype(float), 7).tolist()
            line = f"{json.dumps(query)}: {json.dumps(lists)}"
            file.write(f"{',' if place else '{'}\n{line}".encode())
        file.write(b"\n}\n")

    write_whole(files[0], write_npy)
    write_whole(files[1], write_json)
    return files


def write_csv(
    path: str | Path,
    query_paths: Sequence[str | Path],
    gallery_paths: Sequence[str | Path],
    hits: Hits,
    root: str | Path | None = None,
    people: Sequence[str] | None = None,
) -> None:
    """Write a line for each query into the CSV file `path`: its name and its nearest picture.

    The predicted class is the person of that picture, as `person_of` tells from its name or its
    folder in `root`: a whole number without leading zeros, a name, or nothing; or what `people`
    (Q,) say instead. Distances are 1 - cosine. A query without hits has only its name and class.
    Names are those of the files, or their paths where several files of a side are called alike.
    """
    queries, gallery = _checked(query_paths, gallery_paths, hits)
    query_name, gallery_name = (
        (lambda path: Path(path).name) if _called_apart(paths) else str
        for paths in (queries, gallery)
    )
    rows = [COLUMNS]
    for place, (query, indices, distances) in enumerate(zip(queries, *hits, strict=True)):
        best = gallery[indices[0]] if indices[0] >= 0 else ""
        person = people[place] if people is not None else tidy(person_of(best, root))
        far = f"{distances[0]:.6f}" if best else ""
        rows.append((query_name(query), person, gallery_name(best), far))
    make_folder(Path(path).parent)
    files.write_csv(Path(path), rows)


def _called_apart(paths: Sequence[str]) -> bool:
    """Whether no two files have one name."""
    return len({os.path.basename(path) for path in paths}) == len(paths)  # noqa: PTH119 - quicker


def _checked(
    query_paths: Sequence[str | Path], gallery_paths: Sequence[str | Path], hits: Hits
) -> tuple[list[str], np.ndarray]:
    """The paths of the queries and, as an array of objects, of the gallery, if `hits` fit them."""
    queries, gallery = [str(path) for path in query_paths], [str(path) for path in gallery_paths]
    shape, numbers = hits.indices.shape, hits.indices
    fits = len(shape) == 2 and shape == hits.distances.shape and shape[0] == len(queries)
    if fits and numbers.size:
        nothing = (numbers == -1) & np.isinf(hits.distances)
        fits = bool((((numbers >= 0) & (numbers < len(gallery))) | nothing).all())
    if not (fits and numbers.size):
        raise ValueError(
            f"Hits {shape} do not belong to {len(queries)} queries and {len(gallery)} gallery "
            "pictures; give the paths of the vectors that were searched, in their order."
        )
    return queries, np.array(gallery, dtype=object)


class Accuracy(NamedTuple):
    """How many of `total` queries found their person; as text ``Accuracy: 0.5000 ( 1 / 2 )``."""

    correct: int
    total: int

    @property
    def ratio(self) -> float:
        """From 0 to 1; NaN of no queries."""
        return self.correct / self.total if self.total else float("nan")

    def __str__(self) -> str:
        return f"Accuracy: {self.ratio:.4f} ( {self.correct} / {self.total} )"


def accuracy(query_names: Sequence[str], hit_names: Sequence[str]) -> Accuracy | None:
    """How many queries have the person of their nearest picture, both as `person_of` tells them.

    `query_names` (Q,) and `hit_names` (Q,). Queries of nobody known, or junk, are left out; None if
    no query or no hit tells a person, so that there is nothing to compare.
    """
    if len(query_names) != len(hit_names):
        raise ValueError(
            f"{len(query_names)} queries and {len(hit_names)} hits; give each query its nearest."
        )
    if not any(map(is_person, hit_names)):
        return None
    right = [
        same_person(query, hit)
        for query, hit in zip(query_names, hit_names, strict=True)
        if is_person(query)
    ]
    return Accuracy(sum(right), len(right)) if right else None
