"""Galleries as MATLAB files, as Human Re-ID with DenseNet keeps them: vectors, people, cameras."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn import functional as F

from reidtools.evaluation.vectors import Vectors
from reidtools.extras import reason
from reidtools.files import make_folder, write_whole

SIDES = ("query", "gallery")
LARGEST = 2**31  # bytes of one variable in a MATLAB 5 file
CURE = "make it again with --save_index"


def write_matlab(
    path: str | Path,
    gallery: Vectors,
    query: Vectors | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write `gallery`, and `query` if there is one, into the MATLAB file `path`, all or nothing.

    ``gallery_embs`` (N, D) are of length 1, ``gallery_cls_labels`` (1, N) are pids and
    ``gallery_cam_ids`` (1, N) cameras, counted from 1 as in file names, 0 unknown; the same for
    ``query``, empty without one. Paths are not kept. What is known `about` the model becomes one
    more variable, as JSON, which other readers pass by. What is too large for the format is a
    ValueError.
    """
    from scipy.io import savemat

    content = {}
    for side, vectors in zip(SIDES, (query, gallery), strict=True):
        embs = np.zeros((0, 0), np.float32)
        cams = labels = np.zeros((1, 0), np.int64)
        if vectors is not None:
            embs = F.normalize(vectors.vectors.detach().cpu().float()).numpy()
            cams, labels = vectors.camids.numpy()[None] + 1, vectors.pids.numpy()[None]
        if embs.nbytes >= LARGEST:
            raise ValueError(
                f"{len(embs)} vectors of {embs.shape[1]} values are too large for a MATLAB file "
                "(2 GiB); keep them as a gallery directory."
            )
        content |= {f"{side}_embs": embs, f"{side}_cam_ids": cams, f"{side}_cls_labels": labels}
    if about is not None:
        content["about"] = json.dumps(dict(about))
    make_folder(Path(path).parent, "folder for the index")
    write_whole(Path(path), lambda file: savemat(file, content))


def read_matlab(path: str | Path) -> tuple[Vectors | None, Vectors, dict[str, Any] | None]:
    """Query, gallery and about the model, of a file as `write_matlab` writes it.

    Query and about are None where the file has none. Paths are made from person, camera and row
    number, such as ``0002_c1_row17``. A missing file is a FileNotFoundError, one that is torn or
    holds something else a ValueError.
    """
    from scipy.io import loadmat

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no index {path.absolute()}; {CURE}.")
    try:
        content = loadmat(path)
        sides = [_side(content, side) for side in SIDES]
        about = dict(json.loads(content["about"].item())) if "about" in content else None
    except KeyError as error:
        raise ValueError(f"{path} has no {error.args[0]}, so it is no index; {CURE}.") from error
    except Exception as error:  # scipy, zlib and NumPy raise a dozen kinds for torn files
        raise ValueError(
            f"{path} is torn or no index ({reason(error).rstrip('.')}); {CURE}."
        ) from error
    query, gallery = sides
    if gallery is None:
        raise ValueError(f"The gallery in {path} is empty; {CURE}.")
    return query, gallery, about


def _side(content: dict[str, np.ndarray], side: str) -> Vectors | None:
    vectors = content[f"{side}_embs"]
    pids, camids = (
        content[f"{side}_{name}"].reshape(-1).astype(np.int64) for name in ("cls_labels", "cam_ids")
    )
    if not vectors.size:
        return None
    camids = camids - 1
    paths = [f"{p:04d}_c{c + 1}_row{i}" for i, (p, c) in enumerate(zip(pids, camids, strict=True))]
    return Vectors(vectors, pids, camids, paths)
