"""iLIDS-VID and PRID-2011: one tracklet a person and camera, by the split one chooses."""

import json
from pathlib import Path

import pytest
from scipy.io import savemat

from reidtools.data.datasets import load_dataset

PEOPLE = ("person001", "person002", "person005", "person006")


@pytest.fixture
def ilids(tmp_path, draw):
    """A root with an iLIDS-VID of 4 people; the second split is the first one reversed."""
    home = tmp_path / "ilids-vid"
    for camera in ("cam1", "cam2"):
        for name in PEOPLE:
            draw(home / "i-LIDS-VID" / "sequences" / camera / name, "x_2.png", "x_1.png")
    folder = home / "train-test people splits"
    folder.mkdir()
    splits = {"ls_set": [[4, 1, 3, 2], [2, 3, 1, 4]]}
    savemat(folder / "train_test_splits_ilidsvid.mat", splits)
    return tmp_path


@pytest.fixture
def prid(tmp_path, draw):
    """A root with a PRID-2011 of 4 people, one of whom only one camera saw."""
    shots = tmp_path / "prid2011" / "prid_2011" / "multi_shot"
    for camera, count in (("cam_a", 4), ("cam_b", 3)):
        for number in range(1, count + 1):
            draw(shots / camera / f"person_{number:04d}", "0001.png", "0002.png", "0003.png")
    splits = [
        {"train": ["person_0001"], "test": ["person_0003", "person_0002"]},
        {"train": ["person_0001"], "test": ["person_0004"]},
    ]
    (tmp_path / "prid2011" / "splits_prid2011.json").write_text(json.dumps(splits))
    return tmp_path


def who(samples):
    return [(Path(s.paths[0]).parent.name, s.pid, s.camid) for s in samples]


def test_ilids_trains_on_the_second_half_of_a_row(ilids):
    train, query, gallery = load_dataset("ilids_vid", ilids)
    assert who(train) == [
        (name, pid, camid)
        for camid in (0, 1)
        for pid, name in enumerate(("person002", "person005"))
    ]
    assert who(query) == [("person001", 0, 0), ("person006", 1, 0)]
    assert who(gallery) == [("person001", 0, 1), ("person006", 1, 1)]
    assert [Path(path).name for path in query[0].paths] == ["x_1.png", "x_2.png"]
    assert {name for name, *_ in who(load_dataset("ilids_vid", ilids, split=1).query)} == {
        "person002",
        "person005",
    }


def test_ilids_in_pieces_is_an_error(ilids):
    home = ilids / "ilids-vid"
    with pytest.raises(ValueError, match=r"has 2 splits; set SPLIT to 0 … 1, not 2"):
        load_dataset("ilids_vid", ilids, split=2)
    (home / "i-LIDS-VID" / "sequences" / "cam2" / "person005").rename(ilids / "away")
    with pytest.raises(FileNotFoundError, match="1 people .* not in both cameras .*: person005"):
        load_dataset("ilids_vid", ilids)
    (home / "i-LIDS-VID" / "sequences" / "cam1" / "person005").rename(ilids / "too")
    with pytest.raises(ValueError, match="splits 4 people, but there are 3"):
        load_dataset("ilids_vid", ilids)
    next((home / "train-test people splits").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match=r"train_test_splits_ilidsvid\.mat is missing"):
        load_dataset("ilids_vid", ilids)


def test_prid_takes_the_people_that_its_split_names(prid):
    train, query, gallery = load_dataset("prid2011", prid)
    assert who(train) == [("person_0001", 0, 0), ("person_0001", 0, 1)]
    assert who(query) == [("person_0002", 0, 0), ("person_0003", 1, 0)]
    assert who(gallery) == [("person_0002", 0, 1), ("person_0003", 1, 1)]
    assert [len(s.paths) for s in query] == [3, 3]


def test_prid_in_pieces_is_an_error(prid):
    with pytest.raises(FileNotFoundError, match="1 people of the split .*: person_0004"):
        load_dataset("prid2011", prid, split=1)
    shots = prid / "prid2011" / "prid_2011" / "multi_shot"
    for file in (shots / "cam_b" / "person_0002").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"1 folders have no pictures: .*cam_b/person_0002"):
        load_dataset("prid2011", prid)
    (prid / "prid2011" / "splits_prid2011.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"splits_prid2011\.json is missing; write it"):
        load_dataset("prid2011", prid)
