"""What was found for a query as one picture: the query, then its nearest, framed green or red."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reidtools.data.pictures import read_picture
from reidtools.files import make_folder, write_whole

HEIGHT, WIDTH = 256, 128  # of a tile, in pixels
BORDER, SPACE, GAP = 3, 2, 8  # GAP: what the query stands apart from its hits, besides SPACE
GREEN, RED, BLACK, WHITE = (0, 160, 0), (220, 0, 0), (0, 0, 0), (255, 255, 255)


def ranked_list(
    query_path: str | Path,
    gallery_paths: Sequence[str | Path],
    right: Sequence[bool],
    *,
    topk: int = 0,
) -> np.ndarray:
    """The query, framed black, and what was found, nearest first: uint8 RGB (256, W, 3).

    Each of `gallery_paths` is framed green where `right` says that it shows the query's person, and
    red where not. There is room for `topk` of them, 0 for as many as there are; what is missing
    stays white. W is ``128 * (topk + 1) + 2 * topk + 8``.

    Raises OSError for a picture that cannot be read, ValueError for more pictures than places.
    """
    topk = topk or len(gallery_paths)
    if len(gallery_paths) != len(right) or len(right) > topk:
        raise ValueError(
            f"{len(gallery_paths)} pictures, {len(right)} verdicts and {topk} places; give each "
            "picture its verdict, and enough places."
        )
    wide = (topk + 1) * WIDTH + topk * SPACE + GAP
    canvas = np.full((HEIGHT, wide, 3), WHITE, np.uint8)
    _draw(canvas[:, :WIDTH], query_path, BLACK)
    for place, (path, good) in enumerate(zip(gallery_paths, right, strict=True), 1):
        left = place * (WIDTH + SPACE) + GAP
        _draw(canvas[:, left : left + WIDTH], path, GREEN if good else RED)
    return canvas


def _draw(tile: np.ndarray, path: str | Path, colour: tuple[int, int, int]) -> None:
    """Put the picture at `path` into `tile`, a view, with a frame inside."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)  # OpenCV does not write into a view
    read_picture(path, picture)
    tile[:] = colour
    inside = slice(BORDER, -BORDER)
    tile[inside, inside] = picture[inside, inside]


def write_ranked_lists(
    query_paths: Sequence[str | Path],
    gallery_paths: Sequence[str | Path],
    columns: np.ndarray,
    right: np.ndarray,
    folder: str | Path,
    *,
    most: int = 1_000_000,
    workers: int = 0,
) -> list[Path]:
    """Write a `ranked_list` of each of the first `most` queries into `folder`; the PNG files.

    `columns` (Q, k) are rows of the gallery, nearest first, -1 where there are no more (as
    `Ranking.topk`); `right` (Q, k) says which show the query's person. A file is called like its
    query, with a number where several are called alike. Pictures are read by `workers` threads, 0
    for one a core, when they are needed.

    Raises ValueError where the shapes do not fit, OSError for a picture that cannot be read.
    """
    import cv2

    columns, right = np.asarray(columns), np.asarray(right)
    if columns.ndim != 2 or columns.shape != right.shape or len(columns) != len(query_paths):
        raise ValueError(
            f"{len(query_paths)} queries, columns {columns.shape} and verdicts {right.shape}; give "
            "columns and verdicts a row for each query."
        )
    folder = make_folder(Path(folder))
    files = [folder / f"{name}.png" for name in _names(query_paths[:most])]

    def write(row: int) -> None:
        there = columns[row] >= 0
        found = [gallery_paths[column] for column in columns[row][there]]
        drawn = ranked_list(query_paths[row], found, right[row][there], topk=columns.shape[1])
        done, data = cv2.imencode(".png", drawn[:, :, ::-1])
        if not done:
            raise OSError(f"{files[row]} cannot be made; draw fewer than {len(found)} pictures.")
        write_whole(files[row], lambda file: file.write(data))

    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1), "ranked lists")
    try:
        done = pool.map(write, range(len(files)))
        for _ in tqdm(done, "Ranked lists", len(files), leave=False, disable=None, delay=2):
            pass
    finally:  # after an error the others are not drawn
        pool.shutdown(cancel_futures=True)
    return files


def _names(paths: Sequence[str | Path]) -> list[str]:
    """The stems of `paths`, each once: a second ``a`` is ``a_2``, or the next that is free."""
    stems = [Path(path).stem for path in paths]
    taken, names, counts = {stem.casefold() for stem in stems}, [], dict[str, int]()
    for stem in stems:
        key = stem.casefold()  # some disks hold a.png and A.png for one file
        number, name = counts.get(key, 0) + 1, stem
        while number > 1 and (name := f"{stem}_{number}").casefold() in taken:
            number += 1
        counts[key] = number
        taken.add(name.casefold())
        names.append(name)
    return names
