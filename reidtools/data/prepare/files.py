"""What all preparations share: pictures read and written whole, threads with a bar, counts."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tqdm import tqdm

from reidtools.data.preflight import first
from reidtools.files import make_folder, write_json, write_whole

if TYPE_CHECKING:
    from PIL.Image import Image

LOG = logging.getLogger("reidtools")
RECORD = "prepared.json"
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP"}
Job = TypeVar("Job")
Result = TypeVar("Result")


class Made(NamedTuple):
    """What a preparation made in `folder`: pictures `written`, `kept` from before, and `failed`.

    `failed` has a line ``name (why)`` for each picture that could not be made.
    """

    folder: Path
    written: int
    kept: int
    failed: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.folder}: {self.written} pictures written, {self.kept} were there already, "
            f"{len(self.failed)} failed"
        )


class Unreadable(ValueError):
    """A picture file that cannot be read; its words say why."""


def read_rgb(path: Path) -> "Image":
    """The picture at `path` in RGB, decoded to its end; `Unreadable` if that cannot be done."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except Exception as error:  # Pillow has a dozen kinds of errors for broken files
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        unknown = why.startswith("cannot identify")  # repeats the whole path
        raise Unreadable("not a picture" if unknown else why) from error


def write_picture(picture: "Image", path: Path, quality: int) -> None:
    """Write `picture` whole, in the format that the ending of `path` names.

    A JPEG has `quality` and its colours at full resolution (4:4:4): people are small.
    """
    kind = FORMATS[path.suffix.lower()]
    options = {"quality": quality, "subsampling": 0} if kind == "JPEG" else {}
    # An empty file counts as not made, so what a power cut takes is made again.
    write_whole(path, lambda file: picture.save(file, kind, **options), durable=False)


def is_made(path: Path) -> bool:
    """Whether `path` was written before, so that a run that was stopped can go on."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def check_quality(quality: int) -> None:
    """Raise a ValueError unless `quality` is one that JPEG knows."""
    if not 1 <= quality <= 100:
        raise ValueError(f"The quality of a JPEG is 1 to 100, not {quality}; 95 is a good one.")


def begin(folder: Path, options: Mapping[str, Any]) -> None:
    """Make `folder` and note the `options` that decide what its pictures look like.

    What exists is kept, so going on with other options would mix two datasets: a ValueError. A
    folder that somebody else filled has no note, and gets none.
    """
    note = folder / RECORD
    if note.is_file():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            before = "something unreadable"
        if before != options:
            raise ValueError(
                f"{folder} was made with {before}, not with {dict(options)}; delete or rename it, "
                "or use the same options."
            )
        return
    make_folder(folder, "place")
    if not any(path.is_file() for path in folder.rglob("*")):
        write_json(note, dict(options))


def in_threads(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    title: str,
    *,
    workers: int = 0,
    delay: float = 0,
) -> list[Result]:
    """``[work(job) for job in jobs]``, by several threads and with a bar in a terminal.

    `workers` 0 is one a core; the bar appears after `delay` seconds. Threads suffice: Pillow and
    OpenCV decode, resize and encode outside Python's lock. The first error stops the jobs that have
    not begun.
    """
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1), title)
    try:
        with tqdm(total=len(jobs), desc=title, leave=False, disable=None, delay=delay) as bar:
            results = []
            for result in pool.map(work, jobs):
                results.append(result)
                bar.update()
            return results
    finally:
        pool.shutdown(cancel_futures=True)


def conclude(folder: Path, total: int, kept: int, failed: Sequence[str], strict: bool) -> Made:
    """The account of a preparation of `total` pictures; failures are told, the first five by name.

    They are a ValueError if `strict`, or if there is no other picture.
    """
    made = Made(folder, total - kept - len(failed), kept, tuple(failed))
    if failed:
        told = f"{len(failed)} of {total} pictures could not be made: {first(failed)}."
        if not made.written + made.kept:
            (folder / RECORD).unlink(missing_ok=True)
            _remove_empty(folder)
            raise ValueError(f"{told} That is all of them: mend what stands in the brackets.")
        if strict:
            raise ValueError(f"{told} Restore or remove their sources, or do without strict.")
        LOG.warning("%s The others are in %s.", told, folder)
    return made


def _remove_empty(folder: Path) -> None:
    """Remove the folders in `folder` and itself where they are empty."""
    below = [path for path in folder.rglob("*") if path.is_dir()]
    for path in (*sorted(below, reverse=True), folder):
        with suppress(OSError):  # not empty
            path.rmdir()
