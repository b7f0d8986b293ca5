"""A gallery in two files that NumPy alone opens: embeddings.npy and paths.npy."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from reidtools.extras import reason
from reidtools.files import make_folder, write_json, write_whole
from reidtools.retrieval.model import check_same

NAMES = ("embeddings.npy", "paths.npy")
CURE = "make both files again with tools/create_embeddings.py"


def write_embeddings(
    folder: str | Path,
    vectors: np.ndarray,
    paths: Sequence[str | Path],
    prefix: str = "",
    about: dict[str, Any] | None = None,
) -> list[Path]:
    """Write `vectors` (N, D) and the `paths` (N,) they belong to into `folder`; the files.

    ``{prefix}embeddings.npy`` is float32, ``{prefix}paths.npy`` unicode. Both are complete on disk
    before the first replaces an older one. What is known `about` them, the ``fingerprint`` of the
    model, the name of its ``weights`` and its settings, goes to ``{prefix}embeddings.json``. Raises
    ValueError, before anything is written, for what `read_embeddings` would refuse.
    """
    names = np.array([str(path) for path in paths], dtype=np.str_)
    rows = _checked(np.asarray(vectors), names, "These embeddings", "embed pictures first")
    made = make_folder(Path(folder))
    first, second = (made / f"{prefix}{name}" for name in NAMES)

    def write_both(file: BinaryIO) -> None:
        np.save(file, rows, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())  # a full disk is noticed here, with both old files in place
        write_whole(second, lambda other: np.save(other, names, allow_pickle=False))

    note = first.with_suffix(".json")
    note.unlink(missing_ok=True)  # rather nothing is known about vectors than something wrong
    write_whole(first, write_both)
    if about is None:
        return [first, second]
    write_json(note, about)
    return [first, second, note]


def check_about(folder: str | Path, about: dict[str, Any], prefix: str = "") -> None:
    """Raise a ValueError if embeddings.json in `folder` tells of another model than `about`.

    Without that file nothing is known, and nothing is checked.
    """
    note = Path(folder) / f"{prefix}embeddings.json"
    if not note.is_file():
        return
    try:
        known = dict(json.loads(note.read_text(encoding="utf-8")))
        known["fingerprint"], known["weights"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{note} is torn; {CURE}.") from error
    check_same(f"The folder of embeddings {folder}", (0, known), (0, about))


def read_embeddings(folder: str | Path, prefix: str = "") -> tuple[np.ndarray, list[str]]:
    """The float32 vectors (N, D) and the N paths that `write_embeddings` wrote into `folder`.

    Nothing is unpickled. A missing file is a FileNotFoundError, one that cannot be opened another
    OSError; a torn one, or one that holds something else, is a ValueError.
    """
    vectors, names = (_load(Path(folder) / f"{prefix}{name}") for name in NAMES)
    rows = _checked(vectors, names, f"The {' and '.join(NAMES)} in {folder}", CURE)
    return rows, names.tolist()


def _load(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.absolute()} is missing; {CURE}.") from None
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror or error}); {CURE}.") from error
    except Exception as error:  # torn headers raise a dozen kinds, from SyntaxError to MemoryError
        raise ValueError(
            f"{path} is torn or no array ({reason(error).rstrip('.')}); {CURE}."
        ) from error
    return found


def _checked(vectors: np.ndarray, names: np.ndarray, which: str, cure: str) -> np.ndarray:
    """`vectors` as float32, if they are finite and each of the `names` has one."""
    if vectors.ndim != 2 or not vectors.size or vectors.dtype.kind not in "fiu":
        raise ValueError(
            f"{which} must be numbers (pictures, dimensions), at least one picture; they are "
            f"{vectors.dtype} {vectors.shape}: {cure}."
        )
    if names.shape != (len(vectors),) or names.dtype.kind != "U":
        raise ValueError(
            f"{which} do not fit together: {len(vectors)} embeddings, and {names.dtype} "
            f"{names.shape} for as many paths; {cure}."
        )
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and told below
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{which} have values that are no finite float32 in {len(bad)} of {len(rows)} rows "
            f"(first: {names[bad[0]]}); check the weights and these pictures, then {cure}."
        )
    return rows
