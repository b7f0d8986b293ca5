"""Where the vectors of a gallery come from: pictures, datasets, embeddings, the seed's index."""

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from reidtools import build
from reidtools.api.pictures import found_in, vectors_of
from reidtools.config import load as configs
from reidtools.evaluation import Vectors
from reidtools.evaluation.features import fingerprint
from reidtools.modeling import Embedder
from reidtools.registry import DATASETS
from reidtools.retrieval import camera_of, check_about, person_of, read_embeddings, read_matlab
from reidtools.retrieval.embeddings import NAMES
from reidtools.retrieval.model import check_same
from reidtools.retrieval.people import JUNK, WHOLE, is_person, tidy

LOGGER = logging.getLogger("reidtools")
FIRST_NAMED = 1 << 40  # pids of people whose names are no numbers: no number of a file is as large
SAME = 0.999  # cosine of two vectors of one picture by one model, on whatever device


def reader_of(
    cfg: CfgNode,
    source: str | Path,
    in_subfolders: bool,
    strict: bool,
    names: dict[int, str],
    tracklets: bool = False,
) -> Callable[[Embedder], Vectors]:
    """A function from a model to the vectors of `source`; what is not there is told at once.

    With `tracklets` each folder of pictures is one vector; what a dataset or a file has is as it
    is. `names` gets the people whose names are
    no numbers: pid -> name.
    """
    path = Path(source)
    if path.suffix.lower() == ".mat":
        return partial(_indexed, cfg, path, read_matlab(path)[1:])
    if (path / NAMES[0]).is_file():
        return lambda model: with_people(_kept(cfg, model, path), None, names)
    if not path.exists():
        known = str(source).partition("@")[0] in DATASETS
        if known or (Path(cfg.DATASETS.ROOT).expanduser() / path).is_dir():
            samples = build.splits(cfg, str(source)).gallery
            if not samples:
                raise ValueError(
                    f"The dataset {source} has no gallery pictures; name a folder of pictures."
                )
            return lambda model: vectors_of(cfg, model, samples, strict)
    found = found_in(source, in_subfolders, tracklets)
    return lambda model: with_people(vectors_of(cfg, model, found, strict), source, names)


def about(cfg: CfgNode, model: Embedder) -> dict[str, Any]:
    """What the vectors of `model` depend on, and the config that makes them again."""
    parts = {"backbone": "BACKBONE", "head": "HEADS", "temporal": "TEMPORAL"}
    nodes = {name: cfg.MODEL[key] for name, key in parts.items()}
    settings = {
        name: {key: value for key, value in node.items() if not key.startswith("PRETRAIN")}
        for name, node in nodes.items()
    }
    pixels = [list(cfg.INPUT.PIXEL_MEAN), list(cfg.INPUT.PIXEL_STD)]
    if cfg.INPUT.INTERPOLATION != "area":  # older galleries do not tell it, and are of areas
        pixels.append(cfg.INPUT.INTERPOLATION)
    return {
        "weights": str(Path(cfg.MODEL.WEIGHTS).absolute()) if cfg.MODEL.WEIGHTS else "",
        "fingerprint": fingerprint(model),
        "size": list(build.size_test(cfg)),
        "flip": cfg.TEST.FLIP,
        "pixels": pixels,
        **json.loads(json.dumps(settings)),  # as it is read again, without tuples
        "config": configs.dump(cfg),
    }


def check_index(
    cfg: CfgNode, model: Embedder, path: Path, gallery: Vectors, told: dict[str, Any] | None
) -> None:
    """Raise ValueError unless `model` makes vectors like those of the `gallery` in index `path`."""
    ours = gallery.vectors.shape[1], told or {}
    check_same(f"The index {path}", ours, (model.dim, about(cfg, model)))
    if told is None:
        LOGGER.warning(
            "The index %s does not tell its model, so it cannot be checked that it was made with "
            "%s; make it again with --save_index.",
            path,
            cfg.MODEL.WEIGHTS,
        )


def _indexed(
    cfg: CfgNode, path: Path, kept: tuple[Vectors, dict[str, Any] | None], model: Embedder
) -> Vectors:
    check_index(cfg, model, path, *kept)
    return kept[0]


def _kept(cfg: CfgNode, model: Embedder, folder: Path) -> Vectors:
    """The vectors that `create_embeddings` wrote into `folder`, if `model` makes the same."""
    rows, paths = read_embeddings(folder)
    cure = "use the weights that they were made with, or make the gallery from the pictures"
    if rows.shape[1] != model.dim:
        raise ValueError(
            f"The embeddings in {folder} have {rows.shape[1]} values, {cfg.MODEL.WEIGHTS} makes "
            f"{model.dim}; {cure}."
        )
    unknown = np.full(len(paths), -1)
    vectors = Vectors(rows, unknown, unknown, paths)
    if (folder / NAMES[0]).with_suffix(".json").is_file():
        check_about(folder, about(cfg, model))
        return vectors
    place = next((i for i, path in enumerate(paths) if Path(path).is_file()), None)
    if place is None:
        LOGGER.warning(
            "None of the pictures of %s is there, so it cannot be checked that they were embedded "
            "with %s.",
            folder,
            cfg.MODEL.WEIGHTS,
        )
        return vectors
    own = vectors_of(cfg, model, [paths[place]], strict=True).vectors
    alike = F.cosine_similarity(own, torch.from_numpy(rows[place : place + 1])).item()
    if alike < SAME:
        raise ValueError(
            f"The embedding of {paths[place]} in {folder} is not the one that "
            f"{cfg.MODEL.WEIGHTS} makes (their cosine is {alike:.4f}); {cure}."
        )
    return vectors


def with_people(
    vectors: Vectors,
    root: str | Path | None,
    names: dict[int, str],
    known: Collection[int] = (),
) -> Vectors:
    """`vectors` with the people and cameras that paths tell; `names` gets those without numbers.

    A picture of nobody known shows the person that its folder, or the one above, is called by, if
    that is one of `names` or of the numbers `known`: so the folder of one person alone can be
    added, also one of tracklets.
    """
    found = [tidy(person_of(path, root)) for path in vectors.paths]
    numbers = {name: pid for pid, name in names.items()}
    people = {*numbers, *(str(pid) for pid in known if pid != JUNK)}
    for place, path in enumerate(vectors.paths):
        if not person_of(path):  # by its own name
            above = (tidy(folder.name) for folder in Path(path).absolute().parents[:2])
            found[place] = next((name for name in above if name in people), found[place])
    for name in sorted({name for name in found if is_person(name)}):
        if WHOLE.fullmatch(name) and int(name) < FIRST_NAMED:
            numbers[name] = int(name)
        elif name not in numbers:
            numbers[name] = max([FIRST_NAMED - 1, *names]) + 1
            names[numbers[name]] = name
    pids = [numbers.get(name, JUNK) for name in found]
    return changed(vectors, pids=pids, camids=[camera_of(path) for path in vectors.paths])
