"""Market-1501's flat folders become a folder for each person, with pictures kept for validation."""

import logging
import os
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from reidtools.data.datasets.listing import MARKET_NAME, pictures, refuse
from reidtools.data.datasets.market import FOLDERS
from reidtools.data.preflight import first, flaw
from reidtools.data.prepare.files import Made, begin, conclude, in_threads, is_made
from reidtools.files import make_folder, write_whole

LOG = logging.getLogger("reidtools")
TRAIN, QUERY, GALLERY = ("train", "query", "gallery")
VAL = "val"


class Move(NamedTuple):
    """A picture and the place it gets."""

    source: Path
    target: Path


def prepare_grouped(
    src: str | Path, out: str | Path, *, link: bool = False, strict: bool = False
) -> Made:
    """Copy a dataset in the Market-1501 layout into ``{train,val,query,gallery}/<id>/``.

    An id is written as in the file names: ``0002``, and ``0000`` and ``-1`` in the gallery. Of each
    person to train on, the first picture by name goes to ``val`` (751 of Market-1501, and 12,185
    stay in ``train``); who has a single one keeps it in ``train``. File names stay, and `src` too.
    With `link` the files are hard links, which take no room: a change to one is a change to both.

    `DATASETS.NAMES` takes the result as it is, but for ``val``, which no test here reads. Pictures
    that exist already are kept, so a run that was stopped goes on. A broken one is left out and
    told; with `strict` it is a ValueError, after all others were made. FileNotFoundError when `src`
    has not all three folders of the layout.
    """
    src, out = (Path(path).expanduser().absolute() for path in (src, out))
    if missing := [folder for folder in FOLDERS if not (src / folder).is_dir()]:
        raise FileNotFoundError(
            f"{src} has no {' and no '.join(missing)}; give the folder of a dataset in the "
            "Market-1501 layout, unpacked whole."
        )
    if out.resolve() == src.resolve():
        raise ValueError(f"{out} is the dataset itself; choose another folder to make.")
    moves = _plan(src, out)
    if not moves:
        raise ValueError(f"There are no pictures in {src}; unpack the whole dataset there.")
    begin(out, {"grouped": str(src)})
    for folder in (TRAIN, VAL, QUERY, GALLERY):  # also one that stays empty
        make_folder(out / folder, "place")
    for folder in {move.target.parent for move in moves}:
        make_folder(folder, "place")
    wanted = [move for move in moves if not is_made(move.target)]
    failed = [why for why in in_threads(partial(_make, link=link), wanted, out.name) if why]
    return conclude(out, len(moves), len(moves) - len(wanted), failed, strict)


def _plan(src: Path, out: Path) -> list[Move]:
    """Every picture of the three folders with its place."""
    train, query, gallery = (_by_person(src / folder) for folder in FOLDERS)
    lonely = [person for person, files in train.items() if len(files) == 1]
    if lonely:
        LOG.warning(
            "%d people have a single picture to train on, which stays there: %s have none in val.",
            len(lonely),
            first(lonely),
        )
    val = {person: files[:1] for person, files in train.items() if len(files) > 1}
    train = {person: files[len(val.get(person, ())) :] for person, files in train.items()}
    parts = {TRAIN: train, VAL: val, QUERY: query, GALLERY: gallery}
    return [
        Move(file, out / part / person / file.name)
        for part, people in parts.items()
        for person, files in people.items()
        for file in files
    ]


def _by_person(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each id in `folder`, sorted by name; other names are a ValueError."""
    files = pictures(folder)
    matches = {file: MARKET_NAME.match(file.name) for file in files}
    refuse([f.name for f in files if not matches[f]], folder, "0002_c1s1_000451_03.jpg")

    def person(file: Path) -> str:
        return matches[file]["pid"]

    return {pid: list(group) for pid, group in groupby(sorted(files, key=person), person)}


def _make(move: Move, *, link: bool) -> str:
    """Copy or link one picture; returns ``name (why)`` if it is no whole picture, else nothing."""
    source, target = move
    if what := flaw(str(source)):
        return f"{source.parent.name}/{source.name} ({what})"
    if not link:
        write_whole(target, lambda file: file.write(source.read_bytes()), durable=False)
        return ""
    try:
        target.unlink(missing_ok=True)  # an empty one, see is_made
        os.link(source.resolve(), target)
    except OSError as error:
        raise OSError(
            f"{target} cannot be linked to {source} ({error.strerror or error}); choose an --out "
            "on the same disk, or do without --link."
        ) from error
    return ""
