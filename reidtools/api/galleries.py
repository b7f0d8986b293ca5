"""Galleries of a model's vectors: build one, add pictures and take them out, with its config."""

import fnmatch
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from yacs.config import CfgNode

from reidtools.api.pictures import Pictures, found_in, model_of, named, vectors_of
from reidtools.api.recipes import get_config, recipe
from reidtools.api.sources import about, reader_of, with_people
from reidtools.config import load as configs
from reidtools.engine import logbook
from reidtools.modeling import Embedder
from reidtools.retrieval import Gallery, write_matlab
from reidtools.retrieval.indexes import check_options
from reidtools.retrieval.store import check_free

LOGGER = logging.getLogger("reidtools")


def build_gallery(
    cfg: CfgNode,
    folder: str | Path,
    source: str | Path = "",
    *,
    in_subfolders: bool = False,
    strict: bool = False,
    tracklets: bool = False,
    kind: str = "flat",
    replace: bool = False,
    **options: Any,
) -> Gallery:
    """Build the gallery `folder` with MODEL.WEIGHTS, from `source`, or else DATASETS.ROOT.

    `source` is a picture or a folder of pictures, what `create_embeddings` wrote, an index
    (``.mat``) such as `export_gallery` writes, or the name of a dataset in DATASETS.ROOT, whose
    gallery is taken. With `tracklets` each folder of pictures, `source` or below it, is one vector,
    called by its first frame. `kind` and `options` are those of `retrieval.indexes.make`. Raises
    ValueError where a gallery is there already, unless it is to be `replace`d, and for embeddings
    of other weights.
    """
    logbook.set_up_logging()
    if not replace:
        check_free(Path(folder))
    check_options(kind, options)  # a wrong one is said at once
    names = dict[int, str]()
    read = reader_of(cfg, source or cfg.DATASETS.ROOT, in_subfolders, strict, names, tracklets)
    model = model_of(cfg)
    vectors = read(model)
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
    tracklets: bool = False,
) -> Gallery:
    """Embed the picture or the folder of pictures `source` and put them into the gallery `folder`.

    With `tracklets` each folder of pictures is one vector, called by its first frame. Those that
    are there already, by a relative or an absolute path, are told and left out. A picture whose
    name tells nobody shows the person whose name its folder has, if the gallery knows one. Raises
    ValueError for weights that the gallery was not made with, OSError where another process changes
    it meanwhile.
    """
    logbook.set_up_logging()
    # What is written again is looked through first: damage must not become valid.
    gallery = Gallery.open(folder, verify=True)
    found = found_in(source, in_subfolders, tracklets)
    there = {Path(path).absolute() for path in gallery.paths}
    fresh = [sample for sample in found if Path(sample.paths[0]).absolute() not in there]
    if len(fresh) < len(found):
        LOGGER.warning(
            "%d of %d pictures are in the gallery already and are left out.",
            len(found) - len(fresh),
            len(found),
        )
    if not fresh:
        return gallery
    model = model_of(cfg)
    told = about(cfg, model)
    gallery.check_model(model.dim, told)
    vectors = vectors_of(cfg, model, fresh, strict)
    gallery = Gallery.open(folder, verify=True)  # embedding may have taken long
    known = np.unique(gallery.pids).tolist()
    vectors = with_people(vectors, source, gallery.names, known)
    gallery.add(vectors, told)
    gallery.save()
    LOGGER.info("Added %d pictures to the gallery %s: %s", len(vectors), folder, gallery)
    return gallery


def remove_from_gallery(folder: str | Path, patterns: Sequence[str | Path]) -> Gallery:
    """Take pictures out of the gallery `folder`: paths, folders, or patterns such as ``g/0002_*``.

    Raises ValueError, and changes nothing, for one that fits no picture.
    """
    logbook.set_up_logging()
    gallery = Gallery.open(folder, verify=True)
    paths, goes = gallery.paths, set[str]()
    there = set(paths)
    for pattern in map(str, patterns):
        match = re.compile(fnmatch.translate(pattern)).match
        own = {pattern} if pattern in there else set(filter(match, paths))
        own = own or {path for path in paths if path.startswith(pattern.rstrip("/") + "/")}
        if not own:
            raise ValueError(
                f"No picture of the gallery {folder} is called {pattern}; name them as search does."
            )
        goes |= own
    gallery.remove(goes)
    gallery.save()
    LOGGER.info("Removed %d pictures from the gallery %s: %s", len(goes), folder, gallery)
    return gallery


def export_gallery(folder: str | Path, path: str | Path) -> Path:
    """Write the vectors of the gallery `folder` into the index `path`, a MATLAB file.

    It is the file of Human Re-ID with DenseNet: people and cameras as numbers, no paths. What is
    too large for it is a ValueError.
    """
    logbook.set_up_logging()
    gallery = Gallery.open(folder, verify=True)
    write_matlab(path, gallery.vectors(), about=gallery.about)
    LOGGER.info("Written: %s, %d pictures of the gallery %s", path, len(gallery), folder)
    return Path(path)


def index(
    model: Embedder,
    pictures: Pictures,
    folder: str | Path = "",
    *,
    in_subfolders: bool = False,
    kind: str = "flat",
    replace: bool = False,
    **options: Any,
) -> Gallery:
    """A `Gallery` of `pictures` with a `model` from `load`; kept in `folder`, if there is one.

    `pictures` are what `embed` takes; of a folder, with `in_subfolders`, also those in all folders
    below. People and cameras are those that file names tell, people also the folders below.
    `kind` and `options`: see `retrieval.indexes.make`.
    """
    if folder and not replace:
        check_free(Path(folder))
    check_options(kind, options)
    names, root = dict[int, str](), pictures if isinstance(pictures, str | Path) else None
    samples, arrays = named(pictures, in_subfolders)
    vectors = vectors_of(model.config, model, samples, strict=True, arrays=arrays)
    vectors = with_people(vectors, root, names)
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
    own = recipe(told)
    if files or not own:
        return get_config(files, overrides)
    own["MODEL"]["WEIGHTS"] = told["weights"]
    cfg = configs.load("", overrides, own)
    if not Path(cfg.MODEL.WEIGHTS).is_file():
        raise FileNotFoundError(
            f"The weights of the gallery {folder}, {cfg.MODEL.WEIGHTS}, are not there; say with "
            "MODEL.WEIGHTS where they are now."
        )
    return cfg
