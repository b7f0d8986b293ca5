"""What a dataset lists: samples, in three splits; and what one can say of such lists."""

from collections.abc import Sequence
from typing import NamedTuple


class Sample(NamedTuple):
    """A picture (one path) or a tracklet (several) of person `pid` seen by camera `camid`.

    With a `scale` above 1 it is shown that many times as coarse as it is stored.
    """

    paths: tuple[str, ...]
    pid: int
    camid: int
    scale: float = 1.0


class Splits(NamedTuple):
    """The three lists of a re-ID dataset. Any of them may be empty.

    `pid` and `camid` count from 0 and need not be contiguous. A distractor in the gallery keeps the
    pid 0 its dataset gave it; junk (pid -1) never gets here.
    """

    train: list[Sample]
    query: list[Sample]
    gallery: list[Sample]


def join_train(trains: Sequence[list[Sample]]) -> list[Sample]:
    """One train list of several datasets, whose pids and camids are moved apart by offsets.

    Person 3 of one dataset is not person 3 of another, and neither is camera 3. Only training can
    be joined: query and gallery belong to a dataset and are measured there.
    """
    joined: list[Sample] = []
    for train in trains:
        pids = 1 + max((sample.pid for sample in joined), default=-1)
        camids = 1 + max((sample.camid for sample in joined), default=-1)
        joined += [s._replace(pid=s.pid + pids, camid=s.camid + camids) for s in train]
    return joined


def relabel(samples: Sequence[Sample]) -> dict[int, int]:
    """The label of each pid: its place among the sorted pids, so labels are 0, 1, 2 …"""
    return {pid: label for label, pid in enumerate(sorted({sample.pid for sample in samples}))}


def statistics(splits: Splits) -> list[tuple[str, int, int, int]]:
    """Rows (subset, number of ids, of pictures, of cameras) of train, query and gallery."""
    return [
        (
            subset,
            len({sample.pid for sample in samples}),
            sum(len(sample.paths) for sample in samples),
            len({sample.camid for sample in samples}),
        )
        for subset, samples in zip(splits._fields, splits, strict=True)
    ]


def table(name: str, splits: Splits) -> str:
    """The `statistics` as the table that FastReID and torchreid print when a dataset is loaded."""
    from tabulate import tabulate

    headers, rows = ["subset", "# ids", "# images", "# cameras"], statistics(splits)
    if any(len(sample.paths) > 1 for samples in splits for sample in samples):
        headers.append("# tracklets")
        rows = [(*row, len(samples)) for row, samples in zip(rows, splits, strict=True)]
    return f"=> Loaded {name}\n{tabulate(rows, headers, tablefmt='pipe')}"
