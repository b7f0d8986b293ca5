"""The label of the most similar gallery picture, for every query picture."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yacs.config import CfgNode

from reidtools.api.pictures import Pictures, model_of, named, query_and_gallery, vectors_of
from reidtools.data.datasets.listing import find_pictures
from reidtools.engine import logbook
from reidtools.files import write_csv, writing_into
from reidtools.modeling import Embedder
from reidtools.retrieval import search
from reidtools.retrieval.labelled import labelled_pictures

LOGGER = logging.getLogger("reidtools")


class Prediction(NamedTuple):
    """A `query` picture and the `label` of a gallery `picture`; their cosine `similarity`."""

    query: str
    label: str
    similarity: float
    picture: str

    def __str__(self) -> str:
        return f"{self.query}: {self.label} ({self.similarity:.4f}, {self.picture})"


class Predictions(NamedTuple):
    """What `predict` found, query by query, best first, and the CSV `file` that says so."""

    rows: list[Prediction]
    file: Path

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))


def predict(
    cfg: CfgNode,
    query: str | Path,
    gallery: str | Path,
    *,
    output: str | Path = "",
    topk: int = 1,
    in_subfolders: bool = False,
    strict: bool = False,
) -> Predictions:
    """Say for each picture of `query` which label of the `gallery` fits best, by MODEL.WEIGHTS.

    `query` is a picture or a folder; `gallery` is a folder of pictures whose names or sub folders
    are labels, or a CSV file with columns picture and label (see `labelled_pictures`). Every query
    gets the labels of its `topk` (0: all) most similar pictures. Writes `output`, else
    predictions.csv in OUTPUT_DIR, else in output_dir: ``query,label,similarity,picture``, whole or
    not at all. A file that is no picture is told and left out, or with `strict` an OSError.
    """
    logbook.set_up_logging()
    file = Path(output or Path(cfg.OUTPUT_DIR or "output_dir") / "predictions.csv").expanduser()
    if file.is_dir():
        raise ValueError(f"The output {file} is a folder; name a file in it, such as p.csv.")
    if topk < 0:
        raise ValueError(f"topk {topk} is a number of pictures; give 1 or more, or 0 for all.")
    asked, labels = find_pictures(query, in_subfolders), labelled_pictures(gallery, in_subfolders)
    model = model_of(cfg)
    with writing_into(file.parent, "--output" if output else "OUTPUT_DIR"):
        sides = query_and_gallery(cfg, model, asked, [*labels], strict)
        hits = search(*(side.vectors.numpy() for side in sides), topk)
        queries, pictures = (side.paths for side in sides)
        rows = [
            Prediction(name, labels[pictures[place]], 1 - float(distance), pictures[place])
            for name, *found in zip(queries, *hits, strict=True)
            for place, distance in zip(*found, strict=True)
        ]
        lines = [(*row[:2], f"{row.similarity:.6f}", row.picture) for row in rows]
        write_csv(file, [Prediction._fields, *lines])
    LOGGER.info("Written: %s, %d queries, %d gallery pictures", file, len(queries), len(pictures))
    return Predictions(rows, file)


def predict_labels(
    model: Embedder, queries: Pictures, gallery: Pictures, labels: Sequence[str]
) -> list[str]:
    """For each of `queries` the one of `labels` (G,) whose `gallery` picture is most similar.

    `model` comes from `load`; `queries` and `gallery` are what `embed` takes: files or uint8 RGB
    arrays (H, W, 3), one or several, or a folder. Of equally similar pictures the first counts.
    Raises ValueError unless every gallery picture has its label, and as `embed` does.
    """
    sides = [named(queries), named(gallery)]
    if len(labels) != len(sides[1][0]):
        raise ValueError(
            f"{len(sides[1][0])} gallery pictures have {len(labels)} labels; give each its own."
        )
    if not (sides[0][0] and sides[1][0]):
        raise ValueError("There are no pictures in the queries or the gallery; give some of both.")
    vectors = [
        vectors_of(model.config, model, samples, True, side, arrays).vectors.numpy()
        for (samples, arrays), side in zip(sides, ("query", "gallery"), strict=True)
    ]
    return [labels[place] for place in search(*vectors, topk=1).indices[:, 0]]
