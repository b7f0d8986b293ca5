"""Who is seen in a picture, as its file name or its folder tells."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reidtools.data.datasets.listing import MARKET_NAME
from reidtools.data.datasets.mars import NAME as MARS_NAME

SEQUENCE = re.compile(r"(?:^|/)ID(?P<pid>\d{4})/cam(?P<camera>\d\d)_seq\w+/rgb/[^/]+$")
WHOLE = re.compile(r"-?[0-9]+")
JUNK = -1


def person_of(path: str | Path, root: str | Path | None = None) -> str:
    """The person's name: ``0843_c1s4_054211_00.jpg`` is ``"0843"``, ``anna/7.jpg`` is ``"anna"``.

    The part of the file name before the first ``_``, if it is a whole number, or what MARS or its
    sequences tell; else the folder of `root` (the first below it) that the picture lies in; else
    ``""``, nobody known.
    """
    path = Path(path)
    if tracklet := _tracklet(path):
        return str(JUNK) if tracklet["pid"] == "00-1" else tracklet["pid"]
    number, rest, _ = path.name.partition("_")
    if rest and WHOLE.fullmatch(number):
        return number
    if root is None:
        return ""
    home, path = Path(root).absolute(), path.absolute()
    below = path.relative_to(home).parts if path.is_relative_to(home) else ()
    return below[0] if len(below) > 1 else ""


def camera_of(path: str | Path) -> int:
    """The camera in a name of the form ``0843_c1s4_054211_00.jpg``, from 0; -1 if it tells none.

    Frames of MARS, ``0001C1T0001F001.jpg``, and of its sequences tell theirs as well.
    """
    path = Path(path)
    found = MARKET_NAME.match(path.name) or _tracklet(path)
    return int(found["camera"]) - 1 if found else -1


def _tracklet(path: Path) -> re.Match | None:
    """What a frame of MARS tells, or one in a folder such as ``ID0001/cam02_seq0003/rgb``."""
    return MARS_NAME.fullmatch(path.name) or SEQUENCE.search(path.as_posix())


def is_person(name: str) -> bool:
    """Whether `name` is somebody's: neither ``""`` nor a negative number, which means junk."""
    return bool(name) and not (name[0] == "-" and WHOLE.fullmatch(name))


def same_person(a: str, b: str) -> bool:
    """Whether two names are one person's: equal, or equal as whole numbers (``0843``, ``843``).

    Nobody known and junk are no person, and the same as no other.
    """
    return is_person(a) and is_person(b) and tidy(a) == tidy(b)


def tidy(name: str) -> str:
    """A whole number without leading zeros; other names as they are."""
    return str(int(name)) if WHOLE.fullmatch(name) else name


def numbers(
    query_names: Sequence[str], gallery_names: Sequence[str]
) -> tuple[list[int], list[int]]:
    """Names as pids for `reidtools.evaluation.Vectors`: those of the queries, of the gallery.

    Whole numbers keep their value; names that are none get numbers above them all, in sorted
    order, the same name the same one. Nobody known and junk are -1.
    """
    people = {tidy(name) for name in (*query_names, *gallery_names) if is_person(name)}
    # A number that no tensor holds, such as a long time stamp, is a name like others.
    pids = {name: int(name) for name in people if WHOLE.fullmatch(name) and len(name) < 19}
    first = max(pids.values(), default=-1) + 1
    pids |= {name: first + i for i, name in enumerate(sorted(people - pids.keys()))}

    def pid(name: str) -> int:
        return pids[tidy(name)] if is_person(name) else JUNK

    return [pid(name) for name in query_names], [pid(name) for name in gallery_names]


def means(vectors: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The mean of each person's vectors, float32 (P, D), and the P names, sorted.

    `vectors` (N, D) are taken as they are, not brought to one length; `names` (N,) as `person_of`
    tells them. Pictures of nobody known and junk are left out; ``0843`` and ``843`` are one person,
    called by the first in sorted order. Raises ValueError where nobody is left.
    """
    if len(vectors) != len(names):
        raise ValueError(f"{len(vectors)} vectors and {len(names)} names; give each vector one.")
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if is_person(name):
            rows.setdefault(tidy(name), []).append(row)
    if not rows:
        raise ValueError(
            f"None of {len(names)} file names tells a person, so there are no means of people; "
            "name pictures like 0843_c1s4_054211_00.jpg, or put them into a folder for each person."
        )
    people = sorted((min(names[row] for row in own), own) for own in rows.values())
    made = np.stack([vectors[own].mean(axis=0, dtype=np.float64) for _, own in people])
    return made.astype(np.float32), [name for name, _ in people]
