"""Pictures that were decoded once: in memory, or in a file that later runs find again."""

import errno
import logging
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from reidtools.files import make_folder
from reidtools.ops.resize import Resize

LOGGER = logging.getLogger("reidtools")
FORMAT = 1  # of a cache's file
STAMP, SUM = struct.Struct("<Qq"), struct.Struct("<I")  # bytes and mtime of a file; CRC-32
GB = 1e9

Fill = Callable[[str, np.ndarray], None]


class NoCache:
    """Every picture is read again: ``cache(path, out, fill)`` is ``fill(path, out)``."""

    def __init__(
        self, paths: Iterable[str], size: tuple[int, int], resize: Resize, folder: str = ""
    ):
        pass

    def __call__(self, path: str, out: np.ndarray, fill: Fill) -> None:
        fill(path, out)


class MemoryCache:
    """Keeps pictures in memory, 3·H·W bytes each; a log line warns where that is more than is free.

    Other sets of pictures have caches of their own, so that together they may need more.
    """

    def __init__(
        self, paths: Iterable[str], size: tuple[int, int], resize: Resize, folder: str = ""
    ):
        self._kept: dict[str, np.ndarray] = {}
        count = len(set(paths))
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # processes, each with its own
        needed, free = here * 3 * size[0] * size[1] * count, free_memory()
        if free is not None and needed > free:
            LOGGER.warning(
                "DATALOADER.CACHE ram keeps %d pictures of %d x %d, %.1f GB, and %.1f GB of memory "
                "are free; choose disk, or off.",
                *(count, *size, needed / GB, free / GB),
            )

    def __call__(self, path: str, out: np.ndarray, fill: Fill) -> None:
        """Fill `out`, uint8 (H, W, 3), with the picture at `path`, by `fill` the first time."""
        kept = self._kept.get(path)
        if kept is None:
            fill(path, out)
            self._kept[path] = out.copy()
        else:
            out[:] = kept


