"""Galleries of a model's vectors: build one, add pictures and take them out, with its config."""

import fnmatch
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from reidtools import build
from reidtools.api.pictures import Pictures, model_of, named, vectors_of
from reidtools.api.recipes import get_config, recipe
from reidtools.config import load as configs
from reidtools.data.datasets.listing import find_pictures
from reidtools.engine import logbook
from reidtools.evaluation import Vectors
from reidtools.evaluation.features import fingerprint
from reidtools.modeling import Embedder
from reidtools.registry import DATASETS
from reidtools.retrieval import Gallery, camera_of, person_of, read_embeddings
from reidtools.retrieval.embeddings import NAMES
from reidtools.retrieval.indexes import make
from reidtools.retrieval.people import JUNK, WHOLE, is_person, tidy
from reidtools.retrieval.store import check_free

LOGGER = logging.getLogger("reidtools")
FIRST_NAMED = 1 << 40  # pids of people whose names are no numbers: no number of a file is as large
SAME = 0.999  # cosine of two vectors of one picture by one model, on whatever device


def build_gallery(
    cfg: CfgNode,
    folder: str | Path,
    source: str | Path = "",
    *,
    in_subfolders: bool = False,
    strict: bool = False,
    kind: str = "flat",
    replace: bool = False,
    **options: Any,
) -> Gallery:
    """Build the gallery `folder` with MODEL.WEIGHTS, from `source`, or else DATASETS.ROOT.

    `source` is a picture or a folder of pictures, what `create_embeddings` wrote, or the name of a
    dataset in DATASETS.ROOT, whose gallery is taken. `kind` and `options` are those of
    `retrieval.indexes.make`. Raises ValueError where a gallery is there already, unless it is to be
    `replace`d, and for embeddings of other weights.
    """
    logbook.set_up_logging()
    if not replace:
        check_free(Path(folder))
    make(np.eye(3, dtype=np.float32), kind, **options)  # a wrong option is said at once
    source = source or cfg.DATASETS.ROOT
    kept = (Path(source) / NAMES[0]).is_file()
    from_dataset = not Path(source).exists() and str(source) in DATASETS
    samples = build.splits(cfg, str(source)).gallery if from_dataset else []
    paths = [] if kept or samples else find_pictures(source, in_subfolders)
    model, names = model_of(cfg), dict[int, str]()
    if kept:
        vectors = _kept(cfg, model, source)
        vectors = _with_people(vectors, None, names)
    elif samples:
        known = {sample.paths[0]: sample for sample in samples}
        vectors = vectors_of(cfg, model, list(known), strict)
        pids = [known[path].pid for path in vectors.paths]
        camids = [known[path].camid for path in vectors.paths]
        vectors = Vectors(vectors.vectors, pids, camids, vectors.paths)
    else:
        vectors = _with_people(vectors_of(cfg, model, paths, strict), source, names)
    gallery = Gallery.build(vectors, about(cfg, model), names, kind=kind, **options)
    gallery.save(folder, replace=replace)
    LOGGER.info("Written: the gallery %s: %s", folder, gallery)
    return gallery


def add_to_gallery(
    cfg: CfgNode,
    folder: str | Path,
    source: str | Path,
    *,
    in_subfolders: bool = False,
    strict: bool = False,
) -> Gallery:
    """Embed the picture or the folder of pictures `source` and put them into the gallery `folder`.

    Those whose paths are there already are told and left out. Raises ValueError for weights that
    the gallery was not made with, OSError where another process changes it meanwhile.
    """
    logbook.set_up_logging()
    gallery, found = Gallery.open(folder), find_pictures(source, in_subfolders)
    there = set(gallery.paths)
    paths = [path for path in found if str(path) not in there]
    if len(paths) < len(found):
        LOGGER.warning(
            "%d of %d pictures are in the gallery already and are left out.",
            len(found) - len(paths),
            len(found),
        )
    if not paths:
        return gallery
    model = model_of(cfg)
    gallery.check_model(model.dim, about(cfg, model))
    vectors = vectors_of(cfg, model, paths, strict)
    gallery = Gallery.open(folder)  # embedding may have taken long
    vectors = _with_people(vectors, source, gallery.names)
    gallery.add(vectors, about(cfg, model))
    gallery.save()
    LOGGER.info("Added %d pictures to the gallery %s: %s", len(vectors), folder, gallery)
    return gallery


def remove_from_gallery(folder: str | Path, patterns: Sequence[str | Path]) -> Gallery:
    """Take pictures out of the gallery `folder`: their paths, or patterns such as ``g/0002_*``.

    Raises ValueError, and changes nothing, for one that fits no picture.
    """
    logbook.set_up_logging()
    gallery = Gallery.open(folder)
    paths, goes = gallery.paths, set[str]()
    there = set(paths)
    for pattern in map(str, patterns):
        match = re.compile(fnmatch.translate(pattern)).match
        own = {pattern} if pattern in there else set(filter(match, paths))
        if not own:
            raise ValueError(
                f"No picture of the gallery {folder} is called {pattern}; name them as search does."
            )
        goes |= own
    gallery.remove(goes)
    gallery.save()
    LOGGER.info("Removed %d pictures from the gallery %s: %s", len(goes), folder, gallery)
    return gallery


