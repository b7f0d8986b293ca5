"""Folders of frames become one vector each."""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch.nn import functional as F
from yacs.config import CfgNode

from reidtools.api.pictures import model_of, strangers, vectors_of
from reidtools.data.datasets.listing import pictures
from reidtools.engine import logbook
from reidtools.files import make_folder, write_whole

LOGGER = logging.getLogger("reidtools")


def embed_sequences(
    cfg: CfgNode,
    folders: str | Path | Sequence[str | Path],
    output: str | Path = "embedding.npy",
    *,
    strict: bool = False,
) -> np.ndarray:
    """One vector of length 1 for each of `folders`, float32 (N, D), with MODEL.WEIGHTS.

    All frames of a folder count, whatever their number; TEST.FRAME_CHOICE takes fewer. One folder
    is written to `output` ``.npy`` as (D,), several to ``.npz`` with the name of each folder, or
    its path where two are called alike. A frame that is no picture is told and left out, or with
    `strict` an OSError. Raises ValueError where the ending of `output` does not fit.
    """
    logbook.set_up_logging()
    folders = [Path(f) for f in ([folders] if isinstance(folders, str | Path) else folders)]
    output, wanted = Path(output), ".npy" if len(folders) == 1 else ".npz"
    if len({folder.resolve() for folder in folders}) < max(1, len(folders)):
        raise ValueError("Name at least one folder of frames, and none of them twice.")
    if output.suffix != wanted:
        raise ValueError(
            f"The vectors of {len(folders)} folders go to a file that ends in {wanted}, not to "
            f"{output}; change its name."
        )
    tracklets = [_frames(folder) for folder in folders]
    make_folder(output.absolute().parent, "output")
    model = model_of(cfg)
    samples = [strangers(*frames) for frames in tracklets]
    found = vectors_of(cfg, model, samples, strict, "query")
    if len(found) < len(folders):
        lost = [f for f, t in zip(folders, tracklets, strict=True) if str(t[0]) not in found.paths]
        raise ValueError(f"No frame of {lost[0]} is a picture; restore them or leave it out.")
    vectors = F.normalize(found.vectors).numpy()
    if wanted == ".npy":
        write_whole(output, lambda file: np.save(file, vectors[0]))
    else:
        rows = dict(zip(_names(folders), vectors, strict=True))
        write_whole(output, lambda file: _write_archive(file, rows))
    LOGGER.info("Written: %s: %d vectors of %d values", output, *vectors.shape)
    return vectors


def _write_archive(file: BinaryIO, rows: dict[str, np.ndarray]) -> None:
    """What ``numpy.savez`` writes, which cannot have an array called ``file``."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, row in rows.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, row)


def _frames(folder: Path) -> list[Path]:
    """The frames in `folder`, sorted; a ValueError or FileNotFoundError where there are none."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder.absolute()}; name the one that holds the frames."
        )
    frames = pictures(folder)
    if not frames:
        raise ValueError(f"There are no pictures in {folder}; name the one that holds the frames.")
    return frames


def _names(folders: Sequence[Path]) -> list[str]:
    """The names of the folders; their paths where two of them are called alike."""
    names = [folder.absolute().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]
