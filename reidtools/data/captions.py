"""Captions of people, as CUHK-PEDES has them (arXiv:1702.05729), looked up by names of pictures.

CUHK-PEDES has described some pictures of Market-1501 under their own file names, so that a sample
of Market-1501 finds its captions without any further table.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reidtools.data.preflight import first
from reidtools.data.samples import Sample

LOG = logging.getLogger("reidtools")
TAIL = re.compile(r"_\d\d\.[A-Za-z]{3}")  # the box of a picture of Market-1501: _03.jpg


class Entry(NamedTuple):
    """What a file of captions says of one picture: its file `name`, `captions`, and who it shows.

    `number` is the person's in CUHK-PEDES, which has nothing to do with pids; -1 where none is.
    """

    name: str
    captions: list[str]
    number: int = -1


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """The captions of each picture, by file name without folder.

    `path` is what ``tools/prepare_captions.py`` makes (``captions_parsed.json``, a mapping from
    names to captions) or what it is made of, see `read_entries`. FileNotFoundError, or ValueError
    for a file of another kind.
    """
    content = _load(path)
    if isinstance(content, list):
        return join(_entries(content, Path(path)))
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f"{path} is no file of captions; give captions_parsed.json, as "
            "tools/prepare_captions.py makes it, or caption_all.json of CUHK-PEDES."
        )
    return join(_named(name, texts, path) for name, texts in content.items())


def read_entries(path: str | Path) -> list[Entry]:
    """The entries of ``caption_all.json`` or ``reid_raw.json`` of CUHK-PEDES.

    That is a list of ``{"file_path": …, "captions": [...], "id": …}``; other keys are not read.
    FileNotFoundError, or a ValueError that names the first entry of another shape.
    """
    content = _load(path)
    if not isinstance(content, list) or not content:
        what = "an empty list" if content == [] else "no list of entries"
        raise ValueError(
            f'{path} is {what} {{"file_path", "captions", "id"}}; give caption_all.json, or '
            "reid_raw.json, of CUHK-PEDES."
        )
    return _entries(content, Path(path))


def join(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """The captions by name. A name that comes twice has those of both, each once, and is told."""
    captions: dict[str, list[str]] = {}
    joined = set()
    for entry in entries:
        own = list(dict.fromkeys(entry.captions))
        before = captions.setdefault(entry.name, own)
        if more := [caption for caption in own if caption not in before]:
            before += more
            joined.add(entry.name)
    if joined:
        LOG.warning(
            "%d names of pictures come more than once with other captions, which are joined: %s.",
            len(joined),
            first(sorted(joined)),
        )
    return captions


def captions_of(
    samples: Sequence[Sample], captions: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """The captions of each of the `samples`, in their order; an empty list where there are none.

    The name of a sample's first picture is looked up, then that of the box 00 of the same moment,
    the one that people were asked to describe: ``0002_c1s1_000451_03.jpg``, then
    ``0002_c1s1_000451_00.jpg``.
    """
    return [list(captions[key]) if (key := _key(sample, captions)) else [] for sample in samples]


def coverage(samples: Sequence[Sample], captions: Mapping[str, Sequence[str]]) -> str:
    """One sentence: how many of the `samples` have `captions`, and how many of these are not used.

    Samples with a negative pid are of nobody known, and not counted as people.
    """
    keys = [_key(sample, captions) for sample in samples]
    people = {sample.pid for sample in samples if sample.pid >= 0}
    described = {s.pid for s, key in zip(samples, keys, strict=True) if key and s.pid >= 0}
    shares = [_share(sum(map(bool, keys)), len(samples), "pictures")]
    if people:
        shares.append(_share(len(described), len(people), "people"))
    used = set(keys)
    unused = [some for name, some in captions.items() if name not in used]
    return (
        f"{' and '.join(shares)} have captions; {sum(map(len, unused))} captions, of "
        f"{len(unused)} pictures, belong to no picture here."
    )


def _share(count: int, total: int, what: str) -> str:
    return f"{count} of {total} {what} ({100 * count / max(total, 1):.1f} %)"


def _key(sample: Sample, captions: Mapping[str, Sequence[str]]) -> str:
    """The name under which there are captions for a sample; empty if there are none."""
    name = Path(sample.paths[0]).name
    if name in captions:
        return name
    first_box = f"{name[:-7]}_00.jpg"
    return first_box if TAIL.fullmatch(name[-7:]) and first_box in captions else ""


def _load(path: str | Path) -> Any:
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file of captions at {file.absolute()}; check the path, or ask for "
            "CUHK-PEDES, which has it."
        )
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # neither UTF-8 nor JSON
        raise ValueError(
            f"{path} is not JSON ({error}): it is cut short, or another file; copy it again."
        ) from error


def _named(name: str, texts: Any, path: str | Path) -> Entry:
    """One entry of captions_parsed.json."""
    where = f"The entry {name!r} of {path}"
    return Entry(_basename(name, where), _captions(texts, where))


def _entries(content: list[Any], path: Path) -> list[Entry]:
    return [_entry(entry, f"Entry {place} of {path}") for place, entry in enumerate(content, 1)]


def _entry(entry: Any, where: str) -> Entry:
    """One entry of CUHK-PEDES; another shape is a ValueError that says `where` it is."""
    keys = ("file_path", "captions", "id")
    if not isinstance(entry, dict) or any(key not in entry for key in keys):
        lacks = [key for key in keys if key not in entry] if isinstance(entry, dict) else []
        raise ValueError(
            f"{where} {'lacks ' + ' and '.join(lacks) if lacks else 'is no mapping'}; an entry is "
            '{"file_path": "Market/0002_c1s1_000451_00.jpg", "captions": [...], "id": 1}.'
        )
    number = entry["id"]
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"{where} has the id {number!r}; write a whole number.")
    return Entry(_basename(entry["file_path"], where), _captions(entry["captions"], where), number)


def _basename(path: Any, where: str) -> str:
    name = re.split(r"[/\\]", path)[-1].strip() if isinstance(path, str) else ""
    if not name:
        raise ValueError(f"{where} has no name of a picture, but {path!r}; write its file name.")
    return name


def _captions(captions: Any, where: str) -> list[str]:
    texts = captions if isinstance(captions, list) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(
            f"{where} has no list of captions with words in each, but {captions!r:.80}; write what "
            "is seen, or remove the entry."
        )
    return texts
