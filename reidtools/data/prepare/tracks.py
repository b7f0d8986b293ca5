"""Crops of tracks, a folder for each, become a dataset to train on: a track is a person."""

import json
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reidtools.data.datasets.listing import pictures
from reidtools.data.preflight import first, flaw
from reidtools.data.prepare.files import (
    RECORD,
    Made,
    begin,
    conclude,
    in_threads,
    is_made,
)
from reidtools.data.prepare.sequences import seen_from
from reidtools.files import make_folder, write_json, write_whole
from reidtools.registry import choose

LOG = logging.getLogger("reidtools")
TRAIN, QUERY, GALLERY = PARTS = ("train", "query", "gallery")
COPY, SYMLINK = ("copy", "symlink")
META = "meta.json"


class Place(NamedTuple):
    """A crop and the file it becomes."""

    source: Path
    target: Path


def prepare_tracks(
    crops_dir: str | Path,
    out: str | Path,
    *,
    train_ratio: float = 0.7,
    query_per_id: int = 1,
    link: str = COPY,
    strict: bool = False,
) -> Made:
    """Make ``{train,query,gallery}/<id>/`` of the track folders in `crops_dir`, see `divide`.

    Tracks are taken by name and numbered ``0001``, ``0002`` …; ``meta.json`` says which track each
    was, how its crops were divided, and with which options. Names of files stay, and `crops_dir`
    too. A track with fewer than two crops is left out with a warning: it has nothing to find. The
    same track is in all three parts, so figures say how well a track is told from the others, not
    how well strangers are.

    With the `link` ``symlink`` a picture is a symbolic link, relative so that both folders can move
    together, instead of a ``copy``.

    Pictures that exist already are kept, so a run that was stopped goes on. Crops that are no whole
    pictures are left out before anything is divided, and told; with `strict` they are a ValueError,
    after all others were made. So are, before anything is written, options that make no sense, and
    an `out` that holds other files, or was made with other options or of other crops.
    FileNotFoundError when `crops_dir` is no folder; OSError where symbolic links are not allowed.
    """
    _check(train_ratio, query_per_id, link)
    # Where they really lie: a relative link is followed from there.
    crops, out = (Path(path).expanduser().resolve() for path in (crops_dir, out))
    _check_places(crops, out)
    tracks, broken = _whole(crops)
    parts = {
        f"{number:04d}": (name, divide(files, train_ratio, query_per_id))
        for number, (name, files) in enumerate(tracks.items(), 1)
    }
    plan = [
        Place(file, out / part / person / file.name)
        for person, (_, divided) in parts.items()
        for part, files in zip(PARTS, divided, strict=True)
        for file in files
    ]
    named = "\n".join(
        f"{file.parent.name}/{file.name} {(about := file.stat()).st_size} {about.st_mtime_ns}"
        for file, _ in plan
    )
    decided = {
        "crops": seen_from(out, crops),
        "train_ratio": train_ratio,
        "query_per_id": query_per_id,
        "link": link,
        # One more crop, or one that is repaired later, moves those that follow it.
        "files": f"{len(plan)} of {len(parts)} tracks, checksum {zlib.crc32(named.encode()):08x}",
    }
    if not any(files[0] for _, files in parts.values()):
        LOG.warning("No track has a crop left to train on; lower query_per_id, or extract more.")
    begin(out, decided)
    for folder in {out / part for part in PARTS} | {place.target.parent for place in plan}:
        make_folder(folder, "place")
    wanted = [place for place in plan if not is_made(place.target)]
    in_threads(_copy if link == COPY else _link, wanted, out.name)
    ids = {
        person: {"track": name} | {p: len(f) for p, f in zip(PARTS, divided, strict=True)}
        for person, (name, divided) in parts.items()
    }
    write_json(out / META, {**decided, "ids": ids})
    return conclude(out, len(plan) + len(broken), len(plan) - len(wanted), broken, strict)


def divide(
    crops: Sequence[Path], train_ratio: float = 0.7, query_per_id: int = 1
) -> tuple[Sequence[Path], Sequence[Path], Sequence[Path]]:
    """The crops of a track, in order, for train, query and gallery: one after the other.

    The first ``int(train_ratio * n)`` are trained on, the next `query_per_id` ask, the others are
    to be found. There is always one to be found: train gives way, then the queries. So by default
    a track of 2 is not trained on (0, 1, 1), one of 3 is divided 1, 1, 1, one of 4 2, 1, 1:

    >>> [tuple(map(len, divide(range(n)))) for n in (2, 3, 4, 10)]
    [(0, 1, 1), (1, 1, 1), (2, 1, 1), (7, 1, 2)]
    """
    count = len(crops)
    query = min(query_per_id, count - 1)
    train = min(int(train_ratio * count), count - query - 1)
    return crops[:train], crops[train : train + query], crops[train + query :]


