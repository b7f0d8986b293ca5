"""Vectors in a file, with a note of what they were made from, so that none is embedded twice."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn

from reidtools.evaluation.vectors import Vectors


def write_vectors(file: BinaryIO, vectors: Vectors, about: Mapping[str, str]) -> None:
    """Write `vectors` into `file`, an ``.npz`` that `numpy.load` opens without pickle.

    Its arrays are `vectors` (N, D), `pids` and `camids` (N,), `paths` (N,), empty without them, and
    `about`, a JSON text: everything that the vectors depend on, by name. `read_vectors` compares.
    """
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(dict(about))),
        "vectors": vectors.vectors.detach().cpu().numpy(),
        "pids": vectors.pids.numpy(),
        "camids": vectors.camids.numpy(),
        "paths": np.array(vectors.paths or [], dtype=np.str_),  # always there: a loss is noticed
    }
    np.savez(file, **arrays)


def read_vectors(path: str | Path, about: Mapping[str, str] | None = None) -> Vectors:
    """The `Vectors` in the file at `path`, on the CPU.

    With `about` they must have been written with the same one: what differs is named in a
    ValueError. A file that is torn or holds something else is a ValueError, a missing one an
    OSError.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as saved:
                then = json.loads(str(saved["about"]))
                now = then if about is None else dict(about)
                if then == now:
                    names = saved["paths"].tolist() or None
                    return Vectors(saved["vectors"], saved["pids"], saved["camids"], names)
                changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        except Exception as error:  # zipfile, NumPy and json raise a dozen kinds for torn files
            raise ValueError(
                f"{path} holds no vectors that can be read ({error}); delete it, and they are "
                "computed again."
            ) from error
    differences = "; ".join(
        f"{name} was {then.get(name)!s:.40}, is {now.get(name)!s:.40}" for name in changed
    )
    raise ValueError(
        f"The vectors in {path} were made from something else: {differences}. Delete the files in "
        "this folder or choose another."
    )


def fingerprint(model: nn.Module) -> str:
    """The SHA-256 of all weights and buffers of `model`: names, dtypes, shapes and values.

    The device and the memory format do not matter. Settings that have no weights, such as a stride
    or the size of pictures, are not in it. A network without weights of its own, run from a file,
    tells its `fingerprint`.
    """
    told = [part.fingerprint for part in model.modules() if hasattr(part, "fingerprint")]
    if told:
        return str(told[0])
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
