"""A synthetic dataset of tracklets in the layout of MARS, drawn in seconds."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reidtools.data.datasets.mars import FOLDERS, JUNK, mars, pick_queries
from reidtools.data.datasets.toy import CAMERA, PERSON, PICTURE, SEEN, draw_once, refuse_small
from reidtools.data.datasets.toy_drawing import Person, make_person
from reidtools.data.datasets.toy_scene import Camera, make_camera, make_moment, photograph
from reidtools.data.samples import Splits
from reidtools.registry import DATASETS

ABOUT = (
    "SYNTHETIC tracklets drawn by reidtools, in the layout of MARS but not of it: no real person "
    "and no real camera. Figures measured on them show that a program runs and learns, not how "
    "well it recognises people."
)
DRAWING = 1  # the number of the way tracklets are drawn: another way is another dataset
HEADER = b"MATLAB 5.0 MAT-file, synthetic, written by reidtools"


@DATASETS
def toy_mars(
    root: str | Path,
    *,
    people: int = 24,
    cameras: int = 3,
    tracklets: int = 2,
    frames: int = 6,
    seed: int = 1,
) -> Splits:
    """SYNTHETIC tracklets of drawn people, made once in ``root/toy_mars`` in the layout of MARS.

    `people` people to train and half as many others to test, each seen by two to all of the
    `cameras` (6 at most, as MARS has), in `tracklets` tracklets by each. A tracklet has `frames`
    frames, or, one in three each, half as many or half as many again; the person walks, the box
    jitters, and now and then somebody is in the way. There are distractors (``0000``), junk
    (``00-1``) and ``info/`` with the official names, whose queries are those of `pick_queries`.
    The same options and `seed` draw the same files, about 200 frames a second; no paper, no
    licence.

    An existing ``root/toy_mars`` is reused if its ``toy.json`` tells the same options, and is an
    error otherwise.
    """
    options = {
        "people": people, "cameras": cameras, "tracklets": tracklets, "frames": frames, "seed": seed
    }  # fmt: skip
    refuse_small(options, {"people": 2, "cameras": 2, "tracklets": 1, "frames": 1})
    if cameras > 6:
        raise ValueError(
            f"File names of MARS have cameras 1 to 6, not {cameras} of them. Set CAMERAS to 6 or "
            "less."
        )
    home = Path(root).expanduser().resolve() / "toy_mars"
    draw_once(home, {"about": ABOUT, "drawing": DRAWING, "options": options}, _draw)
    return mars(home)


class Track(NamedTuple):
    """A tracklet to draw. `key` tells its chance from that of others; `person` None is nobody."""

    folder: str
    pid: int
    camera: int  # from 0
    number: int  # from 1
    length: int
    person: Person | None
    place: Camera
    key: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """File names of its frames."""
        person = "00-1" if self.pid == JUNK else f"{self.pid:04d}"
        start = f"{person}C{self.camera + 1}T{self.number:04d}"
        return [f"{start}F{frame + 1:03d}.jpg" for frame in range(self.length)]


def _draw(home: Path, seed: int, **options: int) -> None:
    """Draw the whole dataset into the folder `home`."""
    tracks = list(_plan(seed, **options))
    for track in tracks:
        for frame, name in enumerate(track.names):
            # One chance for the whole tracklet, begun anew: the same place, light and pose.
            rng, own = (np.random.default_rng([seed, *track.key, k]) for k in (0, frame + 1))
            picture = photograph(track.person, track.place, rng, make_moment(own, frame))
            file = home / track.folder / name[:4] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file, quality=90)
    (home / "info").mkdir()
    for kind, folder in zip(("train", "test"), FOLDERS, strict=True):
        part = [track for track in tracks if track.folder == folder]
        names = [name for track in part for name in track.names]
        text = "".join(f"{name}\n" for name in names)
        (home / "info" / f"{kind}_name.txt").write_text(text, encoding="utf-8")
        ends = np.cumsum([track.length for track in part])
        rows = [
            (end - track.length + 1, end, track.pid, track.camera + 1)
            for track, end in zip(part, ends.tolist(), strict=True)
        ]
        _save(home / "info" / f"tracks_{kind}_info.mat", f"track_{kind}_info", rows)
    test = [(track.pid, track.camera) for track in tracks if track.folder == FOLDERS[1]]
    _save(home / "info" / "query_IDX.mat", "query_IDX", [[p + 1 for p in pick_queries(test)]])


def _save(file: Path, variable: str, rows: list) -> None:
    """Write a MATLAB file without the time in its header: the same rows, the same bytes."""
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {variable: np.array(rows, dtype=np.float64)})  # MARS has floats too
    file.write_bytes(HEADER.ljust(116) + buffer.getvalue()[116:])


def _plan(seed: int, people: int, cameras: int, tracklets: int, frames: int) -> Iterator[Track]:
    """Every tracklet, in the order of rows."""

    def chance(*what: int) -> np.random.Generator:
        return np.random.default_rng([seed, *what])

    lengths = (frames, max(1, frames // 2), frames + frames // 2)
    places = [make_camera(chance(CAMERA, number), number) for number in range(cameras)]
    train, test = FOLDERS
    for pid in range(1, people + people // 2 + 1):
        person, rng = make_person(chance(PERSON, pid)), chance(SEEN, pid)
        seen_by = rng.permutation(cameras)[: rng.integers(2, cameras + 1)]
        for camera in sorted(seen_by.tolist()):
            for number in range(1, tracklets + 1):
                length = lengths[(pid + camera + number) % 3]
                key = (PICTURE, pid, camera, number)
                folder = train if pid <= people else test
                yield Track(folder, pid, camera, number, length, person, places[camera], key)
    for pid, count in ((0, max(2, people // 4)), (JUNK, max(1, people // 8))):
        # Distractors are strangers who pass once; junk is a place without anybody.
        for i in range(count):
            camera, number, key = i % cameras, 1 + i // cameras, (PICTURE, 0, pid + 1, i)
            person = None if pid == JUNK else make_person(chance(*key))
            yield Track(test, pid, camera, number, lengths[i % 3], person, places[camera], key)
