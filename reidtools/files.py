"""Files that are written whole or not at all, and folders that say why they cannot be made."""

import csv
import hashlib
import io
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

LOGGER = logging.getLogger("reidtools")


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Let `write` fill the file `path`, all or nothing: readers see the old file or the new one.

    Its name until then ends in ``.partial``; `sweep` deletes those of processes that were killed.
    Without `durable` the disk may still be busy at the end, which is quicker for thousands of small
    files; after a power cut some may be empty. A full disk is an OSError.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    handled = sys.exc_info()[1]
    try:
        with _begun(partial) as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
            file.close()
            partial.replace(path)
        if durable:
            _settle(path.parent)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        if cause := _cause(error, handled):
            raise _unwritable(path, cause) from error
        raise
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _cause(error: BaseException, handled: BaseException | None) -> OSError | None:
    """The system's error behind `error`, if there is one.

    torch.save, which cannot write, raises a RuntimeError that speaks of positions in an archive.
    What was `handled` before has nothing to do with it.
    """
    link: BaseException | None = error
    while link and link is not handled:
        if isinstance(link, OSError):
            return link
        link = link.__cause__ or link.__context__
    return None


def _unwritable(path: Path, error: OSError) -> OSError:
    why = error.strerror or error
    return OSError(f"{path} cannot be written ({why}); make room or choose another folder.")


@contextmanager
def _begun(partial: Path) -> Iterator[BinaryIO]:
    """The file `partial`, open and empty, and this process's until the end, also once closed."""
    try:
        import fcntl
    except ImportError:  # Windows deletes no file that is open, and needs no lock
        with partial.open("wb") as file:
            yield file
        return
    while True:
        with partial.open("wb") as file:
            hold = os.dup(file.fileno())
            try:
                with suppress(OSError):  # some network drives know no locks; `sweep` spares them
                    fcntl.flock(hold, fcntl.LOCK_EX)
                if partial.exists():  # else it was taken for a dead process's meanwhile
                    yield file
                    return
            finally:
                os.close(hold)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file `descriptor` is the one that is called `path` now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _settle(folder: Path) -> None:
    """Let the names of the files in `folder` be on the disk: a new one before an old one goes."""
    with suppress(OSError):  # Windows opens no folder, and some drives do this unasked
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, suffix: str = "") -> None:
    """Delete what killed processes left of `write_whole` in `folder`, half-written files.

    `suffix` is that of the files they were to be. Those that a process is at work on stay,
    wherever it runs.
    """
    for partial in folder.glob(f"*{suffix}.*.partial"):
        if not re.fullmatch(rf".+{re.escape(suffix)}\.\d+\.partial", partial.name):
            continue
        with suppress(OSError):
            _delete_if_left(partial)


def _delete_if_left(partial: Path) -> None:
    """Delete `partial`; an OSError if a process holds it."""
    try:
        import fcntl
    except ImportError:
        partial.unlink()
        return
    with partial.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(partial, file.fileno()):
            partial.unlink()


class Lines:
    """The text file `path`, which grows by whole lines and survives a full disk.

    Lines that cannot be written wait for room; the log says so once. A line that a killed process
    left half is ended first. A file that cannot be opened is an OSError.
    """

    def __init__(self, path: Path):
        self.path, self.waiting, self.told = path, b"", False
        try:
            self.file = path.open("a+b", buffering=0)
            if self.file.seek(0, os.SEEK_END):
                self.file.seek(-1, os.SEEK_END)
                self.waiting = b"" if self.file.read(1) == b"\n" else b"\n"
        except OSError as error:
            raise _unwritable(path, error) from error

    def write(self, line: str) -> None:
        """Append `line`, which has no end of its own, and all that waits."""
        self.waiting += line.encode(errors="backslashreplace") + b"\n"
        try:
            while self.waiting:
                self.waiting = self.waiting[self.file.write(self.waiting) :]
            self.told = False
        except OSError as error:
            if self.told:
                return
            self.told = True  # first, as the warning may be a line of this very file
            LOGGER.warning(
                "%s cannot be written (%s); its lines wait for room. Make some.",
                self.path,
                error.strerror,
            )

    def close(self) -> None:
        self.file.close()


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the `folder`, which is made, for this process; a ValueError if another one does.

    With `wait` it waits for that one to end instead.

    The hold ends with the process, whatever becomes of it. Where the system has no such locks,
    nobody is kept out.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    file = _held(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), fcntl.flock)
    try:
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        with suppress(OSError):  # nothing came of it, or much has
            folder.rmdir()
        file.close()


def _held(folder: Path, how: int, lock: Callable[[Any, int], None]) -> IO[str]:
    """The lock file of `folder`, held; whoever held it before may have taken it away meanwhile."""
    while True:
        file = (make_folder(folder) / ".lock").open("w")
        try:
            lock(file, how)
            if _is_at(folder / ".lock", file.fileno()):
                return file
        except OSError as error:
            file.close()
            raise ValueError(
                f"Another process is at work in {folder.absolute()}; wait for it, or choose "
                "another folder."
            ) from error
        file.close()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_web_page(path: Path) -> bool:
    """Whether a file is a page of a server, as Google Drive sends when its quota is spent."""
    with path.open("rb") as file:
        text = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--"))


def write_json(path: Path, content: dict[str, Any] | list[Any]) -> None:
    """Write `content` as JSON, all or nothing; what is no number becomes null."""
    text = json.dumps(_without_nan(content), indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write `rows` as CSV, all or nothing. File names that are not UTF-8 keep their bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode(errors="surrogateescape")
    write_whole(path, lambda file: file.write(data))


@contextmanager
def writing_into(path: Path, key: str = "OUTPUT_DIR") -> Iterator[Path]:
    """`make_folder` before the work whose results go there; none is left if that fails empty."""
    folder = make_folder(path, key)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # it was there, with other things in it
            folder.rmdir()
        raise


def make_folder(path: Path, key: str = "OUTPUT_DIR") -> Path:
    """Make the folder at `path`, and those above it; one that cannot be made is an OSError.

    `key` is the setting that names it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"The folder {path.absolute()} cannot be made ({error.strerror}); choose another {key}."
        ) from error
    return path
