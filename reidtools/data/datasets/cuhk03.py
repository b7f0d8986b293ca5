"""CUHK03 in the protocol of today."""

from pathlib import Path

from reidtools.data.datasets.listing import find_home, read_names
from reidtools.data.datasets.market import FOLDERS
from reidtools.data.samples import Splits
from reidtools.registry import DATASETS


@DATASETS
def cuhk03(root: str | Path, *, labeled: bool = False) -> Splits:
    """CUHK03, new protocol: 767 people to train, 700 to test, 2 cameras (arXiv:1701.08398).

    Looked for in `root` as ``cuhk03-np``, ``cuhk03_np``, ``cuhk03`` or ``CUHK03``, then in `root`
    itself. `labeled` reads the boxes drawn by hand instead of the detected ones.
    https://github.com/zhunzhong07/person-re-ranking
    """
    kind = "labeled" if labeled else "detected"
    names = ("cuhk03-np", "cuhk03_np", "cuhk03", "CUHK03")
    home = find_home("cuhk03", root, names, (f"{kind}/{FOLDERS[0]}",)) / kind
    return Splits(*(read_names(home / folder) for folder in FOLDERS))