def tracks_table(folder: str | Path, most: int = 40) -> str:
    """How many crops of each track are in each part of the dataset in `folder`.

    Of more than `most` tracks the first are shown, with the number of the others.
    """
    from tabulate import tabulate

    ids = json.loads((Path(folder) / META).read_text(encoding="utf-8"))["ids"]
    columns = ("track", *PARTS)
    rows = [(person, *(about[column] for column in columns)) for person, about in ids.items()]
    sums = [sum(row[2 + place] for row in rows) for place in range(len(PARTS))]
    shown = [*rows[:most], ("all", f"{len(rows)} tracks", *sums)]
    table = tabulate(shown, ("id", *columns), tablefmt="pipe", disable_numparse=[0, 1])
    left = len(rows) - most
    return f"{table}\nand {left} tracks more, all in {META}" if left > 0 else table


def _check(train_ratio: float, query_per_id: int, link: str) -> None:
    """Raise ValueError or LookupError for an option that makes no sense."""
    if not 0 <= train_ratio < 1:
        raise ValueError(
            f"The train ratio is {train_ratio}; it is a share of each track, such as 0.7, and "
            "below 1, so that something is left to test on."
        )
    if query_per_id < 1:
        raise ValueError(f"There are {query_per_id} queries per id; ask for 1 or more.")
    choose("link", link, dict.fromkeys((COPY, SYMLINK)))


def _check_places(crops: Path, out: Path) -> None:
    """Raise an error unless `crops` is a folder and `out` one that this may fill."""
    if not crops.is_dir():
        raise FileNotFoundError(
            f"There is no folder {crops}; give the one with a folder of crops for each track."
        )
    if out == crops or crops in out.parents or out in crops.parents:
        raise ValueError(
            f"{out} and the crops in {crops} lie in each other; choose another folder to make."
        )
    if out.is_dir() and not (out / RECORD).is_file() and any(out.iterdir()):
        raise ValueError(
            f"{out} holds files that were not made from crops of tracks; choose another folder to "
            "make, or empty it."
        )


def _whole(crops: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Crops of each track that has two or more, and ``track/crop (why)`` of those left out."""
    folders = sorted(f for f in crops.iterdir() if f.is_dir() and not f.name.startswith("."))
    listed = [file for folder in folders for file in pictures(folder)]
    flaws = in_threads(lambda file: flaw(str(file)), listed, "Looking through crops", delay=2)
    tracks: dict[str, list[Path]] = {folder.name: [] for folder in folders}
    broken = []
    for file, what in zip(listed, flaws, strict=True):
        if what:
            broken.append(f"{file.parent.name}/{file.name} ({what})")
        else:
            tracks[file.parent.name].append(file)
    short = [name for name, files in tracks.items() if len(files) < 2]
    if len(short) == len(tracks):
        inside = crops / "crops"
        hint = f", such as {inside}" if inside.is_dir() else ""
        told = f" {len(broken)} crops cannot be read: {first(broken)}." if broken else ""
        raise ValueError(
            f"No folder in {crops} has two crops or more.{told} Give the folder that has a folder "
            f"for each track{hint}, and let extraction keep more crops per track."
        )
    if short:
        LOG.warning(
            "%d of %d tracks have fewer than 2 crops and are left out: %s.",
            len(short),
            len(tracks),
            first(short),
        )
    return {name: files for name, files in tracks.items() if len(files) > 1}, broken


def _copy(place: Place) -> None:
    content = place.source.read_bytes()
    write_whole(place.target, lambda file: file.write(content), durable=False)


def _link(place: Place) -> None:
    try:
        place.target.unlink(missing_ok=True)  # one that leads nowhere, see is_made
        place.target.symlink_to(seen_from(place.target.parent, place.source))
    except OSError as error:
        raise OSError(
            f"{place.target} cannot be a symbolic link ({error.strerror or error}); copy instead, "
            "with --copy."
        ) from error
