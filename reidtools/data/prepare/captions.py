"""The captions of CUHK-PEDES, brought into the form in which they are looked up."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reidtools.data.captions import Entry, coverage, join, read_entries
from reidtools.data.datasets.listing import MARKET_NAME, find_pictures
from reidtools.data.datasets.market import FOLDERS, market1501
from reidtools.data.preflight import first
from reidtools.data.samples import Sample
from reidtools.files import make_folder, write_json

LOG = logging.getLogger("reidtools")
CAPTIONS, NUMBERS = ("captions_parsed.json", "imgs_id.json")


class Parsed(NamedTuple):
    """What `prepare_captions` wrote into `folder`, counted; `coverage` is empty unless asked for.

    `people` are those whom CUHK-PEDES tells apart.
    """

    folder: Path
    captions: int
    pictures: int
    people: int
    coverage: str

    def __str__(self) -> str:
        written = (
            f"{self.folder}: {self.captions} captions of {self.pictures} pictures in {CAPTIONS}, "
            f"their {self.people} people in {NUMBERS}"
        )
        return f"{written}\n{self.coverage}" if self.coverage else written


def prepare_captions(
    source: str | Path,
    output: str | Path = "",
    *,
    images: str | Path = "",
    replace: bool = False,
) -> Parsed:
    """Write ``captions_parsed.json`` and ``imgs_id.json`` of CUHK-PEDES's ``caption_all.json``.

    The first is {name of picture: captions}, the second {name of picture: id}, both without
    folders; they go into the folder `output`, by default beside `source`. ``reid_raw.json`` will do
    as well. A name that comes twice has the captions of both entries, each once, and the id of the
    first; both are told (https://github.com/ShuangLI59/Person-Search-with-Natural-Language-Description).

    With `images`, a root or folder of Market-1501, or any folder of pictures, it is counted how
    many of the pictures to train on (of any folder: all pictures in and below it) have captions.

    Everything is read before anything is written. ValueError for a file of another shape, and
    unless `replace` where one of the two is there already; FileNotFoundError for missing ones.
    """
    source = Path(source).expanduser()
    folder = Path(output).expanduser() if output else source.parent
    entries = read_entries(source)
    files = [folder / name for name in (NUMBERS, CAPTIONS)]
    there = [file for file in files if file.exists()]
    if there and not replace:
        raise ValueError(
            f"{there[0]} is there already; choose another --output, or replace it with --replace."
        )
    captions, numbers = join(entries), _numbers(entries)
    covered = coverage(_to_train(Path(images).expanduser()), captions) if images else ""
    make_folder(folder, "--output")
    for file, content in zip(files, (numbers, captions), strict=True):  # captions, once all is well
        write_json(file, content)
    total = sum(map(len, captions.values()))
    return Parsed(folder, total, len(captions), len(set(numbers.values())), covered)


def _numbers(entries: Sequence[Entry]) -> dict[str, int]:
    """Whom each name shows; one that shows two people is told."""
    numbers: dict[str, int] = {}
    two = set()
    for entry in entries:
        if numbers.setdefault(entry.name, entry.number) != entry.number:
            two.add(entry.name)
    if two:
        LOG.warning(
            "%d names of pictures stand for two people or more, the first of whom counts: %s. "
            "Rename these pictures if you train on them.",
            len(two),
            first(sorted(two)),
        )
    return numbers


def _to_train(images: Path) -> list[Sample]:
    """The pictures of Market-1501 to train on in `images`, else all that are there."""
    try:
        train = market1501(images).train
    except FileNotFoundError:  # no folder of Market-1501's
        train = []
    if train:
        return train
    LOG.info("%s has no %s; all its pictures are counted.", images, FOLDERS[0])
    found = [(str(path), MARKET_NAME.match(path.name)) for path in find_pictures(images, True)]
    # Nobody (-1) where the name tells no person; 0 is no person either.
    return [Sample((path,), int(name["pid"]) or -1 if name else -1, 0) for path, name in found]
