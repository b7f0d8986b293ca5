"""MARS: people as tracklets, which are runs of pictures from one camera."""

import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reidtools.data.datasets.listing import (
    OTHER_PICTURES,
    PICTURES,
    find_home,
    read_matrix,
    refuse,
)
from reidtools.data.preflight import first
from reidtools.data.samples import Sample, Splits
from reidtools.registry import DATASETS

LOG = logging.getLogger("reidtools")
FOLDERS = ("bbox_train", "bbox_test")
NAME = re.compile(
    r"(?P<pid>\d{4}|00-1)C(?P<camera>[1-6])T(?P<tracklet>\d{4})F(?P<frame>\d+)\.jpg",
    re.ASCII,
)
EXAMPLE = "0001C1T0001F001.jpg"
JUNK, DISTRACTOR = -1, 0
INFO = (
    "train_name.txt",
    "test_name.txt",
    "tracks_train_info.mat",
    "tracks_test_info.mat",
    "query_IDX.mat",
)
FETCH = "fetch the five files of info/ from https://github.com/liangzheng06/MARS-evaluation"


class Tracklet(NamedTuple):
    """Pictures of one person in one camera, in order; numbers are those of the file names.

    `pid` 0 is a distractor. `camera` counts from 1. `number` is the T of the first frame's name.
    `subset` is ``train``, ``query`` or ``gallery``.
    """

    frames: tuple[str, ...]
    pid: int
    camera: int
    number: int
    subset: str


@DATASETS
def mars(root: str | Path) -> Splits:
    """MARS: 1,261 people, 6 cameras, 8,298 tracklets to train, 1,980 queries (ECCV 2016).

    Looked for in `root` as ``mars``, ``MARS`` or ``mars/raw``, then in `root` itself: the folders
    ``bbox_train``, ``bbox_test`` and ``info``, which has the official queries. A sample is a
    tracklet with all its frames. Junk (``00-1``) is left out; distractors (``0000``) stay in the
    gallery. See `read_tracklets` for errors.
    http://zheng-lab.cecs.anu.edu.au/Project/project_mars.html
    """
    home = find_home("mars", root, ("mars", "MARS", "mars/raw"), FOLDERS)
    splits = Splits([], [], [])
    for tracklet in read_tracklets(home, need_info=True):
        sample = Sample(tracklet.frames, tracklet.pid, tracklet.camera - 1)
        getattr(splits, tracklet.subset).append(sample)
    return splits


def read_tracklets(home: Path, *, need_info: bool) -> list[Tracklet]:
    """Tracklets of the MARS layout in `home`: train, then test in the order of its rows.

    ``info`` decides when it is there; one of its files missing is a `FileNotFoundError`, rows that
    do not fit their names a `ValueError`. Without it tracklets are grouped by file names and
    queries chosen by `pick_queries`, with a warning; with `need_info` that is a
    `FileNotFoundError`. So are pictures that ``info`` lists and the folders lack. Names that do
    not parse are a `ValueError`. Of ``bbox_train`` and ``bbox_test`` one may be missing.

    Junk is left out; so are distractors in train, where they would count as one person.
    """
    home = Path(home).expanduser().resolve()
    there = [folder for folder in FOLDERS if (home / folder).is_dir()]
    if not there:
        raise FileNotFoundError(
            f"{home} has neither {FOLDERS[0]} nor {FOLDERS[1]}; unpack MARS there, or name the "
            "folder that holds them."
        )
    for folder in sorted({*FOLDERS} - {*there}):
        LOG.warning("%s is missing, so its tracklets are left out.", home / folder)
    if (home / "info").is_dir():
        return _from_info(home, there)
    if need_info:
        raise FileNotFoundError(
            f"{home / 'info'} is missing, which tells the official tracklets and queries: {FETCH}, "
            "or cut sequences with tools/prepare_mars.py, which does without."
        )
    LOG.warning(
        "%s is missing: tracklets are grouped by file names and queries chosen by rule, so "
        "figures are not those of the official protocol; for these, %s.",
        home / "info",
        FETCH,
    )
    found = [tracklet for folder in there for tracklet in _from_names(home / folder)]
    test = [place for place, tracklet in enumerate(found) if tracklet.subset != "train"]
    for chosen in pick_queries([(found[place].pid, found[place].camera) for place in test]):
        found[test[chosen]] = found[test[chosen]]._replace(subset="query")
    return found


def pick_queries(seen: Sequence[tuple[int, int]]) -> list[int]:
    """Which tracklets are queries where no list says so; `seen` has (pid, camera) of each of them.

    Of each camera that has two or more tracklets of a person the first is a query, and the rest
    stay in the gallery. A person without such a camera, but with two or more cameras, has one
    query: the first tracklet of the camera with the lowest number. Pids below 1 have none.
    Returned are places in `seen`, in order.
    """
    earliest: dict[tuple[int, int], int] = {}
    for place, who in enumerate(seen):
        earliest.setdefault(who, place)
    count = Counter(seen)
    cameras = Counter(pid for pid, _ in earliest)
    settled = {pid for (pid, _), times in count.items() if times > 1}
    chosen = [place for who, place in earliest.items() if count[who] > 1 and who[0] > DISTRACTOR]
    for pid, camera in sorted(earliest):
        if pid > DISTRACTOR and pid not in settled and cameras[pid] > 1:
            settled.add(pid)
            chosen.append(earliest[pid, camera])
    return sorted(chosen)


