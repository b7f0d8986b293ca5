"""Lists of samples: joined, relabelled, counted."""

from reidtools.data.samples import Sample, Splits, join_train, relabel, statistics, table


def sample(pid, camid, *paths):
    return Sample(paths or ("a.jpg",), pid, camid)


def test_joined_trains_share_neither_people_nor_cameras():
    first = [sample(1, 0), sample(5, 2)]
    second = [sample(0, 0), sample(1, 1)]
    third = [sample(0, 0)]

    joined = join_train([first, second, third])

    assert [(s.pid, s.camid) for s in joined] == [(1, 0), (5, 2), (6, 3), (7, 4), (8, 5)]
    assert [s.paths for s in joined] == [("a.jpg",)] * 5


def test_joining_one_train_changes_nothing_and_an_empty_one_adds_nothing():
    train = [sample(3, 1), sample(4, 0)]
    assert join_train([train]) == train
    assert join_train([[], train, []]) == train
    assert join_train([]) == []


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
