"""Pictures of whatever kind become vectors: what `using` and `galleries` share."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from yacs.config import CfgNode

from reidtools import build
from reidtools.api.testing import filled
from reidtools.data.datasets.listing import find_pictures
from reidtools.data.samples import Sample
from reidtools.evaluation import Vectors, embed
from reidtools.files import make_folder
from reidtools.modeling import Embedder

LOGGER = logging.getLogger("reidtools")
Picture = str | Path | np.ndarray
Pictures = Picture | Sequence[Picture]


def named(
    pictures: Pictures, in_subfolders: bool = False
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of `pictures`, and those that are in memory already by theirs.

    One path is a picture or a folder of them, with `in_subfolders` of those in all folders below,
    too; of several each is a picture. Arrays are called
    ``picture 0``, ``picture 1`` … by their place.
    """
    if isinstance(pictures, str | Path):
        return [str(path) for path in find_pictures(pictures, in_subfolders)], {}
    if isinstance(pictures, np.ndarray):
        pictures = list(pictures) if pictures.ndim == 4 else [pictures]
    arrays = {f"picture {i}": p for i, p in enumerate(pictures) if isinstance(p, np.ndarray)}
    names = [
        f"picture {i}" if isinstance(picture, np.ndarray) else str(picture)
        for i, picture in enumerate(pictures)
    ]
    return names, arrays


def model_of(cfg: CfgNode) -> Embedder:
    """The embedder in MODEL.WEIGHTS on its device, tried with a picture."""
    model = filled(cfg).to(build.device(cfg))
    build.try_out(cfg, model)
    if cfg.INPUT.SCALE > 1 and cfg.TEST.QUERY_SCALE is cfg.TEST.GALLERY_SCALE is None:
        LOGGER.warning(
            "The model was trained on pictures %g times as coarse, and these are taken as they "
            "are; set TEST.QUERY_SCALE and TEST.GALLERY_SCALE to make them so.",
            cfg.INPUT.SCALE,
        )
    return model


def vectors_of(
    cfg: CfgNode,
    model: Embedder,
    paths: Sequence[str | Path],
    strict: bool,
    side: str = "gallery",
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Vectors:
    """The vectors of the pictures at `paths` on the CPU, seen as TEST says.

    Pictures are taken as they are, unless the scale of the `side` (``query``, ``gallery``) in TEST
    says otherwise. What is no picture is told and left out; with `strict` it is an OSError.
    `arrays`: see `named`.
    """
    unreadable: dict[str, str] = {}
    scale = cfg.TEST[f"{side.upper()}_SCALE"] or 1.0
    build.check_scales(f"TEST.{side.upper()}_SCALE", [scale], build.size_test(cfg))
    samples = [Sample((str(path),), -1, -1, scale) for path in paths]
    device = next(model.parameters()).device
    batches = build.test_batches(cfg, samples, device, None if strict else unreadable, arrays)
    amp = build.amp_dtype(cfg, device)
    found = embed(model, batches, amp, "Embedding", **build.own(cfg.TEST, maker=embed))
    if not unreadable:
        return found
    first = "\n".join(f"  {message}" for message in [*unreadable.values()][:5])
    told = f"{len(unreadable)} of {len(paths)} files are no pictures and are left out:\n{first}"
    if len(unreadable) == len(paths):
        raise ValueError(f"{told}\nRestore them, or name another folder.")
    LOGGER.warning("%s", told)
    rows = [i for i, path in enumerate(found.paths) if path not in unreadable]
    kept = [found.paths[i] for i in rows]
    return Vectors(found.vectors[rows], found.pids[rows], found.camids[rows], kept)


@contextmanager
def writing(cfg: CfgNode) -> Iterator[Path]:
    """OUTPUT_DIR, else output_dir; made now, so that what cannot be is told before the work."""
    folder = make_folder(Path(cfg.OUTPUT_DIR or "output_dir"))
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # it was there, with other things in it
            folder.rmdir()
        raise
