"""What was found for a query as one picture: the query, then its nearest, framed green or red."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reidtools.data.pictures import read_picture
from reidtools.data.prepare.files import in_threads
from reidtools.files import make_folder
from reidtools.visualize.images import file_names, write_png
from reidtools.visualize.text import STRIP, write_line

HEIGHT, WIDTH = 256, 128  # of a tile, in pixels
BORDER, SPACE, GAP = 3, 2, 8  # GAP: what the query stands apart from its hits, besides SPACE
GREEN, RED, BLACK, WHITE = (0, 160, 0), (220, 0, 0), (0, 0, 0), (255, 255, 255)
GREY = (150, 150, 150)


def ranked_list(
    query_path: str | Path,
    gallery_paths: Sequence[str | Path],
    right: Sequence[bool | None],
    *,
    topk: int = 0,
    captions: Sequence[str] = (),
) -> np.ndarray:
    """The query, framed black, and what was found, nearest first: uint8 RGB (256, W, 3).

    Each of `gallery_paths` is framed green where `right` says that it shows the query's person, red
    where not, and grey where nobody knows (None). There is room for `topk` of them, 0 for as many
    as there are; what is missing stays white. W is ``128 * (topk + 1) + 2 * topk + 8``. With
    `captions`, of the query and of each hit, the picture is 20 pixels higher and has them below.

    Raises OSError for a picture that cannot be read, ValueError for more pictures than places.
    """
    topk = topk or len(gallery_paths)
    if len(gallery_paths) != len(right) or len(right) > topk:
        raise ValueError(
            f"{len(gallery_paths)} pictures, {len(right)} verdicts and {topk} places; give each "
            "picture its verdict, and enough places."
        )
    if len(captions) not in (0, len(gallery_paths) + 1):
        raise ValueError(
            f"{len(captions)} captions for the query and {len(gallery_paths)} pictures; give each "
            "its own, or none at all."
        )
    wide = (topk + 1) * WIDTH + topk * SPACE + GAP
    canvas = np.full((HEIGHT + (STRIP if captions else 0), wide, 3), WHITE, np.uint8)
    lefts = [0, *(place * (WIDTH + SPACE) + GAP for place in range(1, len(gallery_paths) + 1))]
    frames = [BLACK, *(_frame(good) for good in right)]
    for left, path, colour in zip(lefts, [query_path, *gallery_paths], frames, strict=True):
        _draw(canvas[:HEIGHT, left : left + WIDTH], path, colour)
    for left, text in zip(lefts, captions, strict=False):
        write_line(canvas[HEIGHT:, left : left + WIDTH], text)
    return canvas


def _frame(good: bool | None) -> tuple[int, int, int]:
    """The colour of a verdict."""
    return GREY if good is None else GREEN if good else RED


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
    captions: Sequence[Sequence[str]] = (),
) -> list[Path]:
    """Write a `ranked_list` of each of the first `most` queries into `folder`; the PNG files.

    `columns` (Q, k) are rows of the gallery, nearest first, -1 where there are no more (as
    `Ranking.topk`); `right` (Q, k) says which show the query's person, None (in an array of
    objects) that nobody knows. `captions`, if any, are k + 1 texts for each query: its own and
    those of its hits. A file is called like its query, with a number where several are called
    alike. Pictures are read by `workers` threads, 0 for one a core, when they are needed.

    Raises ValueError where the shapes do not fit, OSError for a picture that cannot be read.
    """
    columns, right = np.asarray(columns), np.asarray(right)
    if columns.ndim != 2 or columns.shape != right.shape or len(columns) != len(query_paths):
        raise ValueError(
            f"{len(query_paths)} queries, columns {columns.shape} and verdicts {right.shape}; give "
            "columns and verdicts a row for each query."
        )
    places = columns.shape[1] + 1
    if len(captions) not in (0, len(columns)) or any(len(row) != places for row in captions):
        raise ValueError(
            f"Captions do not fit; give each of the {len(columns)} queries {places} of them: its "
            "own and one for each hit, which may be empty."
        )
    folder = make_folder(Path(folder))
    files = [folder / f"{name}.png" for name in file_names(query_paths[:most])]

    def write(row: int) -> None:
        there = np.flatnonzero(columns[row] >= 0)
        found = [gallery_paths[column] for column in columns[row][there]]
        words = [captions[row][place] for place in (0, *(there + 1))] if len(captions) else ()
        drawn = ranked_list(
            query_paths[row], found, right[row][there], topk=columns.shape[1], captions=words
        )
        write_png(files[row], drawn)

    in_threads(write, range(len(files)), "Ranked lists", workers=workers, delay=2)
    return files
