"""Pictures of whatever kind become vectors: what `using` and `galleries` share."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from yacs.config import CfgNode

from reidtools import build, processes
from reidtools.api.testing import filled
from reidtools.config import load as configs
from reidtools.data.datasets.listing import find_pictures, find_tracklets
from reidtools.data.samples import Sample
from reidtools.evaluation import Vectors, embed
from reidtools.files import writing_into
from reidtools.modeling import Embedder

LOGGER = logging.getLogger("reidtools")
Picture = str | Path | np.ndarray
Tracklet = Sequence[Picture]
Pictures = Picture | Sample | Sequence[Picture | Tracklet | Sample]


def named(
    pictures: Pictures, in_subfolders: bool = False
) -> tuple[list[Sample], dict[str, np.ndarray]]:
    """`pictures` as samples, and those that are in memory already by their names.

    One path is a picture or a folder of them, with `in_subfolders` of those in all folders below,
    too; of several each is a picture, a list or tuple of pictures is a tracklet, and a `Sample`
    stays one. Arrays are called ``picture 0``, ``picture 1`` … by their place, in a tracklet
    ``picture 1.0`` …
    """
    if isinstance(pictures, str | Path):
        return found_in(pictures, in_subfolders), {}
    if isinstance(pictures, np.ndarray):
        pictures = list(pictures) if pictures.ndim == 4 else [pictures]
    arrays: dict[str, np.ndarray] = {}

    def name(picture: Picture, place: str) -> str | Path:
        if not isinstance(picture, np.ndarray):
            return picture
        arrays[f"picture {place}"] = picture
        return f"picture {place}"

    def sample(picture: Picture | Tracklet | Sample, place: int) -> Sample:
        if isinstance(picture, Sample):
            return picture
        if isinstance(picture, list | tuple):
            return strangers(*(name(frame, f"{place}.{t}") for t, frame in enumerate(picture)))
        return strangers(name(picture, str(place)))

    several = [pictures] if isinstance(pictures, Sample) else pictures
    return [sample(picture, place) for place, picture in enumerate(several)], arrays


def found_in(
    source: str | Path, in_subfolders: bool = False, tracklets: bool = False
) -> list[Sample]:
    """The picture or the pictures in the folder `source`; with `tracklets` a sample a folder."""
    if tracklets:
        return [strangers(*frames) for frames in find_tracklets(source)]
    return [strangers(path) for path in find_pictures(source, in_subfolders)]


def strangers(*paths: str | Path) -> Sample:
    """The picture, or the tracklet of the frames, at `paths`, of whom nothing is known."""
    return Sample(tuple(map(str, paths)), -1, -1)


def model_of(cfg: CfgNode) -> Embedder:
    """The embedder in MODEL.WEIGHTS on its device, tried with a picture."""
    on = build.device(cfg)
    model = filled(cfg).to(on)
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
    pictures: Sequence[str | Path | Sample],
    strict: bool,
    side: str = "gallery",
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Vectors:
    """The vectors of `pictures` or samples on the CPU, as TEST says; `arrays`: see `named`.

    Pictures are as coarse as their samples say, unless TEST has a scale for the `side` (``query``,
    ``gallery``). A tracklet is called by its first frame. What is no picture is told and left out;
    with `strict` it is an OSError.
    """
    unreadable: dict[str, str] = {}
    scale = cfg.TEST[f"{side.upper()}_SCALE"]
    build.check_scales(f"TEST.{side.upper()}_SCALE", [scale or 1], build.size_test(cfg))
    samples = [p if isinstance(p, Sample) else strangers(p) for p in pictures]
    samples = [sample._replace(scale=scale or sample.scale) for sample in samples]
    if bare := sum(not sample.paths for sample in samples):
        raise ValueError(f"{bare} of {len(samples)} tracklets have no frames; leave them out.")
    device = model.device
    cfg = configs.changed(cfg, {"DATALOADER.CACHE": "off"})  # they are read once
    batches = build.test_batches(cfg, samples, device, None if strict else unreadable, arrays)
    amp = build.amp_dtype(cfg, device)
    total = len({sample.paths for sample in batches.pictures.samples})

    def told() -> str:
        some = "\n".join(f"  {message}" for message in [*unreadable.values()][:5])
        return f"{len(unreadable)} of {total} files are no pictures and are left out:\n{some}"

    try:
        runs = build.at_speed(cfg, model, len(batches.pictures), amp)
        found = embed(runs, batches, amp, "Embedding", **build.own(cfg.TEST, maker=embed))
    except ValueError as error:
        if not unreadable or len(unreadable) < total:
            raise
        raise ValueError(f"{told()}\nRestore them, or name another folder.") from error
    for others in processes.of_all(unreadable):
        unreadable |= others
    if unreadable:
        LOGGER.warning("%s", told())
    return found


def query_and_gallery(
    cfg: CfgNode,
    model: Embedder,
    query: Sequence[str | Path],
    gallery: Sequence[str | Path],
    strict: bool,
) -> tuple[Vectors, Vectors]:
    """The `vectors_of` both sides of a question: who of the gallery is in the query pictures?"""
    return (
        vectors_of(cfg, model, query, strict, "query"),
        vectors_of(cfg, model, gallery, strict, "gallery"),
    )


def writing(cfg: CfgNode) -> AbstractContextManager[Path]:
    """OUTPUT_DIR, else output_dir; made now, so that what cannot be is told before the work."""
    return writing_into(Path(cfg.OUTPUT_DIR or "output_dir"))
