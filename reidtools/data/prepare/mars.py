"""MARS cut into sequences of one length: a folder of frames for each, and an index of them all."""

import logging
import os
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from reidtools.data.datasets.mars import Tracklet, pick_queries, read_tracklets
from reidtools.data.datasets.sequences import SPLITS
from reidtools.data.preflight import first, flaw
from reidtools.data.prepare.files import RECORD, Made, begin, in_threads
from reidtools.data.prepare.sequences import (
    Cut,
    IndexRow,
    fill,
    in_place,
    seen_from,
    write_index,
)
from reidtools.extras import require
from reidtools.registry import choose

LOG = logging.getLogger("reidtools")
TRAIN, VAL, TEST = SPLITS
SYMLINK, COPY, INDEX_ONLY = LINKS = ("symlink", "copy", "index-only")


def prepare_mars(
    raw_root: str | Path,
    out_root: str | Path,
    sequence_len: int = 25,
    overlap: int = 10,
    *,
    keep_tail: bool = False,
    val_ids: int = 0,
    seed: int = 1,
    link: str = SYMLINK,
    parquet: bool = False,
    strict: bool = False,
) -> Made:
    """Cut the tracklets of MARS in `raw_root` (``bbox_train``, ``bbox_test``) into sequences.

    A sequence has `sequence_len` frames, the last `overlap` of which begin the next one. A shorter
    tracklet is one sequence of all its frames. What is left at the end of a longer one is in none
    and told, unless `keep_tail` adds a last sequence that ends there. Frames lie in
    ``{train,val,test}/ID0001/cam01_seq0001_000/rgb/frame0001.jpg``, without the ``_000`` where the
    tracklet is one sequence. ``index.csv`` has a line for each, with the columns of `IndexRow`, and
    `parquet` adds the same as ``index.parquet``; the dataset ``sequences`` reads them.

    Queries are those of ``info/``, or, where it is missing, of `pick_queries`. Junk (``00-1``) is
    left out; distractors (``ID0000``) are in test only. `val_ids` people, drawn with `seed`, go
    from train to val, where `pick_queries` chooses queries.

    A frame is a ``symlink``, relative so that both folders can move together, or a ``copy``; with
    the `link` ``index-only`` it is nothing but a name in one more column, ``frames``, and
    ``frames_dir`` leads into `raw_root`.

    What exists is kept, so a run that was stopped goes on; the index is written last. Frames that
    are no whole pictures are left out before anything is cut, and told; with `strict` they are a
    ValueError. So are, before anything is written, options that make no sense, and an `out_root`
    that holds other files, or was made with other options or of other frames. FileNotFoundError
    when `raw_root` is not MARS; OSError where symbolic links are not allowed.
    """
    _check(sequence_len, overlap, link, parquet)
    # Where they really lie: a relative link is followed from there.
    raw, out = (Path(path).expanduser().resolve() for path in (raw_root, out_root))
    _check_place(raw, out)
    listed = read_tracklets(raw, need_info=False)
    if not listed:
        raise ValueError(f"There are no tracklets in {raw}; unpack the whole of MARS there.")
    tracklets, failed = _whole(listed, strict)
    plan = _plan(_validate(tracklets, val_ids, seed), sequence_len, overlap, keep_tail)
    if link == INDEX_ONLY:
        plan = in_place(plan, out)
    cuts = list(plan)
    total = sum(len(cut.frames) for cut in cuts)
    decided = {
        "mars": seen_from(out, raw),
        "sequence_len": sequence_len,
        "overlap": overlap,
        "keep_tail": keep_tail,
        "val_ids": val_ids,
        "seed": seed,
        "link": link,
        # A frame that is repaired or removed later moves all that follow it in its tracklet.
        "frames": f"{total} in {len(cuts)} sequences, checksum {_checksum(cuts):08x}",
    }
    begin(out, decided)
    if not keep_tail:
        _tell_left_over(tracklets, sequence_len, overlap)
    written = 0
    if link != INDEX_ONLY:
        written = sum(in_threads(partial(fill, out=out, copy=link == COPY), cuts, out.name))
    write_index(cuts, out, with_frames=link == INDEX_ONLY, parquet=parquet)
    return Made(out, written, total - written, tuple(failed))


def windows(count: int, length: int, overlap: int, keep_tail: bool = False) -> list[int]:
    """Where the sequences of a tracklet of `count` frames start, counted from 0.

    >>> windows(60, 25, 10), windows(60, 25, 10, keep_tail=True), windows(7, 25, 10)
    ([0, 15, 30], [0, 15, 30, 35], [0])
    """
    if count <= length:
        return [0]
    starts = list(range(0, count - length + 1, length - overlap))
    left_over = starts[-1] + length < count
    return [*starts, count - length] if keep_tail and left_over else starts


def _check(sequence_len: int, overlap: int, link: str, parquet: bool) -> None:
    """Raise an error for options that make no sense, or that want what is not installed."""
    if sequence_len < 1:
        raise ValueError(
            f"There is no sequence of {sequence_len} frames; use 1 or more: 25 is usual."
        )
    if not 0 <= overlap < sequence_len:
        raise ValueError(
            f"Sequences of {sequence_len} frames cannot have {overlap} in common with the next; "
            f"choose an overlap of 0 to {sequence_len - 1}."
        )
    choose("link", link, dict.fromkeys(LINKS))
    if parquet:
        require("pyarrow", "index.parquet is written with pyarrow", "parquet")


