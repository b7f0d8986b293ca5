"""Questions to a gallery: who is nearest, what is shown of it, who that is."""

import glob
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from yacs.config import CfgNode

from reidtools.api.galleries import gallery_config
from reidtools.api.pictures import (
    Pictures,
    found_in,
    model_of,
    named,
    strangers,
    vectors_of,
    writing,
)
from reidtools.api.sources import about
from reidtools.data.datasets.listing import PICTURES, find_pictures
from reidtools.engine import logbook
from reidtools.evaluation import Vectors
from reidtools.evaluation.verification import read_calibration
from reidtools.modeling import Embedder
from reidtools.retrieval import (
    Gallery,
    Hits,
    camera_of,
    fused,
    person_of,
    same_person,
    write_csv,
    write_results,
)
from reidtools.visualize.ranked_lists import write_ranked_lists
from reidtools.visualize.text import camera_and_score

LOGGER = logging.getLogger("reidtools")
UNKNOWN = "unknown"


class Found(NamedTuple):
    """What a gallery answers: for each of `query_paths` its `hits` and their `paths`.

    `people` are the answers where a threshold was given, ``unknown`` beyond it. As text it is a
    paragraph for each query.
    """

    query_paths: list[str]
    hits: Hits
    paths: list[list[str]]
    people: list[str] | None = None

    def __str__(self) -> str:
        lines: list[str] = []
        for place, (query, paths) in enumerate(zip(self.query_paths, self.paths, strict=True)):
            lines += [f"Query image: {query}", f"Top {len(paths)} similar images:"]
            scores = 1 - self.hits.distances[place]
            for rank, (path, score) in enumerate(zip(paths, scores, strict=False), 1):
                lines.append(f"{rank}: {path}, Score: {score:.4f}")
            if self.people is not None:
                lines.append(f"Person: {self.people[place]}")
            lines.append("")
        return "\n".join(lines)


def search(
    gallery: Gallery | str | Path,
    model: Embedder,
    pictures: Pictures,
    topk: int = 10,
    *,
    fuse: bool = False,
    hide_same_camera: bool = False,
    hide_junk: bool = False,
    calibration: str | Path = "",
) -> Found:
    """Find the `topk` (0: all) of `gallery` nearest to each of `pictures`, which `embed` takes.

    With `fuse` they are pictures of one person and one query. `hide_same_camera` shows no picture
    of the camera that the query's name tells, `hide_junk` none of pid -1. `calibration`, a file
    that `calibrate` wrote for this model, says how near the person must be to be named. Raises
    ValueError for a model that did not make the gallery, and where a query's camera is not known.
    """
    gallery = gallery if isinstance(gallery, Gallery) else Gallery.open(gallery)
    told = about(model.config, model)
    gallery.check_model(model.dim, told)
    threshold = threshold_of(calibration, told) if calibration else None
    samples, arrays = named(pictures)
    query = vectors_of(model.config, model, samples, True, "query", arrays)
    return ask(gallery, query, topk, fuse, hide_same_camera, hide_junk, threshold)


def search_gallery(
    cfg: CfgNode | None,
    folder: str | Path,
    queries: Sequence[str | Path],
    topk: int = 5,
    *,
    fuse: bool = False,
    hide_same_camera: bool = False,
    hide_junk: bool = False,
    calibration: str | Path = "",
    picture: bool = False,
    strict: bool = False,
    tracklets: bool = False,
) -> Found:
    """Find the `topk` nearest in the gallery `folder` to `queries`: pictures, folders, patterns.

    With `tracklets` queries are folders, and each that holds pictures is one query.

    Without a `cfg` the gallery's own counts. Writes result.csv (the nearest, and the person),
    results.json and results.npy (all hits) into OUTPUT_DIR, else output_dir; with `picture` a strip
    for each query into ranked/ there. Other options: see `search`.
    """
    logbook.set_up_logging()
    cfg = gallery_config(folder) if cfg is None else cfg
    asked = (
        [sample for query in queries for sample in found_in(query, tracklets=True)]
        if tracklets
        else [strangers(path) for path in expand_queries(queries)]
    )
    gallery = Gallery.open(folder)
    if hide_same_camera:
        _cameras([sample.paths[0] for sample in asked])
    model = model_of(cfg)
    told = about(cfg, model)
    gallery.check_model(model.dim, told)
    threshold = threshold_of(calibration, told) if calibration else None
    with writing(cfg) as home:
        query = vectors_of(cfg, model, asked, strict, "query")
        found = ask(gallery, query, topk, fuse, hide_same_camera, hide_junk, threshold)
        files = write_found(home, found, gallery, query.paths, picture)
    LOGGER.info("Written: %s", ", ".join(map(str, files)))
    return found