class DiskCache:
    """Keeps pictures in a file of `folder`, for sets larger than memory and for later runs.

    One file for each set of `paths`, `size` and way to `resize`: a slot for every picture, its
    3·H·W bytes and a seal. It fills as pictures are asked for, and takes room on the disk for
    these only. `folder` is made; empty is ``$XDG_CACHE_HOME/reidtools/pictures``, else
    ``~/.cache/reidtools/pictures``. Nothing there is ever deleted by us, and all of it can be, at
    any time.

    The seal is a checksum of the pixels, of the size and time of change of the picture's file, and
    of what decoded it. A picture whose seal is not as it must be is read from its file again: one
    that was half written when a process was killed or the power went, one that has changed since,
    one of another version of OpenCV. A change during a run is seen by the next one. Processes may
    share a cache, also while it fills. Memory that is free keeps what was read last, as of all
    files.

    OSError if the folder cannot be made or written, or the disk has too little room for the whole
    set. If it fills up later, or breaks, a log line says so and pictures are no longer added.
    """

    def __init__(
        self, paths: Iterable[str], size: tuple[int, int], resize: Resize, folder: str = ""
    ):
        if not hasattr(os, "preadv"):
            raise OSError(
                "DATALOADER.CACHE disk needs Linux, macOS or another Unix; choose ram or off."
            )
        import cv2
        import PIL

        # No np.memmap: a full disk, or a bad one, kills the process there (SIGBUS). Of a positioned
        # read or write it is an error that can be met; and from a cold disk it brings one picture,
        # where a map brings neighbours as well, twice as slowly.
        self._slots = {path: i for i, path in enumerate(sorted(set(paths)))}
        self._stride = 3 * size[0] * size[1] + STAMP.size + SUM.size
        way = (resize.way or "area").lower()
        maker = f"{FORMAT} {way} {cv2.__version__} {PIL.__version__}"
        self._maker = zlib.crc32(maker.encode())
        names = "\0".join(map(os.path.abspath, self._slots))
        key = sha256(f"{FORMAT} {names}".encode(errors="surrogateescape")).hexdigest()[:16]
        self.file = cache_folder(folder) / f"{size[0]}x{size[1]}-{way}-{key}.pixels"
        self._checked: dict[str, bytes] = {}  # stamps of files that were looked at in this run
        self._writes = True
        self._open()

    def _open(self) -> None:
        folder = make_folder(self.file.parent, "DATALOADER.CACHE_DIR")
        try:
            self.file.touch()
            self._handle = self.file.open("r+b", buffering=0)
        except OSError as error:
            raise OSError(
                f"{self.file.absolute()} cannot be written ({error.strerror}); choose another "
                "DATALOADER.CACHE_DIR."
            ) from error
        whole, has = len(self._slots) * self._stride, os.fstat(self._handle.fileno())
        needed, free = whole - 512 * has.st_blocks, shutil.disk_usage(folder).free
        if needed > free:
            if not has.st_size:
                self.file.unlink(missing_ok=True)
            raise OSError(
                f"DATALOADER.CACHE disk needs {needed / GB:.1f} GB for {len(self._slots)} pictures "
                f"in {folder.absolute()}, where {free / GB:.1f} GB are free; make room, choose "
                "another DATALOADER.CACHE_DIR, or DATALOADER.CACHE off."
            )
        LOGGER.info(
            "Decoded pictures are kept in %s: %.1f of %.1f GB are there.",
            *(self.file, (whole - max(0, needed)) / GB, whole / GB),
        )

    def __call__(self, path: str, out: np.ndarray, fill: Fill) -> None:
        """Fill `out`, uint8 (H, W, 3), with the picture at `path`, by `fill` if it is not there."""
        stamp = self._checked.get(path) or stamp_of(path)
        if stamp and self._read(path, out, stamp):
            self._checked[path] = stamp
            return
        # Before the file is read: should it change meanwhile, its stamp will not be this one.
        stamp = stamp_of(path)
        fill(path, out)
        if stamp and self._writes:
            self._write(path, out, stamp)

    def _read(self, path: str, out: np.ndarray, stamp: bytes) -> bool:
        """Whether the slot of `path` has the whole picture of that `stamp`, which `out` is then.

        The seal is compared with what was copied, whatever another process writes meanwhile.
        """
        seal = bytearray(len(stamp) + SUM.size)
        try:
            count = os.preadv(self._handle.fileno(), [out, seal], self._place(path))
        except OSError:  # a bad disk
            return False
        return count == self._stride and seal == self._seal(out, stamp)

    def _write(self, path: str, out: np.ndarray, stamp: bytes) -> None:
        try:
            count = os.pwritev(
                self._handle.fileno(), [out, self._seal(out, stamp)], self._place(path)
            )
            if count < self._stride:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._writes = False
            LOGGER.warning(
                "No more pictures are added to %s (%s); the others are read from their own files. "
                "Make room, or choose another DATALOADER.CACHE_DIR.",
                *(self.file, error.strerror),
            )

    def _place(self, path: str) -> int:
        return self._slots[path] * self._stride

    def _seal(self, picture: np.ndarray, stamp: bytes) -> bytes:
        return stamp + SUM.pack(zlib.crc32(picture, zlib.crc32(stamp, self._maker)))


CACHES = {"off": NoCache, "ram": MemoryCache, "disk": DiskCache}


def cache_folder(folder: str = "") -> Path:
    """The `folder` of disk caches; empty is that of the user's caches."""
    if folder:
        return Path(folder).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "reidtools" / "pictures"


def stamp_of(path: str) -> bytes:
    """What tells the file at `path` from a later version: size and time; empty if there is none."""
    try:
        known = os.stat(path)  # noqa: PTH116 - Path.stat is slower
    except OSError:
        return b""
    return STAMP.pack(known.st_size, known.st_mtime_ns)


def free_memory() -> int | None:
    """Bytes that new things can take without swapping, within the container's limit, if known."""
    found = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(line.split()[1]))
    with suppress(OSError, ValueError):  # ValueError: "max", no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)