def _from_info(home: Path, folders: Collection[str]) -> list[Tracklet]:
    """Tracklets of the rows in ``info``, for the `folders` that are there."""
    info = home / "info"
    missing = [name for name in INFO if not (info / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{info} lacks {', '.join(missing)}; {FETCH}.")
    found = []
    if FOLDERS[0] in folders:
        rows = _table(info / "tracks_train_info.mat", "track_train_info")
        found += _listed(home / FOLDERS[0], info / "train_name.txt", rows, ["train"] * len(rows))
    if FOLDERS[1] in folders:
        rows = _table(info / "tracks_test_info.mat", "track_test_info")
        queries = read_matrix(info / "query_IDX.mat", "query_IDX", FETCH).ravel()
        outside = queries[(queries < 1) | (queries > len(rows))]
        if len(outside):
            raise ValueError(
                f"{info / 'query_IDX.mat'} names rows that tracks_test_info.mat, with {len(rows)} "
                f"rows, does not have, such as {outside[0]}; {FETCH}."
            )
        chosen = set((queries - 1).tolist())
        subsets = ["query" if row in chosen else "gallery" for row in range(len(rows))]
        found += _listed(home / FOLDERS[1], info / "test_name.txt", rows, subsets)
    return found


def _table(file: Path, variable: str) -> np.ndarray:
    """Rows (first line, last line, pid, camera) of the MATLAB `file`; all count from 1."""
    rows = read_matrix(file, variable, FETCH)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(
            f"{variable} in {file} is {'x'.join(map(str, rows.shape))}, not rows of 4 (start, end, "
            f"person, camera); {FETCH}."
        )
    return rows


def _listed(
    folder: Path, names_file: Path, rows: np.ndarray, subsets: Sequence[str]
) -> list[Tracklet]:
    """Tracklets of `rows`, whose lines in `names_file` name pictures in `folder`."""
    try:
        text = names_file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{names_file} is no list of file names ({error}); {FETCH}.") from error
    names = [name.strip() for name in text.rstrip().splitlines()]
    refuse([repr(name) for name in names if not NAME.fullmatch(name)], names_file, EXAMPLE)
    found: list[Tracklet] = []
    wrong, absent = [], []
    on_disk: dict[int, set[str]] = {}
    for row, ((start, end, pid, camera), subset) in enumerate(
        zip(rows.tolist(), subsets, strict=True), 1
    ):
        lines = names[start - 1 : end] if 1 <= start <= end <= len(names) else []
        person = "00-1" if pid == JUNK else f"{pid:04d}"
        # 0001C1 begins each name: a tracklet is one person in one camera.
        if {name[:6] for name in lines} != {f"{person}C{camera}"}:
            wrong.append(
                f"row {row} (lines {start} to {end} of {len(names)}, person {pid}, camera {camera})"
            )
        elif pid > DISTRACTOR or (pid == DISTRACTOR and subset != "train"):
            if pid not in on_disk:
                on_disk[pid] = _entries(folder / person)
            absent += [f"{person}/{name}" for name in lines if name not in on_disk[pid]]
            where = f"{folder / person}{os.sep}"
            subset = "gallery" if pid == DISTRACTOR and subset == "query" else subset
            frames = tuple(where + name for name in lines)
            found.append(Tracklet(frames, pid, camera, int(lines[0][7:11]), subset))
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(rows)} tracklets do not fit the names in {names_file}, where "
            f"each must be lines of one person and one camera: {first(wrong)}. The files of info/ "
            f"do not belong together; {FETCH}."
        )
    if absent:
        raise FileNotFoundError(
            f"{len(absent)} pictures that {names_file} lists are not in {folder}: "
            f"{first(absent)}. Unpack the whole of MARS there."
        )
    return found


def _entries(folder: Path) -> set[str]:
    """Names in `folder`: one look at it instead of one for each of a million frames."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


def _from_names(folder: Path) -> Iterable[Tracklet]:
    """Tracklets of the pictures ``<pid>/<name>`` in `folder`, by person, camera and number."""
    subset = "train" if folder.name == FOLDERS[0] else "gallery"
    groups: dict[tuple[int, int, int], list[tuple[int, str]]] = {}
    strange, empty = [], []
    for person in sorted(folder.iterdir()):
        if person.name.startswith("."):
            continue
        names = _entries(person)
        if person.is_dir() and not names:
            empty.append(person.name)
        elif _is_picture(person.name) and not person.is_dir():
            strange.append(person.name)
        for name in names:
            match = NAME.fullmatch(name)
            if match is None or match["pid"] != person.name:
                strange += [f"{person.name}/{name}"] if _is_picture(name) else []
            elif match["pid"] != "00-1" and (subset != "train" or int(match["pid"]) > DISTRACTOR):
                who = int(match["pid"]), int(match["camera"]), int(match["tracklet"])
                frames = groups.setdefault(who, [])
                frames.append((int(match["frame"]), f"{person}{os.sep}{name}"))
    refuse(sorted(strange), folder, f"0001/{EXAMPLE}")
    if empty:
        LOG.warning("%d folders in %s are empty: %s.", len(empty), folder, first(empty))
    for who in sorted(groups):
        yield Tracklet(tuple(path for _, path in sorted(groups[who])), *who, subset)


def _is_picture(name: str) -> bool:
    """Whether somebody meant `name` as a picture; ._0001C1T0001F001.jpg is one of macOS's notes."""
    kind = Path(name).suffix.lower()
    return not name.startswith(".") and kind in PICTURES | OTHER_PICTURES
