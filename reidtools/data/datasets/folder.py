"""One's own pictures, a folder for each person: no code and no naming scheme needed."""

import logging
import re
from pathlib import Path

from reidtools.data.datasets.listing import pictures
from reidtools.data.samples import Sample, Splits
from reidtools.registry import DATASETS

LOG = logging.getLogger("reidtools")
CAMERA = re.compile(r"_c(\d+)")
JUNK = re.compile(r"-\d+")


def load_folder(path: str | Path) -> Splits:
    """Splits of the pictures ``{train,query,gallery}/<id>/*.jpg`` in the folder `path`.

    An id folder may have any name; the same name in query and gallery is the same person, while
    train counts its people on its own. If every file name tells a camera (``…_c2…``), that is the
    camid; otherwise train and query get camera 0 and gallery camera 1, so that the usual rule,
    which ignores matches from the query's own camera, leaves the matches in.

    A negative number, such as Market-1501's -1, is no person but junk, which is left out.

    A split may be missing, but not all three (`FileNotFoundError`); pictures outside an id folder
    are a `ValueError`.
    """
    home = Path(path).expanduser().resolve()
    if not any((home / split).is_dir() for split in Splits._fields):
        raise FileNotFoundError(
            f"{home} has none of the folders train, query and gallery; put your pictures into "
            f"{home}/train/<id>/, {home}/query/<id>/ and {home}/gallery/<id>/."
        )
    train, query, gallery = (_by_person(home / split) for split in Splits._fields)
    everything = [
        p for split in (train, query, gallery) for people in split.values() for p in people
    ]
    cameras = [CAMERA.search(picture.name) for picture in everything]
    known = all(cameras)
    if not known and any(cameras):
        LOG.warning(
            "%d of %d file names in %s tell no camera (…_c2…), so none is used: query pictures get "
            "camera 0, gallery pictures camera 1.",
            sum(camera is None for camera in cameras),
            len(cameras),
            home,
        )
    first = min((int(match[1]) for match in cameras), default=0) if known else 0

    def samples(split: dict[str, list[Path]], names: list[str], pseudo: int) -> list[Sample]:
        return [
            Sample((str(p),), pid, int(CAMERA.search(p.name)[1]) - first if known else pseudo)
            for pid, name in enumerate(names)
            for p in split.get(name, [])
        ]

    test_names = sorted({*query, *gallery})
    return Splits(
        samples(train, sorted(train), pseudo=0),
        samples(query, test_names, pseudo=0),
        samples(gallery, test_names, pseudo=1),
    )


def _by_person(split: Path) -> dict[str, list[Path]]:
    """Pictures of each id folder of one split; a missing split has none."""
    if not split.is_dir():
        return {}
    if loose := pictures(split):
        raise ValueError(
            f"{len(loose)} pictures lie directly in {split}, such as {loose[0].name}; move each "
            f"into a folder of its person, such as {split}/0001/{loose[0].name}."
        )
    people = (
        entry
        for entry in split.iterdir()
        if entry.is_dir() and entry.name[0] != "." and not JUNK.fullmatch(entry.name)
    )
    return {person.name: pictures(person) for person in sorted(people)}


@DATASETS
def folder(root: str | Path, *, path: str = "") -> Splits:
    """Your own pictures as ``{train,query,gallery}/<id>/*.jpg``; see datasets/README.md.

    `path` is the folder with the three splits, relative to `root`; empty means `root` itself. See
    `load_folder` for the numbering of people and cameras.
    """
    return load_folder(Path(root) / path)
