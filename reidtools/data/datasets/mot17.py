"""People cut out of the MOT17 sequences."""

import re
from pathlib import Path

from reidtools.data.datasets.listing import find_home, pictures, read_names, refuse
from reidtools.data.datasets.market import FOLDERS
from reidtools.data.samples import Sample, Splits
from reidtools.registry import DATASETS

NAME = re.compile(r"(?P<pid>-?\d+)_")
FOLDER = re.compile(r"-?\d+")


@DATASETS
def mot17_reid(root: str | Path) -> Splits:
    """Crops of MOT17's people in Market-1501's folders (arXiv:1603.00831).

    Looked for in `root` as ``MOT17_reid`` or ``mot17_reid``, then in `root` itself. Pictures are
    named ``<pid>_….jpg``; in a split that has none directly, they lie in a folder ``<pid>`` for
    each person, under any name. A sequence has one camera, so train and query get camera 0 and
    gallery camera 1: matches are never ignored for coming from the query's camera.
    """
    home = find_home("mot17_reid", root, ("MOT17_reid", "mot17_reid"), FOLDERS[:1])
    cameras = (0, 0, 1)
    return Splits(*(_read(home / f, camera) for f, camera in zip(FOLDERS, cameras, strict=True)))


def _read(split: Path, camera: int) -> list[Sample]:
    """Samples of one split, in either form; negative pids are junk and left out."""
    if pictures(split):
        return read_names(split, NAME, camera)
    people = sorted(entry for entry in split.iterdir() if entry.is_dir() and entry.name[0] != ".")
    refuse([p.name for p in people if not FOLDER.fullmatch(p.name)], split, "0012 or 12")
    return [
        Sample((str(picture),), int(person.name), camera)
        for person in people
        if int(person.name) >= 0
        for picture in pictures(person)
    ]
