"""What a dataset lists: samples, in three splits; and what one can say of such lists."""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    """One train list of several datasets, whose pids and camids are moved apart.

    Person 3 of one dataset is not person 3 of another, and neither is camera 3. Pids get an offset;
    camera c of the s-th of S datasets becomes c * S + s, which tells the dataset: see `sources_of`.
    Only training can be joined: query and gallery belong to a dataset and are measured there.
    """
    joined: list[Sample] = []
    for source, train in enumerate(trains):
        pids = 1 + max((sample.pid for sample in joined), default=-1)
        joined += [
            s._replace(pid=s.pid + pids, camid=s.camid * len(trains) + source) for s in train
        ]
    return joined


def sources_of(samples: Sequence[Sample], count: int) -> list[int]:
    """From which of `count` joined datasets each sample is: its place in the list of them.

    For what `join_train` made, and any part of it.
    """
    return [sample.camid % count for sample in samples]


def everybody(splits: Splits) -> list[Sample]:
    """Train, query and gallery as one train list, as for COMBINEALL of FastReID and torchreid.

    People of the test are others than those of train, whatever their numbers: some datasets number
    both from 0. Cameras are the same. Distractors, pid 0 unless a query asks for it, are left out,
    and so is a picture or tracklet that came before.
    """
    asked = {sample.pid for sample in splits.query}
    offset = 1 + max((sample.pid for sample in splits.train), default=-1)
    found = {sample.paths: sample for sample in splits.train}
    for sample in splits.query + splits.gallery:
        if sample.pid or 0 in asked:
            found.setdefault(sample.paths, sample._replace(pid=sample.pid + offset))
    return list(found.values())


def seen_pictures(samples: Sequence[Sample], tests: Mapping[str, Splits]) -> dict[str, list[str]]:
    """The pictures of the training `samples` that are tested as well, by test set, if any."""
    trained = {path for sample in samples for path in sample.paths}
    both = {
        name: sorted({path for s in splits.query + splits.gallery for path in s.paths} & trained)
        for name, splits in tests.items()
    }
    return {name: paths for name, paths in both.items() if paths}


def set_of(name: str) -> str:
    """The dataset that a name is about, to be compared: without ``@mlr``, without ``x4``."""
    return re.sub(r"(x[\d.]+)?(@.*)?$", "", name, count=1).lower()


def of_other_sets(names: Iterable[str], trained: Iterable[str]) -> list[str]:
    """Those of the `names` that are of none of the sets `trained`, nor of copies of these."""
    known = {set_of(name) for name in trained}
    return [name for name in names if set_of(name) not in known]


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
