"""Lists of samples: joined, relabelled, counted."""

from reidtools.data.samples import (
    Sample,
    Splits,
    everybody,
    join_train,
    of_other_sets,
    relabel,
    seen_pictures,
    set_of,
    sources_of,
    statistics,
    table,
)


def sample(pid, camid, *paths):
    return Sample(paths or ("a.jpg",), pid, camid)


def test_joined_trains_share_neither_people_nor_cameras():
    first = [sample(1, 0), sample(5, 2)]
    second = [sample(0, 0), sample(1, 1)]
    third = [sample(0, 0)]

    joined = join_train([first, second, third])

    assert [s.pid for s in joined] == [1, 5, 6, 7, 8]
    # Of three datasets camera c of the s-th is 3 * c + s.
    assert [s.camid for s in joined] == [0, 6, 1, 4, 2]
    assert [s.paths for s in joined] == [("a.jpg",)] * 5


def test_a_joined_sample_tells_which_dataset_it_is_of():
    joined = join_train([[sample(1, 0), sample(5, 2)], [], [sample(0, 0), sample(1, 7)]])
    assert sources_of(joined, 3) == [0, 0, 2, 2]
    assert sources_of(joined[1:3], 3) == [0, 2]  # and so does any part
    assert sources_of(join_train([[sample(1, 4)]]), 1) == [0]


def test_joining_one_train_changes_nothing_and_an_empty_one_adds_nothing():
    train = [sample(3, 1), sample(4, 0)]
    assert join_train([train]) == train
    assert [s.pid for s in join_train([[], train, []])] == [3, 4]
    assert join_train([]) == []


def test_everybody_is_train_query_and_gallery_without_distractors():
    """Market's way: one numbering. Two people of the test, 5 and 6, follow the last of train."""
    splits = Splits(
        train=[sample(2, 0, "a"), sample(3, 1, "b")],
        query=[sample(5, 0, "c"), sample(6, 0, "d")],
        gallery=[sample(0, 1, "noise"), sample(5, 1, "e"), sample(5, 0, "c"), sample(8, 2, "f")],
    )
    assert [(s.pid, s.camid, s.paths[0]) for s in everybody(splits)] == [
        *((2, 0, "a"), (3, 1, "b")),
        *((4 + 5, 0, "c"), (4 + 6, 0, "d"), (4 + 5, 1, "e"), (4 + 8, 2, "f")),
    ]


def test_everybody_keeps_a_person_0_and_people_of_two_numberings_apart():
    """MSMT17's way: train and test number people from 0 each, and pid 0 is asked for."""
    splits = Splits([sample(0, 0, "a")], [sample(0, 0, "b")], [sample(0, 3, "c")])
    assert [(s.pid, s.camid) for s in everybody(splits)] == [(0, 0), (1, 0), (1, 3)]


def test_pictures_of_the_test_that_are_trained_on_are_found():
    train = [sample(2, 0, "a.jpg", "b.jpg"), sample(3, 0, "c.jpg")]
    tests = {"mine": Splits([], [sample(2, 0, "b.jpg")], []), "other": Splits([], [], [])}
    assert seen_pictures(train, tests) == {"mine": ["b.jpg"]}


def test_names_of_the_same_dataset():
    for name in ("prw_reid", "PRW_reid", "PRW_reidx4", "prw_reid@mlr", "PRW_reidx2.5@mlr"):
        assert set_of(name) == "prw_reid"
    names = ["market1501", "market1501@mlr", "cuhk03", "toy"]
    assert of_other_sets(names, ["Market1501x2", "toy"]) == ["cuhk03"]
    assert of_other_sets(names, []) == names


def test_labels_are_the_places_of_the_sorted_pids():
    samples = [sample(1501, 0), sample(2, 0), sample(2, 1), sample(7, 0)]
    assert relabel(samples) == {2: 0, 7: 1, 1501: 2}
    assert relabel([]) == {}


def test_statistics_count_ids_pictures_and_cameras():
    splits = Splits(
        train=[sample(2, 0, "a.jpg", "b.jpg", "c.jpg"), sample(2, 1)],  # a tracklet of 3 pictures
        query=[],
        gallery=[sample(0, 0), sample(3, 0)],
    )
    assert statistics(splits) == [("train", 1, 4, 2), ("query", 0, 0, 0), ("gallery", 2, 2, 1)]


def test_table_is_the_one_users_know():
    splits = Splits(train=[sample(2, 0)], query=[sample(3, 0)], gallery=[sample(3, 1)])
    lines = table("market1501", splits).splitlines()
    assert lines[0] == "=> Loaded market1501"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    assert cells[0] == ["subset", "# ids", "# images", "# cameras"]
    assert cells[2] == ["train", "1", "1", "1"]
    assert cells[4][0] == "gallery"
