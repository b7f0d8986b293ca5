"""The directory of a gallery: files of one generation, and gallery.json, which is replaced last.

Whoever reads gallery.json finds a whole gallery: data files are never changed, only written under
new names, and old ones go when no new reader can ask for them. A process that ends halfway leaves
files that the next writer sweeps up.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reidtools.extras import reason
from reidtools.files import make_folder, write_json
from reidtools.retrieval.sums import CURE, check, write_summed

MANIFEST, FORMAT = "gallery.json", 1
HALF = re.compile(rf"{re.escape(MANIFEST)}\.\d+\.partial")
FILES = {"vectors": "faiss", "paths": "npy", "people": "npy"}
OURS = re.compile(rf"({'|'.join(FILES)})-(\d+)\.(faiss|npy)(\.\d+\.partial)?")


class Parts(NamedTuple):
    """A faiss `index` of N vectors, their `paths` (N,) as bytes, `people` int64 (N, 2): pid, camid.

    `facts` are everything else, JSON-able.
    """

    index: Any
    paths: np.ndarray
    people: np.ndarray
    facts: dict[str, Any]


def write(folder: Path, parts: Parts, expected: int | None) -> int:
    """Write a gallery into `folder`, all or nothing; the number of its generation.

    `expected` is the generation that must be there, 0 for none, None for whatever is. Raises
    OSError where another process writes there, has written since, or the disk is full.
    """
    make_folder(folder, "folder for the gallery")
    with _locked(folder):
        number = 1 + _there(folder, expected)
        names = {role: f"{role}-{number}.{kind}" for role, kind in FILES.items()}
        fills: dict[str, Callable[[Any], None]] = {
            "vectors": partial(_fill, parts.index),
            "paths": lambda file: _save(file, parts.paths),
            "people": lambda file: _save(file, parts.people),
        }
        try:
            files = {role: write_summed(folder / names[role], fill) for role, fill in fills.items()}
            manifest = {"format": FORMAT, "generation": number, "files": files, **parts.facts}
            write_json(folder / MANIFEST, manifest)
        except BaseException:
            kept = _generation(folder)  # an interruption may come when all is done
            _sweep(folder, lambda generation: generation == number != kept)
            raise
        _sweep(folder, lambda generation: generation != number)
    return number


def read(folder: Path, *, verify: bool = False) -> Parts:
    """The gallery in `folder`, mapped into memory: opening takes no longer for a large one.

    Sizes, shapes and the beginning of each file are checked; with `verify` every byte of them.
    """
    while True:
        manifest = _manifest(folder)
        try:
            return _open(folder, manifest, verify)
        except (OSError, ValueError, RuntimeError) as error:
            # A writer may have been quicker between any two steps.
            if _manifest(folder)["generation"] != manifest["generation"]:
                continue
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(f"{error.filename} is missing; {CURE}.") from None
            raise


def _open(folder: Path, manifest: Mapping[str, Any], verify: bool) -> Parts:
    paths = {role: folder / manifest["files"][role]["name"] for role in FILES}
    for role, path in paths.items():
        check(path, manifest["files"][role], verify)
    try:
        index = _read_index(paths["vectors"])
        names, people = (np.load(paths[role], mmap_mode="r") for role in ("paths", "people"))
    except FileNotFoundError:
        raise
    except Exception as error:  # faiss raises RuntimeError, NumPy a dozen kinds
        why = reason(error)
        raise ValueError(f"The gallery in {folder} cannot be read ({why}); {CURE}.") from error
    count, dim = manifest["count"], manifest["dim"]
    found = (index.ntotal, index.d), names.shape, people.shape
    if found != ((count, dim), (count,), (count, 2)) or names.dtype.kind != "S":
        raise ValueError(
            f"The files of the gallery in {folder} do not fit together: vectors {found[0]}, paths "
            f"{found[1]} and people {found[2]} instead of {count} of {dim} values; {CURE}."
        )
    return Parts(index, names, people, dict(manifest))


def _read_index(path: Path) -> Any:
    """A faiss index, mapped as far as this faiss can."""
    import faiss

    mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP)
    try:
        return faiss.read_index(str(path), mapped)
    except RuntimeError:  # a file system without mapping
        return faiss.read_index(str(path))


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no gallery in {folder.absolute()} (no {MANIFEST}); build one there first."
        )
    new = False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        new = content["format"] > FORMAT
        whole = all(
            isinstance(content["files"][role][key], kind)
            for role in FILES
            for key, kind in (("name", str), ("size", int), ("crc32", int), ("head", int))
        )
        whole &= all(OURS.fullmatch(content["files"][role]["name"]) is not None for role in FILES)
        whole &= all(isinstance(content[key], int) for key in ("count", "dim", "generation"))
        whole &= all(isinstance(content[key], dict) for key in ("about", "names", "options"))
        whole &= isinstance(content["recall"], int | float)
        whole &= content["kind"] in ("flat", "ivf", "hnsw")
    except (ValueError, KeyError, TypeError):
        whole = False
    if new:
        raise ValueError(f"{path} is of a later version of reidtools; update reidtools.")
    if not whole:
        raise ValueError(f"{path} is torn or describes no gallery; {CURE}.")
    return content


def check_free(folder: Path) -> None:
    """Raise ValueError where `folder` holds a gallery."""
    if (folder / MANIFEST).exists():
        raise ValueError(
            f"{folder} holds a gallery already; choose another folder, add to it, or say that it "
            "is to be replaced (--replace)."
        )


def _generation(folder: Path) -> int:
    """That of the gallery in `folder`; 0 where none can be read."""
    try:
        return _manifest(folder)["generation"]
    except (OSError, ValueError):
        return 0


def _there(folder: Path, expected: int | None) -> int:
    """The generation in `folder`, 0 for none, if it is the `expected` one."""
    if expected is None:  # torn ones are replaced as well
        used = [int(m[2]) for path in folder.iterdir() if (m := OURS.fullmatch(path.name))]
        return max([_generation(folder), *used])
    if not expected:
        check_free(folder)
        return 0
    now = _manifest(folder)["generation"] if (folder / MANIFEST).exists() else 0
    if now == expected:
        return now
    raise OSError(
        f"The gallery in {folder} was changed by another process meanwhile (generation {now}, not "
        f"{expected}); nothing was written. Open it again and repeat this."
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other writers out, where the system has locks; the generation tells the rest."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        file = (folder / "lock").open("ab")
    except OSError as error:
        raise OSError(
            f"The gallery in {folder} cannot be written ({error.strerror}); choose another folder."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(
                f"Another process is writing the gallery in {folder}; nothing was written. Wait "
                "until it is done and repeat this."
            ) from None
        except OSError:  # a network drive without locks
            pass
        yield


def _fill(index: Any, file: Any) -> None:
    import faiss

    writer = faiss.PyCallbackIOWriter(file.write, 1 << 22)
    faiss.write_index(index, writer)
    del writer  # writes what it has kept back


def _save(file: Any, array: np.ndarray) -> None:
    np.lib.format.write_array(file, array, allow_pickle=False)


def _sweep(folder: Path, goes: Callable[[int], bool]) -> None:
    """Delete data files of generations that are not wanted, and halves; the lock must be held."""
    for path in folder.iterdir():
        found = OURS.fullmatch(path.name)
        if HALF.fullmatch(path.name) or (found and (goes(int(found[2])) or found[4])):
            with suppress(OSError):  # Windows keeps a file that is open somewhere
                path.unlink()
