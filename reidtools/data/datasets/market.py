"""Market-1501, and the datasets that copied its folders and file names."""

import logging
from pathlib import Path

from reidtools.data.datasets.listing import find_home, read_names
from reidtools.data.samples import Sample, Splits
from reidtools.registry import DATASETS

LOG = logging.getLogger("reidtools")
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


def read_market(home: Path) -> Splits:
    """Splits of the Market-1501 layout in `home`; ``0002_c1s1_000451_03.jpg`` is pid 2, camera 0.

    Junk (pid -1, or -2 in PRW) is left out everywhere. Pid 0 is a distractor: it stays in the
    gallery, and is left out of train and query, where it would count as one person. A folder that
    is missing is an empty list: testing needs no pictures to train on.
    """

    def read(folder: str) -> list[Sample]:
        return read_names(home / folder) if (home / folder).is_dir() else []

    def read_people(folder: str) -> list[Sample]:
        samples = read(folder)
        people = [sample for sample in samples if sample.pid != 0]
        if len(people) < len(samples):
            LOG.warning(
                "%d pictures of pid 0 in %s are left out, because pid 0 means a distractor; if it "
                "is a person, give that person another number.",
                len(samples) - len(people),
                home / folder,
            )
        return people

    train, query, gallery = FOLDERS
    return Splits(read_people(train), read_people(query), read(gallery))


@DATASETS
def market1501(root: str | Path) -> Splits:
    """Market-1501: 1,501 people, 6 cameras, 32,668 boxes (Zheng et al., ICCV 2015).

    Looked for in `root` as ``market1501``, ``Market-1501-v15.09.15``, ``Market1501`` or
    ``Market-1501``, then in `root` itself. ``gt_bbox`` and ``gt_query`` are never read.
    https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html
    """
    names = ("market1501", "Market-1501-v15.09.15", "Market1501", "Market-1501")
    return read_market(find_home("market1501", root, names, FOLDERS))


@DATASETS
def dukemtmcreid(root: str | Path) -> Splits:
    """DukeMTMC-reID: 1,812 people, 8 cameras, 36,411 boxes (arXiv:1609.01775, arXiv:1701.07717).

    Looked for in `root` as ``DukeMTMC-reID``, ``dukemtmcreid`` or ``DukeMTMC``, then in `root`
    itself. Its authors have withdrawn the data; it is read here to repeat older results.
    """
    names = ("DukeMTMC-reID", "dukemtmcreid", "DukeMTMC")
    return read_market(find_home("dukemtmcreid", root, names, FOLDERS))
