"""The folder PRW-v16.04.20 as its authors release it: what it must hold, and how that reads."""

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reidtools.data.datasets.listing import refuse
from reidtools.data.preflight import first
from reidtools.data.prepare.files import in_threads

if TYPE_CHECKING:
    import numpy as np

LOG = logging.getLogger("reidtools")
WHOLE = "unpack the whole of PRW-v16.04.20 there"
BOX_KEYS = ("box_new", "anno_file", "anno_previous")
FRAME = re.compile(r"c[1-9]\d*s\d+_\d+")
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d\d?)?"
QUERY = re.compile(
    rf"(?P<pid>\d+)(?P<box>(\s+{NUMBER}){{4}})\s+(?P<frame>{FRAME.pattern})(\.jpg)?", re.IGNORECASE
)
UNKNOWN = -2  # somebody whom the authors could not tell

Box = tuple[float, ...]  # x, y, width, height in pixels


class Query(NamedTuple):
    """A line of ``query_info.txt``; `file` is the picture of it, if ``query_box`` is there."""

    pid: int
    box: Box
    frame: str
    file: Path | None


class Release(NamedTuple):
    """Frames to train and to test, by name; the (id, box) of each of them; queries."""

    train: list[str]
    test: list[str]
    boxes: dict[str, list[tuple[int, Box]]]
    queries: list[Query]


def read_release(raw: Path) -> Release:
    """Everything in `raw` but the pictures, which only have to be there.

    FileNotFoundError for what is missing, ValueError for what cannot be read. People who are split
    in another way than PRW says are a warning.
    """
    train, test = (_frames(raw, split) for split in ("train", "test"))
    queries = _queries(raw)
    boxes = _boxes(raw, list(dict.fromkeys(train + test)))
    _compare_people(raw, {pid for f in train for pid, _ in boxes[f] if pid >= 0}, queries)
    return Release(train, test, boxes, queries)


def _require(files: Iterable[Path]) -> None:
    """Raise a FileNotFoundError that names the first of the `files` that are missing."""
    missing = [file for file in files if not file.is_file()]
    if missing:
        others = f" and {len(missing) - 1} other files" if len(missing) > 1 else ""
        verb = "are" if others else "is"
        raise FileNotFoundError(f"{missing[0]}{others} {verb} missing; {WHOLE}.")


def _load(file: Path, keys: Sequence[str]) -> "np.ndarray":
    """What the MATLAB file holds under the first of the `keys` that it has."""
    from scipy.io import loadmat

    _require([file])
    try:
        content = loadmat(file)
    except Exception as error:  # scipy has many kinds of errors for broken files
        raise ValueError(f"{file} is not a readable MATLAB file ({error}); {WHOLE}.") from error
    for key in keys:
        if key in content:
            return content[key]
    others = ", ".join(sorted(key for key in content if key[:2] != "__")) or "nothing"
    raise ValueError(f"{file} holds {others}, but not {' or '.join(keys)}; {WHOLE}.")


def _frames(raw: Path, split: str) -> list[str]:
    """Names of the frames of one split, without ``.jpg``."""
    file = raw / f"frame_{split}.mat"
    names = [name.removesuffix(".jpg") for name in _strings(_load(file, [f"img_index_{split}"]))]
    refuse([repr(name) for name in names if not FRAME.fullmatch(name)], file, "c1s1_000151")
    return list(dict.fromkeys(names))


def _strings(cells: Any) -> list[str]:
    """The strings of a MATLAB cell array, which come as arrays within arrays."""
    if not getattr(cells, "ndim", 0):  # a string, or something that is none and gets refused
        return [str(cells).strip()]
    return [text for cell in cells.flat for text in _strings(cell)]


def _queries(raw: Path) -> list[Query]:
    """The lines ``id x y width height frame`` of ``query_info.txt``, however they end."""
    file, folder = raw / "query_info.txt", raw / "query_box"
    has_pictures = folder.is_dir()
    _require([file])
    found, strange = [], []
    for line in filter(None, map(str.strip, file.read_text(encoding="utf-8").splitlines())):
        match = QUERY.fullmatch(line)
        if match:
            pid, frame = int(match["pid"]), match["frame"]
            picture = folder / f"{pid}_{frame}.jpg" if has_pictures else None
            box = tuple(map(float, match["box"].split()))
            found.append(Query(pid, box, frame, picture))
        else:
            strange.append(repr(line))
    refuse(strange, file, "'479 500.5 259.2 60.7 173.1 c1s3_016471'")
    _require(query.file or raw / "frames" / f"{query.frame}.jpg" for query in found)
    return found


def _boxes(raw: Path, frames: list[str]) -> dict[str, list[tuple[int, Box]]]:
    """(id, (x, y, width, height)) of each box of each frame; everybody unknown has id -2."""
    _require(raw / "frames" / f"{frame}.jpg" for frame in frames)
    files = [raw / "annotations" / f"{frame}.jpg.mat" for frame in frames]
    _require(files)
    return dict(zip(frames, in_threads(_read_boxes, files, "annotations"), strict=True))


def _read_boxes(file: Path) -> list[tuple[int, Box]]:
    import numpy as np

    table = _load(file, BOX_KEYS)
    if table.size == 0:
        return []
    if table.ndim != 2 or table.shape[1] != 5 or table.dtype.kind not in "iuf":
        raise ValueError(
            f"{file} holds {table.dtype} numbers of shape {table.shape}, but not rows of id, x, y, "
            f"width and height; {WHOLE}."
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{file} holds numbers that are not finite; {WHOLE}.")
    rows = table.astype(float).tolist()
    return [(int(pid) if pid >= 0 else UNKNOWN, tuple(box)) for pid, *box in rows]


def _compare_people(raw: Path, train: set[int], queries: list[Query]) -> None:
    """Warn when people are not split as PRW says they are."""
    asked = sorted(train & {query.pid for query in queries})
    if asked:
        LOG.warning("%d people are in train and in query: ids %s.", len(asked), first(asked))
    file = raw / "ID_train.mat"
    if file.is_file():
        listed = {int(pid) for pid in _load(file, ["ID_train"]).flat}
        if listed != train:
            LOG.warning(
                "ID_train.mat lists %d people, %d are in the train frames; ids in one only: %s.",
                len(listed),
                len(train),
                first(sorted(listed ^ train)),
            )
