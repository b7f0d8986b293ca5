"""MSMT17, in both of the forms in which it goes round."""

import logging
import re
from pathlib import Path

from reidtools.data.datasets.listing import find_home, read_names, refuse
from reidtools.data.datasets.market import FOLDERS
from reidtools.data.samples import Sample, Splits
from reidtools.registry import DATASETS

LOG = logging.getLogger("reidtools")
LINE = re.compile(r"(?P<path>(.*/)?[^/_]+_[^/_]+_0*(?P<camera>[1-9]\d*)_[^/]+)\s+(?P<pid>\d+)")


@DATASETS
def msmt17(root: str | Path, *, with_val: bool = False) -> Splits:
    """MSMT17: 4,101 people, 15 cameras, 126,441 boxes (Wei et al., CVPR 2018, arXiv:1711.08565).

    Looked for in `root` as ``MSMT17_V1``, ``MSMT17_V2``, ``MSMT17`` or ``msmt17``, then in `root`
    itself, either with its ``list_*.txt`` files or in Market-1501's folders. Train and test number
    their people separately. `with_val` trains on ``list_val.txt`` too, as TransReID, SOLIDER and
    CLIP-ReID do (32,621 pictures); FastReID and torchreid do not (30,248). The log says which
    version and which lists were read, because figures of V1 and V2 (faces masked) differ, and so do
    those of either list. Folders do not tell: theirs is what somebody put there. Without
    ``list_val.txt`` `with_val` is a `FileNotFoundError`.
    https://www.pkuvmc.com/dataset.html
    """
    names = ("MSMT17_V1", "MSMT17_V2", "MSMT17", "msmt17")
    home = find_home("msmt17", root, names, ("list_train.txt", FOLDERS[0]))
    if (home / "list_train.txt").is_file():
        return _read_lists(home, with_val)
    if with_val:
        raise FileNotFoundError(
            f"{home} has no list_val.txt, so there is nothing to add to train: leave WITH_VAL "
            "False, or use the release with list_*.txt files."
        )
    LOG.info(
        "msmt17 is read from %s: its folders do not tell whether they are of V1 or V2, nor whether "
        "%s has the people of list_val.txt as well",
        home,
        FOLDERS[0],
    )
    return Splits(*(read_names(home / folder) for folder in FOLDERS))


def _read_lists(home: Path, with_val: bool) -> Splits:
    masked = (home / "mask_train_v2").is_dir()
    train, test = ("mask_train_v2", "mask_test_v2") if masked else ("train", "test")
    LOG.info(
        "msmt17 is read from %s: %s, training on %s",
        home,
        "V2 (faces masked)" if masked else "V1",
        "list_train.txt and list_val.txt" if with_val else "list_train.txt without list_val.txt",
    )
    extra = _read_list(home / "list_val.txt", train) if with_val else []
    return Splits(
        _read_list(home / "list_train.txt", train) + extra,
        _read_list(home / "list_query.txt", test),
        _read_list(home / "list_gallery.txt", test),
    )


def _read_list(file: Path, folder: str) -> list[Sample]:
    """Samples of lines ``0000/0000_000_01_0303morning_0015_0.jpg 0``: path in `folder`, and pid.

    The third field of the file name is the camera, from 1.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; unpack the whole of MSMT17 there.")
    if not (file.parent / folder).is_dir():
        raise FileNotFoundError(f"{file.parent / folder} is missing; unpack the whole of MSMT17.")
    found, strange = [], []
    for line in filter(None, map(str.strip, file.read_text().splitlines())):
        if match := LINE.fullmatch(line):
            path = str(file.parent / folder / match["path"])
            found.append(Sample((path,), int(match["pid"]), int(match["camera"]) - 1))
        else:
            strange.append(repr(line))
    refuse(strange, file, "'0000/0000_000_01_0303morning_0015_0.jpg 0'")
    return sorted(found)
