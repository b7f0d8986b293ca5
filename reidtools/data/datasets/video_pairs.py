"""iLIDS-VID and PRID-2011: people filmed once by each of two cameras."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from reidtools.data.datasets.listing import find_home, pictures, read_matrix
from reidtools.data.preflight import first
from reidtools.data.samples import Sample, Splits
from reidtools.registry import DATASETS

ILIDS_SPLITS = Path("train-test people splits", "train_test_splits_ilidsvid.mat")
PRID_SPLITS = "splits_prid2011.json"


@DATASETS
def ilids_vid(root: str | Path, *, split: int = 0) -> Splits:
    """iLIDS-VID: 300 people, 2 cameras, 600 tracklets (Wang et al., ECCV 2014).

    Looked for in `root` as ``ilids-vid``, ``iLIDS-VID`` or ``ilids_vid``, then in `root` itself:
    ``i-LIDS-VID/sequences/cam1/person001/*.png``, and beside ``i-LIDS-VID`` the folder
    ``train-test people splits`` with the ten official splits, 150 people each way. `split` is the
    place of one, from 0; figures in papers are means over all ten. Query is camera 1.
    https://xiatian-zhu.github.io/downloads_qmul_iLIDS-VID_ReID_dataset.html
    """
    names = ("ilids-vid", "iLIDS-VID", "ilids_vid")
    home = find_home("ilids_vid", root, names, ("i-LIDS-VID/sequences",))
    sequences = home / "i-LIDS-VID" / "sequences"
    cameras = [_people(sequences / f"cam{number}") for number in (1, 2)]
    file = home / ILIDS_SPLITS
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; unpack the whole of iLIDS-VID in {home}.")
    orders = read_matrix(file, "ls_set", "unpack it again")  # (splits, people), from 1
    _check_split(split, len(orders), file)
    order, everybody = orders[split].tolist(), sorted({*cameras[0], *cameras[1]})
    if sorted(order) != list(range(1, len(everybody) + 1)):
        raise ValueError(
            f"{file} splits {len(order)} people, but there are {len(everybody)} in {sequences}; "
            "unpack the whole of iLIDS-VID there."
        )
    half = len(order) // 2
    test, train = (
        {everybody[place - 1] for place in part} for part in (order[:half], order[half:])
    )
    return _pairs(cameras, train, test, sequences)


@DATASETS
def prid2011(root: str | Path, *, split: int = 0) -> Splits:
    """PRID-2011: 2 cameras; the 178 people with 21 frames or more in both (Hirzer et al., 2011).

    Looked for in `root` as ``prid2011``, ``PRID2011`` or ``prid_2011``, then in `root` itself:
    ``prid_2011/multi_shot/cam_a/person_0001/*.png``, and beside ``prid_2011`` the file
    ``splits_prid2011.json``, a list of ``{"train": [names], "test": [names]}``. `split` is the
    place of one, from 0; figures in papers are means over ten. Query is camera a.
    https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11/
    """
    names = ("prid2011", "PRID2011", "prid_2011")
    home = find_home("prid2011", root, names, ("prid_2011/multi_shot",))
    shots = home / "prid_2011" / "multi_shot"
    cameras = [_people(shots / name) for name in ("cam_a", "cam_b")]
    file = home / PRID_SPLITS
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; write it as a list of "
            '{"train": ["person_0001", …], "test": [names]}, one entry a split.'
        )
    try:
        splits = json.loads(file.read_text(encoding="utf-8"))
        parts = [(own["train"], own["test"]) for own in splits]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no list of splits, each with train and test ({error!r}); write it anew."
        ) from error
    _check_split(split, len(parts), file)
    return _pairs(cameras, *parts[split], shots)


def _check_split(split: int, count: int, file: Path) -> None:
    if not 0 <= split < count:
        raise ValueError(f"{file} has {count} splits; set SPLIT to 0 … {count - 1}, not {split}.")


def _people(folder: Path) -> dict[str, Path]:
    """The folders of people in `folder`, by name."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; unpack the whole dataset there.")
    people = (entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    return {person.name: person for person in people}


def _pairs(
    cameras: list[Mapping[str, Path]], train: Collection[str], test: Collection[str], where: Path
) -> Splits:
    """Splits of the people named `train` and `test`, numbered from 0 in each."""
    lacking = sorted(name for name in {*train, *test} if any(name not in c for c in cameras))
    if lacking:
        raise FileNotFoundError(
            f"{len(lacking)} people of the split are not in both cameras of {where}: "
            f"{first(lacking)}. Unpack the whole dataset there."
        )

    frames = {
        (name, camid): tuple(map(str, pictures(cameras[camid][name])))
        for name in sorted({*train, *test})
        for camid in (0, 1)
    }
    empty = [str(cameras[camid][name]) for (name, camid), paths in frames.items() if not paths]
    if empty:
        raise ValueError(
            f"{len(empty)} folders have no pictures: {first(empty)}. Unpack the dataset again."
        )

    def read(people: Collection[str], camid: int) -> list[Sample]:
        return [Sample(frames[name, camid], pid, camid) for pid, name in enumerate(sorted(people))]

    return Splits(read(train, 0) + read(train, 1), read(test, 0), read(test, 1))
