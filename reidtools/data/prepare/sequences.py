"""Sequences of frames on disk: a folder for each, and an index with a line for each."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from reidtools.data.datasets.sequences import SPLITS
from reidtools.data.prepare.files import is_made
from reidtools.files import make_folder, write_csv, write_whole

INDEX = "index.csv"


class IndexRow(NamedTuple):
    """A line of the index, which is a sequence; the fields are the columns, in this order.

    `frames_dir` is seen from the folder of the index. `start_frame` is the place of the first frame
    in the tracklet; it counts from 1, as cameras do.
    """

    split: str
    person_id: int
    camera_id: int
    sequence_id: str
    frames_dir: str
    num_frames: int
    tracklet_id: str
    subset: str
    start_frame: int


class Cut(NamedTuple):
    """A sequence and the files of its frames, which lie in one folder."""

    row: IndexRow
    frames: tuple[str, ...]


def fill(cut: Cut, out: Path, *, copy: bool) -> int:
    """Make the folder of a sequence in `out`; returns the number of frames that were not there.

    A frame is a symbolic link, relative so that both folders can move together, or a `copy`.
    """
    folder = make_folder(out / cut.row.frames_dir, "place")
    there = {path.name for path in folder.iterdir()}
    for name in there:
        if name.endswith(".partial"):  # a run was killed while it wrote
            (folder / name).unlink()
    way = seen_from(folder, Path(cut.frames[0]).parent)
    written = 0
    for place, frame in enumerate(cut.frames, 1):
        name = f"frame{place:04d}.jpg"
        target = f"{folder}{os.sep}{name}"
        if copy:
            if name not in there or not is_made(Path(target)):
                _copy(frame, target)
                written += 1
        else:
            source = f"{way}/{os.path.basename(frame)}"  # noqa: PTH119 - quicker, for a million
            if name not in there or not _leads(target, source):
                _link(source, target, name in there)
                written += 1
    return written


def in_place(cuts: Iterable[Cut], out: Path) -> Iterator[Cut]:
    """The sequences with the folders that their frames lie in now, seen from `out`."""
    seen: dict[str, str] = {}
    for cut in cuts:
        folder = os.path.dirname(cut.frames[0])  # noqa: PTH120 - quicker, for many
        if folder not in seen:
            seen[folder] = seen_from(out, folder)
        yield cut._replace(row=cut.row._replace(frames_dir=seen[folder]))


def seen_from(folder: Path, path: str | Path) -> str:
    """The way from `folder` to `path`; on another drive of Windows the path itself."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return Path(path).as_posix()


def write_index(cuts: Sequence[Cut], out: Path, *, with_frames: bool, parquet: bool) -> None:
    """Write ``index.csv`` and, if `parquet`, ``index.parquet``; one more column for the frames.

    That is ``frames``: names in ``frames_dir`` with spaces between them.
    """
    columns = [*IndexRow._fields, *(["frames"] if with_frames else [])]
    lines = [(*c.row, *([_names(c.frames)] if with_frames else [])) for c in cuts]
    if parquet:
        import pyarrow
        from pyarrow.parquet import write_table

        by_column = (list(column) for column in zip(*lines, strict=True))
        table = pyarrow.table(dict(zip(columns, by_column, strict=True)))
        write_whole(out / "index.parquet", lambda file: write_table(table, file))
    write_csv(out / INDEX, [columns, *lines])


def index_table(folder: str | Path) -> str:
    """People, cameras, tracklets, sequences and different frames of each split in the index."""
    from tabulate import tabulate

    with (Path(folder) / INDEX).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for split in SPLITS:
        own = [row for row in rows if row["split"] == split]
        ends: dict[str, int] = {}  # how far the sequences of a tracklet reach
        for row in own:
            end = int(row["start_frame"]) - 1 + int(row["num_frames"])
            ends[row["tracklet_id"]] = max(end, ends.get(row["tracklet_id"], 0))
        people, cameras = ({row[key] for row in own} for key in ("person_id", "camera_id"))
        lines.append((split, len(people), len(cameras), len(ends), len(own), sum(ends.values())))
    headers = ("split", "people", "cameras", "tracklets", "sequences", "frames")
    return tabulate(lines, headers, tablefmt="pipe")


def _names(frames: Iterable[str]) -> str:
    return " ".join(os.path.basename(frame) for frame in frames)  # noqa: PTH119 - quicker


def _copy(source: str, target: str) -> None:
    content = Path(source).read_bytes()
    write_whole(Path(target), lambda file: file.write(content), durable=False)


def _leads(link: str, source: str) -> bool:
    """Whether `link` is a symbolic link to `source`."""
    try:
        return os.readlink(link) == source  # noqa: PTH115 - quicker
    except OSError:
        return False


def _link(source: str, target: str, replace: bool) -> None:
    try:
        if replace:
            os.unlink(target)  # noqa: PTH108 - quicker
        os.symlink(source, target)  # noqa: PTH211 - quicker
    except OSError as error:
        raise OSError(
            f"{target} cannot be a symbolic link ({error.strerror or error}); choose the link copy "
            "or index-only."
        ) from error
