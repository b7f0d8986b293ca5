"""Pictures that a generator made of others, in several poses each: found by their file names.

Pose2ID (Yuan et al., CVPR 2025, arXiv:2503.00938) writes them that way. The generator itself needs
several GB of diffusion networks and a GPU; it is no part of this project.
"""

import os
import re
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reidtools.data.preflight import first
from reidtools.data.samples import Sample

SIDES = ("query", "bounding_box_test", "gallery")
POSE = re.compile(r"pose(\d+)")


class Pose(NamedTuple):
    """What was generated in one pose: `samples`, and the `rows` of those that they were made of.

    A generated sample has the person, the camera and the scale of its original.
    """

    name: str
    samples: list[Sample]
    rows: list[int]


def generated_poses(
    samples: Sequence[Sample], root: str | Path = "", *, without: Collection[int] = ()
) -> list[Pose]:
    """The generated pictures of `samples`, for each ``pose<k>`` folder there is, by number.

    Those of ``<dir>/query/<name>`` are ``<dir>/query_gen/pose<k>/<name>``, and so for
    ``bounding_box_test`` and ``gallery``; of ``<dir>/query/<id>/<name>`` they are
    ``<dir>/query_gen/pose<k>/<id>/<name>``. With a `root`, ``query_gen`` … lie there instead. A
    pose need not have a picture of every sample. People of the pids `without` have none: Pose2ID
    generates nothing of distractors.

    Raises FileNotFoundError, with the place that was looked at, where there is no ``pose<k>``
    folder, and ValueError for tracklets, for pictures that lie in other folders than these, and
    where no file name is that of a sample.
    """
    if not samples:
        return []
    if any(len(sample.paths) > 1 for sample in samples):
        raise ValueError(
            "TEST.IPG takes pictures, and this test set has tracklets; test it without IPG."
        )
    places = [_place(sample.paths[0], root) for sample in samples]
    homes = sorted({home for home, _ in places})
    names = {entry.name for home in homes if home.is_dir() for entry in home.iterdir()}
    numbers = {name: int(match[1]) for name in names if (match := POSE.fullmatch(name))}
    if not numbers:
        raise FileNotFoundError(
            f"There are no generated pictures: no folder pose1, pose2 … in {first(homes)}. Put "
            "them there under the names of their originals, or set TEST.IPG.ROOT to the folder "
            f"that holds {homes[0].name}."
        )

    listed = cache(_files)  # a look into each folder once, instead of one for each picture
    found = []
    for pose in sorted(numbers, key=lambda name: (numbers[name], name)):
        made, rows = [], []
        for row, (sample, (home, name)) in enumerate(zip(samples, places, strict=True)):
            path = home / pose / name
            if sample.pid not in without and path.name in listed(path.parent):
                made.append(sample._replace(paths=(str(path),)))
                rows.append(row)
        found.append(Pose(pose, made, rows))
    if not any(pose.rows for pose in found):
        raise ValueError(
            f"No picture in {first(homes)} has the name of an original, such as "
            f"{homes[0].name}/{found[0].name}/{places[0][1]}; keep the names, endings included."
        )
    return found


def _place(path: str, root: str | Path) -> tuple[Path, Path]:
    """The folder of the ``pose<k>`` folders for the picture `path`, and its name in each."""
    file = Path(path)
    for side in (file.parent, file.parent.parent):
        if side.name in SIDES:
            above = Path(root).expanduser().resolve() if str(root) else side.parent
            return above / f"{side.name}_gen", file.relative_to(side)
    raise ValueError(
        f"TEST.IPG finds generated pictures by the folders {', '.join(SIDES)}, and {path} lies in "
        "none of them; use a dataset in the Market-1501 layout or {train,query,gallery}/<id>/."
    )


def _files(folder: Path) -> set[str]:
    """The names in `folder`; none where it is missing."""
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - names only, and many
    except (FileNotFoundError, NotADirectoryError):
        return set()