def write_found(
    home: Path, found: Found, gallery: Gallery, query_paths: Sequence[str], picture: bool
) -> list[Path]:
    """Write the files of a search into `home`; `query_paths` are pictures to be drawn."""
    everyone, hits = gallery.paths, found.hits
    rows = hits.indices[:, 0]
    people = found.people or [gallery.person(row) if row >= 0 else "" for row in rows.tolist()]
    if len(found.query_paths) < len(query_paths):  # fused: all of their names
        called = [" + ".join(Path(path).name for path in query_paths)]
    else:
        called = found.query_paths
    write_csv(home / "result.csv", called, everyone, hits, people=people)
    files = [home / "result.csv", *write_results(home, found.query_paths, everyone, hits)]
    if not picture:
        return files
    try:
        return files + _draw(home / "ranked", found, gallery, query_paths)
    except OSError as error:  # what was found is worth more than its picture
        LOGGER.warning(
            "No strips could be drawn (%s); paths are kept as they were typed, so search from the "
            "folder in which the gallery was built.",
            error,
        )
        return files


def _draw(folder: Path, found: Found, gallery: Gallery, query_paths: Sequence[str]) -> list[Path]:
    """Draw a strip for each query, with cameras and scores; of a fused query the first picture."""
    hits, drawn = found.hits, query_paths[: len(found.query_paths)]
    names = [_person(path, gallery) for path in drawn]
    right = np.full(hits.indices.shape, None, dtype=object)
    captions = []
    for place, (name, own) in enumerate(zip(names, hits.indices.tolist(), strict=True)):
        texts = [camera_and_score(camera_of(drawn[place]))]
        for rank, row in enumerate(own):
            person = gallery.person(row) if row >= 0 else ""
            if name and person:
                right[place, rank] = same_person(name, person)
            score = 1 - hits.distances[place, rank]
            texts.append(camera_and_score(gallery.camids[row], score, 4) if row >= 0 else "")
        captions.append(texts)
    return write_ranked_lists(drawn, gallery.paths, hits.indices, right, folder, captions=captions)


def ask(
    gallery: Gallery,
    query: Vectors,
    topk: int,
    fuse: bool = False,
    hide_same_camera: bool = False,
    hide_junk: bool = False,
    threshold: float | None = None,
) -> Found:
    """What `gallery` answers to `query`; options as `search` has them."""
    paths, vectors = query.paths, query.vectors.numpy()
    cameras = _cameras(paths) if hide_same_camera else None
    if fuse:
        vectors, paths = fused(vectors), [" + ".join(paths)]
        cameras = [{camera for own in cameras for camera in own}] if cameras else None
    hits = gallery.search(vectors, topk, hide_cameras=cameras, hide_junk=hide_junk)
    shown = [[gallery.path(row) for row in own if row >= 0] for own in hits.indices.tolist()]
    people = None
    if threshold is not None:
        people = [
            gallery.person(row) or UNKNOWN if far <= threshold else UNKNOWN
            for row, far in zip(hits.indices[:, 0].tolist(), hits.distances[:, 0], strict=True)
        ]
    return Found(paths, hits, shown, people)


def threshold_of(path: str | Path, told: dict[str, Any]) -> float:
    """The largest cosine distance at which the calibration in `path` means the same person.

    Raises ValueError where it is of another model than the one that `told` is about, or of a
    distance that does not follow from the cosine.
    """
    found = read_calibration(path)
    for key in ("fingerprint", "size", "flip"):
        if found.get(key) and found[key] != told[key]:
            raise ValueError(
                f"The threshold in {path} is of {found.get('weights', 'another model')} ({key} "
                f"{found[key]!s:.12}), the gallery of {told['weights']} ({told[key]!s:.12}); "
                "calibrate that model."
            )
    if found["metric"] == "cosine":
        return found["threshold"]
    if found["metric"] == "arccos":
        return 1 - float(np.cos(found["threshold"]))
    raise ValueError(
        f"The threshold in {path} is a {found['metric']} distance, and a gallery compares by "
        "cosine; calibrate with TEST.METRIC cosine."
    )


def expand_queries(queries: Sequence[str | Path]) -> list[Path]:
    """The pictures that `queries` name, each once: files, folders, and patterns such as q/*.jpg."""
    found: list[Path] = []
    for query in map(str, queries):
        if Path(query).exists() or not glob.has_magic(query):
            found += find_pictures(query)
            continue
        names = sorted(glob.glob(query, recursive=True))  # noqa: PTH207  (relative or absolute)
        own = [Path(name) for name in names if Path(name).suffix.lower() in PICTURES]
        if not own:
            raise FileNotFoundError(f"No picture is called {query}; check the pattern.")
        found += own
    if not found:
        raise ValueError("There is no query; name a picture, a folder or a pattern.")
    return list(dict.fromkeys(found))


def _cameras(paths: Sequence[str | Path]) -> list[set[int]]:
    """The camera of each query; one that is not known is a ValueError."""
    cameras = [{camera_of(path)} for path in paths]
    if {-1} in cameras:
        raise ValueError(
            f"The name of {paths[cameras.index({-1})]} tells no camera, so its hits cannot be "
            "hidden; name queries like 0843_c1s4_054211_00.jpg, or do not hide the same camera."
        )
    return cameras


def _person(path: str, gallery: Gallery) -> str:
    """Who a query shows, as its name or its folder tells."""
    name, folder = person_of(path), Path(path).parent.name
    return name or (folder if folder in gallery.names.values() else "")
