"""PRW is released as whole frames; here people are cut out of them, by the official split."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from reidtools.data.datasets.market import FOLDERS
from reidtools.data.preflight import flaw
from reidtools.data.prepare.files import (
    Made,
    Unreadable,
    begin,
    check_quality,
    conclude,
    in_threads,
    is_made,
    read_rgb,
    write_picture,
)
from reidtools.data.prepare.prw_release import UNKNOWN, WHOLE, Box, Release, read_release
from reidtools.files import make_folder, write_whole


class Cut(NamedTuple):
    """What is to be seen in `target`: a box of a frame."""

    target: Path
    frame: Path
    box: Box


def prepare_prw(
    raw: str | Path,
    out: str | Path,
    *,
    keep_unknown: bool = False,
    quality: int = 95,
    strict: bool = False,
) -> Made:
    """Cut the people of PRW (arXiv:1604.02531) out of its frames, into the Market-1501 layout.

    `raw` is the folder PRW-v16.04.20, `out` gets ``bounding_box_train`` (boxes of the train
    frames), ``bounding_box_test`` (boxes of the test frames) and ``query``. Box 3 of person 12 in
    the frame c1s4_054211 is ``0012_c1s4_054211_03.jpg``; boxes count from 0, with unknown people,
    who are left out unless `keep_unknown` puts them into the gallery as ``-2_…``: junk. Queries
    are copies of PRW's own ``query_box``, or cut by ``query_info.txt`` where that folder is
    missing: ``0012_c1s4_054211.jpg``. Boxes are rounded to pixels and clipped to the frame.

    Nothing is written before all annotations were read. Pictures that exist already are kept, so a
    run that was stopped goes on. An unreadable frame or an empty box is told; with `strict` it is a
    ValueError, after all others were cut. FileNotFoundError when a part of PRW is missing.
    """
    check_quality(quality)
    raw, out = (Path(path).expanduser().absolute() for path in (raw, out))
    release = read_release(raw)
    cuts, copies = _plan(release, raw / "frames", out, keep_unknown)
    total = len(cuts) + len(copies)
    if not total:
        raise ValueError(f"{raw} has no box of a known person and no query; {WHOLE}.")
    begin(out, {"quality": quality})
    for folder in FOLDERS:
        make_folder(out / folder, "place")
    by_frame: dict[Path, list[Cut]] = {}  # so that a frame is decoded once
    for cut in cuts:
        if not is_made(cut.target):
            by_frame.setdefault(cut.frame, []).append(cut)
    wanted = [copy for copy in copies.items() if not is_made(copy[0])]
    kept = total - len(wanted) - sum(map(len, by_frame.values()))
    lists = in_threads(partial(_cut, quality=quality), list(by_frame.values()), "frames")
    failed = [why for reasons in lists for why in reasons]
    failed += [why for why in in_threads(_copy, wanted, "queries") if why]
    return conclude(out, total, kept, failed, strict)


def _plan(
    release: Release, frames: Path, out: Path, keep_unknown: bool
) -> tuple[list[Cut], dict[Path, Path]]:
    """What to cut, and what to copy: target -> source."""
    train, query, test = (out / folder for folder in FOLDERS)
    cuts = [
        Cut(place / f"{_padded(pid)}_{frame}_{number:02d}.jpg", frames / f"{frame}.jpg", box)
        for place, names in ((train, release.train), (test, release.test))
        for frame in names
        for number, (pid, box) in enumerate(release.boxes[frame])
        if pid != UNKNOWN or (keep_unknown and place == test)
    ]
    asked = {query / f"{_padded(q.pid)}_{q.frame}.jpg": q for q in release.queries}
    cuts += [
        Cut(target, frames / f"{q.frame}.jpg", q.box) for target, q in asked.items() if not q.file
    ]
    return cuts, {target: q.file for target, q in asked.items() if q.file}


def _padded(pid: int) -> str:
    return f"{pid:04d}" if pid >= 0 else str(pid)


def _cut(cuts: list[Cut], *, quality: int) -> list[str]:
    """Write `cuts` of one frame; returns a line ``name (why)`` for each that is impossible."""
    file = cuts[0].frame
    try:
        frame = read_rgb(file)
    except Unreadable as error:
        return [f"{cut.target.name} (frame {file.name}: {error})" for cut in cuts]
    failed = []
    for cut in cuts:
        x, y, width, height = cut.box
        left, right = (min(max(round(at), 0), frame.width) for at in (x, x + width))
        top, bottom = (min(max(round(at), 0), frame.height) for at in (y, y + height))
        if left < right and top < bottom:
            write_picture(frame.crop((left, top, right, bottom)), cut.target, quality)
        else:
            where = ", ".join(f"{number:g}" for number in cut.box)
            failed.append(f"{cut.target.name} (its box {where} shows nothing of the frame)")
    return failed


def _copy(job: tuple[Path, Path]) -> str:
    """Copy a query as it is; returns ``name (why)`` if it is no whole picture, else nothing."""
    target, source = job
    if what := flaw(str(source)):
        return f"{target.name} ({source.name}: {what})"
    write_whole(target, lambda file: file.write(source.read_bytes()), durable=False)
    return ""
