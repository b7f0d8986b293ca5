"""People cut out of the MOT17 sequences."""

import re
from pathlib import Path

from reidtools.data.datasets.listing import find_home, read_names
from reidtools.data.datasets.market import FOLDERS
from reidtools.data.samples import Splits
from reidtools.registry import DATASETS

NAME = re.compile(r"(?P<pid>-?\d+)_")


@DATASETS
def mot17_reid(root: str | Path) -> Splits:
    """Crops of MOT17's people in Market-1501's folders, named ``<pid>_….jpg`` (arXiv:1603.00831).

    Looked for in `root` as ``MOT17_reid`` or ``mot17_reid``, then in `root` itself. A sequence has
    one camera, so train and query get camera 0 and gallery camera 1: matches are never ignored for
    coming from the query's camera.
    """
    home = find_home("mot17_reid", root, ("MOT17_reid", "mot17_reid"), FOLDERS[:1])
    cameras = (0, 0, 1)
    return Splits(*(read_names(home / f, NAME, c) for f, c in zip(FOLDERS, cameras, strict=True)))
