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
Tracklet = Sequence[Picture]
Pictures = Picture | Sequence[Picture | Tracklet | Sample]
# A picture, the frames of a tracklet, or either with its person and camera.
Names = str | Path | Sequence[str | Path] | Sample


def named(
    pictures: Pictures, in_subfolders: bool = False
) -> tuple[list[Names], dict[str, np.ndarray]]:
    """The names of `pictures`, and those that are in memory already by theirs.

    One path is a picture or a folder of them, with `in_subfolders` of those in all folders below,
    too; of several each is a picture, a list or tuple of pictures is a tracklet, and a `Sample`
    stays one. Arrays are called ``picture 0``, ``picture 1`` … by their place, in a tracklet
    ``picture 1.0`` …
    """
    if isinstance(pictures, str | Path):
        return [str(path) for path in find_pictures(pictures, in_subfolders)], {}
    if isinstance(pictures, np.ndarray):
        pictures = list(pictures) if pictures.ndim == 4 else [pictures]
    arrays: dict[str, np.ndarray] = {}

    def name(picture: Picture, place: str) -> str:
        if not isinstance(picture, np.ndarray):
            return str(picture)
        arrays[f"picture {place}"] = picture
        return f"picture {place}"

    def names(picture: Picture | Tracklet | Sample, place: int) -> Names:
        if isinstance(picture, Sample):
            return picture
        if isinstance(picture, list | tuple):
            return tuple(name(frame, f"{place}.{t}") for t, frame in enumerate(picture))
        return name(picture, str(place))

    return [names(picture, place) for place, picture in enumerate(pictures)], arrays


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
    pictures: Sequence[Names],
    strict: bool,
    side: str = "gallery",
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Vectors:
    """The vectors of `pictures`, which `named` gave, on the CPU, as TEST says.

    Pictures are taken as they are, unless the scale of the `side` (``query``, ``gallery``) in TEST
    says otherwise. A tracklet is called by its first frame. What is no picture is told and left
    out; with `strict` it is an OSError. Who is not a `Sample` has pid and camid -1.
    """
    unreadable: dict[str, str] = {}
    scale = cfg.TEST[f"{side.upper()}_SCALE"]
    build.check_scales(f"TEST.{side.upper()}_SCALE", [scale or 1], build.size_test(cfg))
    samples = [p if isinstance(p, Sample) else Sample(_frames(p), -1, -1) for p in pictures]
    samples = [sample._replace(scale=scale or sample.scale) for sample in samples]
    if bare := sum(not sample.paths for sample in samples):
        raise ValueError(f"{bare} of {len(samples)} tracklets have no frames; leave them out.")
    device = next(model.parameters()).device
    batches = build.test_batches(cfg, samples, device, None if strict else unreadable, arrays)
    amp = build.amp_dtype(cfg, device)
    total = len(batches.pictures)

    def told() -> str:
        some = "\n".join(f"  {message}" for message in [*unreadable.values()][:5])
        return f"{len(unreadable)} of {total} files are no pictures and are left out:\n{some}"

    try:
        found = embed(model, batches, amp, "Embedding", **build.own(cfg.TEST, maker=embed))
    except ValueError as error:
        if not unreadable or len(unreadable) < total:
            raise
        raise ValueError(f"{told()}\nRestore them, or name another folder.") from error
    if unreadable:
        LOGGER.warning("%s", told())
    return found


def _frames(names: Names) -> tuple[str, ...]:
    if isinstance(names, Sample):
        return names.paths
    return (str(names),) if isinstance(names, str | Path) else tuple(map(str, names))


def first_of(names: Names) -> Path:
    """The picture, or the first frame of the tracklet, by which its vector is called."""
    return Path(_frames(names)[0])


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
