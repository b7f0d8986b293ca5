"""A synthetic dataset, drawn in seconds: for tests, and for a first look without any download."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from reidtools.data.datasets.market import FOLDERS, read_market
from reidtools.data.datasets.toy_drawing import Person, make_person
from reidtools.data.datasets.toy_scene import Camera, make_camera, photograph
from reidtools.data.samples import Splits
from reidtools.registry import DATASETS

ABOUT = (
    "SYNTHETIC pictures drawn by reidtools: no real person and no real camera. Figures measured on "
    "them show that a program runs and learns, not how well it recognises people."
)
DRAWING = 1  # the number of the way people are drawn: another way is another dataset
PERSON, CAMERA, PICTURE, SEEN = range(4)  # what a generator is for


@DATASETS
def toy(
    root: str | Path, *, people: int = 64, cameras: int = 4, pictures: int = 4, seed: int = 1
) -> Splits:
    """A SYNTHETIC dataset of drawn people, made once in ``root/toy`` in the Market-1501 layout.

    `people` people to train and half as many others to test, each seen by two to all of the
    `cameras`, `pictures` times by each; one of these is the query, the others are gallery, which
    also has junk (pid -1) and distractors (pid 0). The same options and `seed` draw the same
    files. Pillow draws about 200 pictures a second; no paper, no licence.

    An existing ``root/toy`` is reused if its ``toy.json`` tells the same options, and is an error
    otherwise.
    """
    least = {"people": 2, "cameras": 2, "pictures": 2}
    options = {"people": people, "cameras": cameras, "pictures": pictures, "seed": seed}
    refuse_small(options, least)
    home = Path(root).expanduser().resolve() / "toy"
    draw_once(home, {"about": ABOUT, "drawing": DRAWING, "options": options}, _draw)
    return read_market(home)


def refuse_small(options: Mapping[str, int], least: Mapping[str, int]) -> None:
    """Raise a `ValueError` if one of the `options` is below its `least`."""
    for name, smallest in least.items():
        if options[name] < smallest:
            raise ValueError(
                f"A toy dataset needs {smallest} {name} or more to have a match in another camera; "
                f"it was given {options[name]}. Set {name.upper()} to {smallest} or more."
            )


def draw_once(home: Path, story: dict, draw: Callable[..., None]) -> None:
    """Let `draw` fill the folder `home`, unless that was done before as `story` tells.

    ``draw(folder, **story["options"])`` draws beside `home`, and the whole is moved there in one
    step: nobody sees half of it. A `home` of another story, or of somebody else, is a `ValueError`.
    """
    if not home.exists():
        unfinished = home.with_name(f".{home.name}-{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(parents=True)
            draw(unfinished, **story["options"])
            text = json.dumps(story, indent=1) + "\n"
            (unfinished / "toy.json").write_text(text, encoding="utf-8")
            try:
                unfinished.replace(home)
            except OSError:
                if not home.exists():  # else another process was faster; its options are checked
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _check(home, story)


def _check(home: Path, story: dict) -> None:
    """Raise a `ValueError` unless `home` was drawn with the options that `story` tells."""
    file = home / "toy.json"
    if not file.is_file():
        raise ValueError(
            f"{home} has no toy.json, so it was not drawn by reidtools; move it away, or set "
            "DATASETS.ROOT to another folder."
        )
    drawn = json.loads(file.read_text(encoding="utf-8"))
    if drawn["drawing"] != story["drawing"]:
        raise ValueError(f"{home} was drawn by another version of reidtools; delete it.")
    if drawn["options"] != story["options"]:
        raise ValueError(
            f"{home} was drawn with {drawn['options']}, not with {story['options']}; delete it to "
            "have it drawn anew, or use the options it was drawn with."
        )


def _draw(home: Path, **options: int) -> None:
    """Draw the whole dataset into the folder `home`."""
    for folder in FOLDERS:
        (home / folder).mkdir()
    for file, person, camera, rng in _plan(**options):
        photograph(person, camera, rng).save(home / file, quality=90)


Picture = tuple[str, Person | None, Camera, np.random.Generator]


def _plan(people: int, cameras: int, pictures: int, seed: int) -> Iterator[Picture]:
    """Every picture of the dataset: its file, who is seen, by which camera, with which chance."""

    def chance(*what: int) -> np.random.Generator:
        return np.random.default_rng([seed, *what])

    places = [make_camera(chance(CAMERA, number), number) for number in range(cameras)]
    train, query, test = FOLDERS
    for pid in range(1, people + people // 2 + 1):
        person, rng = make_person(chance(PERSON, pid)), chance(SEEN, pid)
        seen_by = rng.permutation(cameras)[: rng.integers(2, cameras + 1)]
        for camid in sorted(seen_by.tolist()):
            for number in range(pictures):
                folder = train if pid <= people else query if number == 0 else test
                name = _name(f"{pid:04d}", camid, pid, number)
                yield f"{folder}/{name}", person, places[camid], chance(PICTURE, pid, camid, number)
    for number in range(people):
        # Distractors are strangers who pass once; junk is a place without anybody.
        rng, camid = chance(PICTURE, 0, 0, number), number % cameras
        yield f"{test}/{_name('0000', camid, 0, number)}", make_person(rng), places[camid], rng
    for number in range(people // 2):
        rng, camid = chance(PICTURE, 0, 1, number), number % cameras
        yield f"{test}/{_name('-1', camid, 0, number)}", None, places[camid], rng


def _name(pid: str, camid: int, frame: int, number: int) -> str:
    return f"{pid}_c{camid + 1}s1_{100 * frame + 7 * number:06d}_{number + 1:02d}.jpg"