def index(
    model: Embedder,
    pictures: Pictures,
    folder: str | Path = "",
    *,
    kind: str = "flat",
    replace: bool = False,
    **options: Any,
) -> Gallery:
    """A `Gallery` of `pictures` with a `model` from `load`; kept in `folder`, if there is one.

    `pictures` are what `embed` takes. People and cameras are those that file names, or the folders
    in a folder of pictures, tell. `kind` and `options`: see `retrieval.indexes.make`.
    """
    if folder and not replace:
        check_free(Path(folder))
    names = dict[int, str]()
    paths, arrays = named(pictures)
    vectors = vectors_of(model.config, model, paths, strict=True, arrays=arrays)
    vectors = _with_people(vectors, None, names)
    told = about(model.config, model)
    gallery = Gallery.build(vectors, told, names, kind=kind, **options)
    if folder:
        gallery.save(folder, replace=replace)
    return gallery


def gallery_config(
    folder: str | Path, files: Sequence[str | Path] = (), overrides: Sequence[str] = ()
) -> CfgNode:
    """The config that the gallery `folder` was made with, with `overrides`; or that of `files`.

    MODEL.WEIGHTS among the overrides says where the weights lie now.
    """
    logbook.set_up_logging()
    told = Gallery.open(folder).about
    if files or "config" not in told:
        return get_config(files, overrides)
    own = recipe(told)
    own["MODEL"]["WEIGHTS"] = told["weights"]
    cfg = configs.load("", overrides, own)
    if not Path(cfg.MODEL.WEIGHTS).is_file():
        raise FileNotFoundError(
            f"The weights of the gallery {folder}, {cfg.MODEL.WEIGHTS}, are not there; say with "
            "MODEL.WEIGHTS where they are now."
        )
    return cfg


def about(cfg: CfgNode, model: Embedder) -> dict[str, Any]:
    """What the vectors of `model` depend on, and the config that makes them again."""
    nodes = {"backbone": cfg.MODEL.BACKBONE, "head": cfg.MODEL.HEADS}
    settings = {
        name: {key: value for key, value in node.items() if not key.startswith("PRETRAIN")}
        for name, node in nodes.items()
    }
    pixels = [list(cfg.INPUT.PIXEL_MEAN), list(cfg.INPUT.PIXEL_STD)]
    return {
        "weights": str(Path(cfg.MODEL.WEIGHTS).absolute()) if cfg.MODEL.WEIGHTS else "",
        "fingerprint": fingerprint(model),
        "size": list(build.size_test(cfg)),
        "flip": cfg.TEST.FLIP,
        "pixels": pixels,
        **{name: json.dumps(node, sort_keys=True) for name, node in settings.items()},
        "config": configs.dump(cfg),
    }


def _kept(cfg: CfgNode, model: Embedder, folder: str | Path) -> Vectors:
    """The vectors that `create_embeddings` wrote into `folder`, if `model` makes the same."""
    rows, paths = read_embeddings(folder)
    cure = "use the weights that they were made with, or make the gallery from the pictures"
    if rows.shape[1] != model.dim:
        raise ValueError(
            f"The embeddings in {folder} have {rows.shape[1]} values, {cfg.MODEL.WEIGHTS} makes "
            f"{model.dim}; {cure}."
        )
    place = next((i for i, path in enumerate(paths) if Path(path).is_file()), None)
    if place is None:
        LOGGER.warning(
            "None of the pictures of %s is there, so it cannot be checked that they were embedded "
            "with %s.",
            folder,
            cfg.MODEL.WEIGHTS,
        )
    else:
        own = vectors_of(cfg, model, [paths[place]], strict=True).vectors
        alike = F.cosine_similarity(own, torch.from_numpy(rows[place : place + 1])).item()
        if alike < SAME:
            raise ValueError(
                f"The embedding of {paths[place]} in {folder} is not the one that "
                f"{cfg.MODEL.WEIGHTS} makes (their cosine is {alike:.4f}); {cure}."
            )
    unknown = np.full(len(paths), -1)
    return Vectors(rows, unknown, unknown, paths)


def _with_people(vectors: Vectors, root: str | Path | None, names: dict[int, str]) -> Vectors:
    """`vectors` with the people and cameras that paths tell; `names` gets those without numbers."""
    found = [tidy(person_of(path, root)) for path in vectors.paths]
    numbers = {name: pid for pid, name in names.items()}
    for name in sorted({name for name in found if is_person(name)}):
        if WHOLE.fullmatch(name) and int(name) < FIRST_NAMED:
            numbers[name] = int(name)
        elif name not in numbers:
            numbers[name] = max([FIRST_NAMED - 1, *names]) + 1
            names[numbers[name]] = name
    pids = [numbers.get(name, JUNK) for name in found]
    return changed(vectors, pids=pids, camids=[camera_of(path) for path in vectors.paths])