def _check_place(raw: Path, out: Path) -> None:
    """Raise a ValueError unless `out` is new, empty or our own."""
    if out.is_relative_to(raw):
        raise ValueError(f"{out} lies in the dataset itself, {raw}; choose a folder outside.")
    if not (out / RECORD).is_file() and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} holds other files; choose a new folder, or empty this one.")


def _whole(tracklets: Sequence[Tracklet], strict: bool) -> tuple[list[Tracklet], list[str]]:
    """The tracklets with whole pictures only, and a line ``name (why)`` for each of the others."""
    flaws = in_threads(lambda t: [flaw(frame) for frame in t.frames], tracklets, "checking")
    left: list[Tracklet] = []
    failed, lost = [], []
    for tracklet, whats in zip(tracklets, flaws, strict=True):
        pairs = list(zip(tracklet.frames, whats, strict=True))
        failed += ["/".join(Path(frame).parts[-2:]) + f" ({what})" for frame, what in pairs if what]
        if frames := tuple(frame for frame, what in pairs if not what):
            left.append(tracklet._replace(frames=frames))
        else:
            lost.append(_tracklet_id(tracklet))
    told = f"{len(failed)} frames are no whole pictures: {first(failed)}."
    if not left:
        raise ValueError(f"{told} No other is there: unpack the whole of MARS again.")
    if failed and strict:
        raise ValueError(f"{told} Copy them again, or do without strict, which leaves them out.")
    if failed:
        LOG.warning("%s They are left out.", told)
    if lost:
        LOG.warning("%d tracklets have no frame that is whole: %s.", len(lost), first(lost))
    return left, failed


def _validate(tracklets: Sequence[Tracklet], val_ids: int, seed: int) -> list[tuple[str, Tracklet]]:
    """The split of each tracklet, with the drawn people in val and queries chosen there."""
    people = sorted({tracklet.pid for tracklet in tracklets if tracklet.subset == TRAIN})
    if val_ids and not 0 < val_ids < len(people) - 1:
        raise ValueError(
            f"{val_ids} of {len(people)} people to train on cannot go to val, as two or more must "
            f"stay; choose val_ids of 0 to {max(0, len(people) - 2)}."
        )
    drawn = set(random.Random(seed).sample(people, val_ids))
    val = [t for t in tracklets if t.subset == TRAIN and t.pid in drawn]
    queries = set(pick_queries([(tracklet.pid, tracklet.camera) for tracklet in val]))
    subsets = ["query" if place in queries else "gallery" for place in range(len(val))]
    return [
        *((TRAIN, t) for t in tracklets if t.subset == TRAIN and t.pid not in drawn),
        *((VAL, t._replace(subset=subset)) for t, subset in zip(val, subsets, strict=True)),
        *((TEST, t) for t in tracklets if t.subset != TRAIN),
    ]


def _plan(
    tracklets: Iterable[tuple[str, Tracklet]], length: int, overlap: int, keep_tail: bool
) -> Iterator[Cut]:
    """The sequences of all tracklets."""
    seen: Counter[str] = Counter()
    for split, tracklet in tracklets:
        name = _tracklet_id(tracklet)
        seen[split + name] += 1
        # Nothing in info/ keeps two rows from naming frames of the same tracklet.
        again = f"x{seen[split + name]}" if seen[split + name] > 1 else ""
        starts = windows(len(tracklet.frames), length, overlap, keep_tail)
        for number, start in enumerate(starts):
            window = f"_{number:03d}" if len(starts) > 1 else ""
            sequence = f"cam{tracklet.camera:02d}_seq{tracklet.number:04d}{again}{window}"
            folder = f"{split}/ID{tracklet.pid:04d}/{sequence}/rgb"
            frames = tracklet.frames[start : start + length]
            who = (split, tracklet.pid, tracklet.camera, sequence, folder, len(frames))
            yield Cut(IndexRow(*who, name + again, tracklet.subset, start + 1), frames)


def _tracklet_id(tracklet: Tracklet) -> str:
    """Its name as files have it: ``0001C1T0001``."""
    return f"{tracklet.pid:04d}C{tracklet.camera}T{tracklet.number:04d}"


def _tell_left_over(tracklets: Iterable[Tracklet], length: int, overlap: int) -> None:
    """Warn of the frames that are in no sequence: what tests on sequences does not see them."""
    counts = [len(tracklet.frames) for tracklet in tracklets]
    left = sum(max(0, n - windows(n, length, overlap)[-1] - length) for n in counts)
    if left:
        LOG.warning(
            "%d of %d frames, at ends of tracklets, are in no sequence; keep_tail keeps them.",
            left,
            sum(counts),
        )


def _checksum(cuts: Iterable[Cut]) -> int:
    """A number for the names of all frames, in order."""
    checksum = 0
    for cut in cuts:
        names = [os.path.basename(frame) for frame in cut.frames]  # noqa: PTH119 - a million times
        checksum = zlib.crc32("\n".join([cut.row.sequence_id, *names]).encode(), checksum)
    return checksum
