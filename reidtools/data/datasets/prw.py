"""PRW, with its people cut out of the frames."""

from pathlib import Path

from reidtools.data.datasets.listing import find_home
from reidtools.data.datasets.market import FOLDERS, read_market
from reidtools.data.samples import Splits
from reidtools.registry import DATASETS


@DATASETS
def prw(root: str | Path) -> Splits:
    """PRW: 932 people, 6 cameras, 11,816 frames (Zheng et al., CVPR 2017, arXiv:1604.02531).

    Read from Market-1501's folders, which ``tools/prepare_prw.py`` makes. Looked for in `root` as
    ``PRW_reid``, ``prw_reid`` or ``PRW``, then in `root` itself. The official split: 483 people of
    5,704 frames to train, 2,057 queries, and the known people of 6,112 other frames as gallery.
    Unknown people (-2) are junk.
    https://zheng-lab.cecs.anu.edu.au/Project/project_prw.html
    """
    try:
        home = find_home("prw", root, ("PRW_reid", "prw_reid", "PRW"), FOLDERS)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} PRW is released as whole frames; cut them up with tools/prepare_prw.py --raw "
            "PRW-v16.04.20 --out datasets/PRW_reid."
        ) from None
    return read_market(home)
