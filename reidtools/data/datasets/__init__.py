"""Datasets: functions from the folder that holds datasets to the `Splits` of one of them."""

import logging
import re
from pathlib import Path
from typing import Any

from reidtools.data.datasets import (
    cuhk03,
    market,
    mars,
    mot17,
    msmt17,
    prw,
    sequences,
    toy,
    toy_mars,
    video_pairs,
)
from reidtools.data.datasets.folder import load_folder
from reidtools.data.datasets.listing import pictures
from reidtools.data.datasets.market import FOLDERS, read_market
from reidtools.data.samples import Splits
from reidtools.registry import DATASETS, call, unknown

LOG = logging.getLogger("reidtools")
# DATASETS.ROOT if nobody says another, and the folder that guides to FastReID use in its place.
ROOT, ROOT_TOO = "datasets", "dataset"

__all__ = [
    "cuhk03",
    "load_dataset",
    "load_folder",
    "market",
    "mars",
    "mot17",
    "msmt17",
    "prw",
    "sequences",
    "toy",
    "toy_mars",
    "video_pairs",
]


def load_dataset(name: str, root: str | Path, **options: Any) -> Splits:
    """Splits of the dataset called `name`: a registered one, else the folder `root`/`name`.

    ``<registered>x<scale>`` is read as the registered one is. Any other folder is read in the
    Market-1501 layout if it has ``bounding_box_train``, ``bounding_box_test`` or pictures directly
    in ``query`` (``market1501x2``, ``PRW_reid``), else as ``{train,query,gallery}/<id>/``.
    Where the `root` is ``datasets``, the default, and has no such folder, ``dataset/name`` is taken
    if it is there, and the log says so. `options` are those of the registered dataset; an unknown
    option, or a name that is neither, is a `LookupError`.
    """
    if name in DATASETS:
        return DATASETS.build(name, {"root": root}, options)
    home = (Path(root).expanduser() / name).resolve()
    tried = [home]
    if name and Path(root) == Path(ROOT) and not home.is_dir():
        tried.append((Path(ROOT_TOO) / name).resolve())
        if tried[-1].is_dir():
            LOG.info("The dataset %s is read from %s; %s has none.", name, tried[-1], home.parent)
            home = tried[-1]
    copy = re.fullmatch(r"(.+)x[\d.]+", name)  # mot17_reidx2, as tools/makelr.py calls its copies
    if copy and copy[1].lower() in DATASETS and home.is_dir():
        return DATASETS.build(copy[1].lower(), {"root": home}, options)
    if not name or not home.is_dir():
        raise LookupError(
            f"{unknown('dataset', name, DATASETS)} There is no folder "
            f"{' and no '.join(map(str, tried))} either: put your own pictures there as "
            "{train,query,gallery}/<id>/, or set DATASETS.ROOT to the folder that holds it."
        )
    if _is_market(home):
        return call(read_market, {"home": home}, options)
    return call(load_folder, {"path": home}, options)


def _is_market(home: Path) -> bool:
    query = home / "query"
    named = any((home / folder).is_dir() for folder in (FOLDERS[0], FOLDERS[2]))
    return named or (query.is_dir() and bool(pictures(query)))
