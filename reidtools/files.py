"""Files that are written whole or not at all, and folders that say why they cannot be made."""

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Let `write` fill the file `path`, all or nothing: readers see the old file or the new one.

    Its name until then ends in ``.partial``. Without `durable` the disk may still be busy at the
    end, which is quicker for thousands of small files; after a power cut some may be empty.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); make room or choose another "
            "folder."
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
            if os.path.samestat((folder / ".lock").stat(), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:
            pass
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
