"""Files of MOTChallenge's form: who is where in which frame (arXiv:1603.00831)."""

import configparser
import logging
import re
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

LOG = logging.getLogger("reidtools")
COLUMNS = 7  # frame, id, left, top, width, height, confidence; what follows is not read
NEEDED = COLUMNS - 1


@dataclass(frozen=True)
class TrackBoxes:
    """Rows of a file of tracks, in its order.

    `frames` int64 (N,), counted from 1; `ids` int64 (N,); `boxes` float64 (N, 4), left, top, right,
    bottom in pixels; `confidences` float64 (N,), 1 where the file has none.
    """

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    confidences: np.ndarray

    def __post_init__(self):
        for name, kind in (("frames", int), ("ids", int), ("boxes", float), ("confidences", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        count = len(self.frames)
        if not count or min(self.frames) < 1:
            raise ValueError("There are no boxes, or a frame below 1; frames count from 1.")
        if self.boxes.shape != (count, 4) or {len(self.ids), len(self.confidences)} != {count}:
            raise ValueError(
                f"Boxes {self.boxes.shape} of {count} frames, {len(self.ids)} ids and "
                f"{len(self.confidences)} confidences do not fit; give one of each for every box."
            )

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, which: np.ndarray) -> "TrackBoxes":
        """Only these rows, by their numbers or a mask, in this order."""
        return TrackBoxes(
            self.frames[which], self.ids[which], self.boxes[which], self.confidences[which]
        )


def read_tracks(path: str | Path, min_confidence: float | None = None) -> TrackBoxes:
    """The rows ``frame, id, left, top, width, height[, confidence, …]`` of a text file.

    Commas or spaces, six columns or more, whole numbers or floats. Rows below `min_confidence` are
    left out; without one all count, but for ``gt.txt``, whose seventh column says with 0 which rows
    are not to be considered. Where no row has an id (``det.txt`` has -1), each is a track of its
    own, called by its place in the file, from 1.

    Lines that are no rows, boxes that are no numbers and rows without an id among others that have
    one are told and left out; twice an id in a frame is told and kept. Raises FileNotFoundError,
    and ValueError where no row is left.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no file of tracks {path.absolute()}; check the path."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text ({error}); give a file of rows.") from None
    rows, flaws = _rows(text)
    frames, ids = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    if len(rows) and (ids < 0).all():
        LOG.warning("%s has no ids: each of its %d rows is a track of its own.", path, len(rows))
        ids = np.arange(1, len(rows) + 1)
    keep = ids >= 0
    flaws["have no id, while others have one"] = int((~keep).sum())
    if min_confidence is None and path.name == "gt.txt":
        min_confidence = 0.5  # a flag, 0 or 1
    if min_confidence is not None:
        low = keep & (rows[:, 6] < min_confidence)
        flaws[f"have a confidence (in gt.txt a flag) below {min_confidence:g}"] = int(low.sum())
        keep &= ~low
    told = "; ".join(f"{count} {why}" for why, count in flaws.items() if count)
    if not keep.any():
        raise ValueError(
            f"{path} has no row that can be used{f' ({told})' if told else ''}; rows are frame, "
            "id, left, top, width, height, confidence, with commas or spaces between."
        )
    if told:
        LOG.warning("%s: rows left out: %s.", path, told)
    corners = rows[:, 2:6].copy()
    corners[:, 2:] += corners[:, :2]
    found = TrackBoxes(frames[keep], ids[keep], corners[keep], rows[keep, 6])
    _tell_twins(path, found)
    return found


def _rows(text: str) -> tuple[np.ndarray, Counter[str]]:
    """The rows (N, 7) of numbers, and how many lines were left out for what."""
    values, flaws, first = array("d"), Counter[str](), {}
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"\s*,\s*|\s+", line.strip().rstrip(", "))
        if words == [""] or words[0].startswith("#"):
            continue
        try:
            row = [float(word.replace("_", "no ")) for word in words[:COLUMNS]]
        except ValueError:
            why = "are no rows of numbers"
        else:
            row += [1.0] * (len(row) == NEEDED)
            finite = all(abs(value) < 2**53 for value in row)  # NaN is not, either
            why = (
                "have fewer than six columns"
                if len(row) < COLUMNS
                else "have NaN or infinite values"
                if not finite
                else "have a frame or id that is no whole number, or a frame below 1"
                if row[0] < 1 or row[0] % 1 or row[1] % 1
                else ""
            )
        if not why:
            values.extend(row)
            continue
        if number == 1 and re.match("[A-Za-z]", words[0]):
            continue  # names of columns
        flaws[why] += 1
        first.setdefault(why, number)
    told = Counter({f"{why} (first: line {first[why]})": n for why, n in flaws.items()})
    return np.frombuffer(values, np.float64).reshape(-1, COLUMNS), told


def _tell_twins(path: Path, found: TrackBoxes) -> None:
    pairs, counts = np.unique(np.stack([found.frames, found.ids]), axis=1, return_counts=True)
    if (counts > 1).any():
        frame, number = pairs[:, counts > 1][:, 0]
        LOG.warning(
            "%s: %d times an id stands more than once in a frame (first: track %d in frame %d); "
            "all these boxes count.",
            path,
            (counts > 1).sum(),
            number,
            frame,
        )


class SequenceInfo(NamedTuple):
    """What a sequence's seqinfo.ini tells: where its frames lie and how many there should be."""

    frames: Path
    ending: str
    length: int | None


def read_seqinfo(folder: Path) -> SequenceInfo | None:
    """What seqinfo.ini in the folder of a sequence, or above its frames, tells; None without one.

    A file that is none of MOTChallenge's is a ValueError.
    """
    file = next(
        (p for p in (folder / "seqinfo.ini", folder.parent / "seqinfo.ini") if p.is_file()), None
    )
    if file is None:
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text(encoding="utf-8-sig"))
        section = parser["Sequence"]
        frames = folder if file.parent != folder else folder / section.get("imDir", "img1")
        length = section.getint("seqLength", fallback=0)
        return SequenceInfo(frames, section.get("imExt", ".jpg"), length or None)
    except (configparser.Error, KeyError, ValueError) as error:
        raise ValueError(
            f"{file} is no seqinfo.ini of MOTChallenge ({error}); mend it, or remove it."
        ) from error
