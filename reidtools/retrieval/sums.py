"""Files that one can tell are whole: their size and checksums are kept elsewhere."""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from reidtools.files import write_whole

HEAD = 1 << 16  # bytes whose checksum is looked at whenever a file is opened
CURE = "restore it from a copy, or build the gallery again"


def write_summed(path: Path, fill: Callable[[Any], None]) -> dict[str, Any]:
    """Let `fill` write the file, all or nothing; the facts that `check` wants to know of it."""
    facts: dict[str, Any] = {"name": path.name}

    def write_and_sum(file: BinaryIO) -> None:
        summing = _Summing(file)
        fill(summing)
        facts.update(size=summing.size, crc32=summing.crc32, head=summing.head)

    write_whole(path, write_and_sum)
    return facts


def check(path: Path, facts: Mapping[str, Any], verify: bool) -> None:
    """Raise ValueError for a file that is not the one that `write_summed` wrote.

    Its size and beginning are looked at; with `verify` all of it.
    """
    size = path.stat().st_size
    if size != facts["size"]:
        raise ValueError(f"{path} has {size} bytes instead of {facts['size']}; {CURE}.")
    with path.open("rb") as file:
        head = file.read(HEAD)
        total, same = zlib.crc32(head), zlib.crc32(head) == facts["head"]
        if verify and same:
            while block := file.read(1 << 22):
                total = zlib.crc32(block, total)
            same = total == facts["crc32"]
    if not same:
        raise ValueError(f"{path} is not as it was written (its checksum differs); {CURE}.")


class _Summing:
    """A file that knows the checksums of what was written into it."""

    def __init__(self, file: BinaryIO):
        self._file, self.size, self.crc32, self.head = file, 0, 0, 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.crc32 = zlib.crc32(view, self.crc32)
        if self.size < HEAD:
            self.head = zlib.crc32(view[: HEAD - self.size], self.head)
        self.size += len(view)
        self._file.write(view)
        return len(view)
