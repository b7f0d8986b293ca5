"""Every reader on a tiny tree of its dataset: exact people, cameras and paths; clear errors."""

import logging
from pathlib import Path

import pytest

from reidtools.data.datasets import load_dataset, load_folder


def people(samples):
    return [(sample.pid, sample.camid) for sample in samples]


def names(samples):
    return [Path(path).name for sample in samples for path in sample.paths]


# Market-1501 and its kin


def test_market_drops_junk_and_keeps_distractors_in_the_gallery(market):
    train, query, gallery = load_dataset("market1501", market)
    assert people(train) == [(2, 0), (2, 1), (7, 0)]
    assert people(query) == [(1, 0), (3, 5)]
    assert people(gallery) == [(0, 1), (0, 4), (1, 1), (3, 0)]


def test_distractors_that_one_meant_as_a_person_are_told(market, caplog):
    load_dataset("market1501", market)
    [told] = caplog.messages
    assert told.startswith("1 pictures of pid 0") and "bounding_box_train" in told


def test_paths_are_absolute_and_sorted(market, monkeypatch):
    monkeypatch.chdir(market.parent)
    samples = load_dataset("market1501", market.name).gallery
    assert all(
        Path(path).is_absolute() and Path(path).is_file() for s in samples for path in s.paths
    )
    assert names(samples) == sorted(names(samples))


@pytest.mark.parametrize("folder", ["Market-1501-v15.09.15", "Market1501", "Market-1501"])
def test_market_is_found_under_its_usual_names(market, folder):
    (market / "market1501").rename(market / folder)
    assert len(load_dataset("market1501", market).train) == 3


def test_root_may_be_the_dataset_itself(market):
    assert len(load_dataset("market1501", str(market / "market1501")).train) == 3


def test_a_path_that_looks_like_a_name_does_not_confuse_the_reader(tmp_path, draw):
    home = tmp_path / "0099_c9_data" / "market1501"
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        draw(home / folder, "0002_c1s1_000451_03.jpg")
    assert people(load_dataset("market1501", home.parent).train) == [(2, 0)]


def test_pictures_of_every_kind_are_listed(market, draw):
    home = market / "market1501" / "query"
    draw(home, "0004_c2s1_000001_00.PNG", "0005_c2s1_000001_00.jpeg", "0006_c2s1_000001_00.bmp")
    assert [pid for pid, _ in people(load_dataset("market1501", market).query)] == [1, 3, 4, 5, 6]


def test_missing_market_names_every_place_looked_at(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.ROOT") as caught:
        load_dataset("market1501", tmp_path)
    for name in ("market1501", "Market-1501-v15.09.15", "Market1501", "Market-1501"):
        assert str(tmp_path / name) in str(caught.value)


def test_a_missing_folder_is_an_empty_list(market):
    """Testing needs no pictures to train on; an empty query is refused by the preflight."""
    home = market / "market1501"
    for path in (home / "bounding_box_train").iterdir():
        path.unlink()
    (home / "bounding_box_train").rmdir()
    splits = load_dataset("market1501", market)
    assert splits.train == [] and splits.query and splits.gallery


def test_names_that_do_not_parse_are_counted_and_shown(market, draw):
    draw(market / "market1501" / "query", *(f"holiday{n}.jpg" for n in range(7)), "0001_c0s1_1.jpg")
    with pytest.raises(ValueError, match=r"8 names in .*query are not of the form") as caught:
        load_dataset("market1501", market)
    assert "0001_c0s1_1.jpg, holiday0.jpg" in str(caught.value)
    assert "holiday6" not in str(caught.value)


def test_duke_has_its_own_folder_and_eight_cameras(tmp_path, draw):
    home = tmp_path / "DukeMTMC-reID"
    draw(home / "bounding_box_train", "0001_c2_f0046182.jpg")
    draw(home / "query", "0005_c8_f0051341.jpg")
    draw(home / "bounding_box_test", "0005_c1_f0051000.jpg", "0023_c10_f0000001.jpg")
    splits = load_dataset("dukemtmcreid", tmp_path)
    assert [people(s) for s in splits] == [[(1, 1)], [(5, 7)], [(5, 0), (23, 9)]]


def test_mot17_has_one_camera_that_never_hides_a_match(tmp_path, draw):
    home = tmp_path / "MOT17_reid"
    draw(home / "bounding_box_train", "12_MOT17-02_000001.jpg", "-1_MOT17-02_000001.jpg")
    draw(home / "query", "13_MOT17-04_000001.jpg")
    draw(home / "bounding_box_test", "13_MOT17-04_000009.jpg", "-1_MOT17-04_000009.jpg")
    splits = load_dataset("mot17_reid", tmp_path)
    assert [people(s) for s in splits] == [[(12, 0)], [(13, 0)], [(13, 1)]]


def test_mot17_reads_a_folder_for_each_person_too(tmp_path, draw):
    home = tmp_path / "MOT17_reid"
    draw(home / "bounding_box_train", "0012_MOT17-02_000001.jpg")  # each split by itself
    draw(home / "query", "0013/a.jpg")
    draw(home / "bounding_box_test", "13/a.jpg", "13/b.png", "7/1_c3.jpg", "-1/c.jpg")
    (home / "query" / ".cache").mkdir()
    splits = load_dataset("mot17_reid", tmp_path)
    assert [people(s) for s in splits] == [[(12, 0)], [(13, 0)], [(13, 1), (13, 1), (7, 1)]]
    assert names(splits.gallery) == ["a.jpg", "b.png", "1_c3.jpg"]
    draw(home / "query", "anna/a.jpg")
    with pytest.raises(ValueError, match=r"1 names in .*query are not of the form.*: anna"):
        load_dataset("mot17_reid", tmp_path)


# PRW


@pytest.mark.parametrize("folder", ["PRW_reid", "prw_reid", "PRW"])
def test_prw_is_found_under_its_usual_names(tmp_path, draw, folder):
    home = tmp_path / folder
    draw(home / "bounding_box_train", "0012_c1s1_000151_00.jpg")
    draw(home / "query", "843_c1s4_054211.jpg", "0040_c6s1_000100.jpg")
    draw(home / "bounding_box_test", "0843_c1s4_054211_00.jpg", "-2_c1s4_054211_01.jpg")
    splits = load_dataset("prw", tmp_path)
    assert [people(s) for s in splits] == [[(12, 0)], [(40, 5), (843, 0)], [(843, 0)]]
    assert load_dataset("prw", home) == splits


def test_prw_as_released_is_to_be_prepared(tmp_path, draw):
    draw(tmp_path / "PRW" / "frames", "c1s1_000151.jpg")
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.ROOT.*tools/prepare_prw\.py --raw"):
        load_dataset("prw", tmp_path)


# CUHK03


@pytest.mark.parametrize("folder", ["cuhk03-np", "cuhk03", "CUHK03", "cuhk03_np"])
def test_cuhk03_detected_and_labeled(tmp_path, draw, folder):
    for kind, pid in (("detected", 1), ("labeled", 2)):
        home = tmp_path / folder / kind
        draw(home / "bounding_box_train", f"000{pid}_c1_1_002_1_01.png")
        draw(home / "query", f"000{pid}_c1_1_004_1_01.png")
        draw(home / "bounding_box_test", f"000{pid}_c2_1_004_2_06.png")
    assert [people(s) for s in load_dataset("cuhk03", tmp_path)] == [[(1, 0)], [(1, 0)], [(1, 1)]]
    assert people(load_dataset("cuhk03", tmp_path, labeled=True).gallery) == [(2, 1)]


def test_cuhk03_without_labeled_boxes_says_where_they_should_be(tmp_path, draw):
    draw(tmp_path / "cuhk03-np" / "detected" / "bounding_box_train", "0001_c1_1.png")
    with pytest.raises(FileNotFoundError, match="labeled/bounding_box_train"):
        load_dataset("cuhk03", tmp_path, labeled=True)


# MSMT17


def make_msmt17(home, draw, train="train", test="test"):
    lists = {
        "train": (train, ["0000/0000_000_01_0303morning_0015_0.jpg 0"]),
        "val": (train, ["0000/0000_001_15_0303noon_0020_0.jpg 0"]),
        "query": (test, ["0000/0000_000_03_0113afternoon_0001_0.jpg 0"]),
        "gallery": (test, ["0001/0001_000_04_0113afternoon_0001_0.jpg 1"]),
    }
    for name, (folder, lines) in lists.items():
        draw(home / folder, *(line.split()[0] for line in lines))
        (home / f"list_{name}.txt").write_text("\n".join(lines) + "\n")


def test_msmt17_reads_its_lists(tmp_path, draw):
    make_msmt17(tmp_path / "MSMT17_V1", draw)
    splits = load_dataset("msmt17", tmp_path)
    assert [people(s) for s in splits] == [[(0, 0)], [(0, 2)], [(1, 3)]]
    assert all(Path(path).is_file() for split in splits for s in split for path in s.paths)


def test_msmt17_with_val_trains_on_the_validation_list_too(tmp_path, draw):
    make_msmt17(tmp_path / "MSMT17_V1", draw)
    assert people(load_dataset("msmt17", tmp_path, with_val=True).train) == [(0, 0), (0, 14)]


def test_msmt17_prefers_version_1_and_tells_which_it_read(tmp_path, draw, caplog):
    caplog.set_level(logging.INFO, logger="reidtools")
    make_msmt17(tmp_path / "MSMT17_V2", draw, "mask_train_v2", "mask_test_v2")
    assert "mask_train_v2" in load_dataset("msmt17", tmp_path).train[0].paths[0]
    only_train = "training on list_train.txt without list_val.txt"
    assert caplog.messages == [
        f"msmt17 is read from {tmp_path / 'MSMT17_V2'}: V2 (faces masked), {only_train}"
    ]
    make_msmt17(tmp_path / "MSMT17_V1", draw)
    assert "MSMT17_V1" in load_dataset("msmt17", tmp_path, with_val=True).train[0].paths[0]
    told = f"{tmp_path / 'MSMT17_V1'}: V1, training on list_train.txt and list_val.txt"
    assert caplog.messages[1:] == [f"msmt17 is read from {told}"]


def test_msmt17_in_market_folders_keeps_person_0_and_has_no_val(tmp_path, draw):
    home = tmp_path / "MSMT17"
    draw(home / "bounding_box_train", "0000_c1_000.jpg")
    draw(home / "query", "0000_c15_000.jpg")
    draw(home / "bounding_box_test", "0000_c2_000.jpg")
    splits = load_dataset("msmt17", tmp_path)
    assert [people(s) for s in splits] == [[(0, 0)], [(0, 14)], [(0, 1)]]
    with pytest.raises(FileNotFoundError, match="WITH_VAL"):
        load_dataset("msmt17", tmp_path, with_val=True)


def test_msmt17_shows_lines_it_cannot_read(tmp_path, draw):
    make_msmt17(tmp_path / "MSMT17_V1", draw)
    (tmp_path / "MSMT17_V1" / "list_query.txt").write_text("0000/0000.jpg 0\n")
    with pytest.raises(ValueError, match=r"1 names in .*list_query\.txt .*'0000/0000.jpg 0'"):
        load_dataset("msmt17", tmp_path)


@pytest.mark.parametrize("missing", ["list_gallery.txt", "test"])
def test_msmt17_half_unpacked_names_what_is_missing(tmp_path, draw, missing):
    home = tmp_path / "MSMT17_V1"
    make_msmt17(home, draw)
    (home / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError) as caught:
        load_dataset("msmt17", tmp_path)
    assert str(home / missing) in str(caught.value)


# One's own folder


def test_folder_numbers_people_by_sorted_name_and_shares_them_in_the_test(tmp_path, draw):
    draw(tmp_path / "train", "track_0002/a.jpg", "track_0010/a.jpg", "track_0010/b.jpg")
    draw(tmp_path / "query", "anna/1.jpg", "carl/1.jpg")
    draw(tmp_path / "gallery", "bert/2.jpg", "carl/2.jpg")
    splits = load_folder(tmp_path)
    assert people(splits.train) == [(0, 0), (1, 0), (1, 0)]
    assert people(splits.query) == [(0, 0), (2, 0)]
    assert people(splits.gallery) == [(1, 1), (2, 1)]  # camera 1, so that carl is a match


def test_folder_takes_cameras_from_names_if_all_have_one(tmp_path, draw):
    draw(tmp_path / "query", "7/7_c1_01.jpg")
    draw(tmp_path / "gallery", "7/7_c3s1_02.jpg")
    splits = load_folder(tmp_path)
    assert people(splits.query) == [(0, 0)]
    assert people(splits.gallery) == [(0, 2)]
    assert splits.train == []
    draw(tmp_path / "gallery", "7/no_camera.jpg")
    assert people(load_folder(tmp_path).gallery) == [(0, 1), (0, 1)]


def test_folder_leaves_out_junk(tmp_path, draw):
    draw(tmp_path / "query", "7/7_c1_01.jpg")
    draw(tmp_path / "gallery", "-1/-1_c2_01.jpg", "0000/0000_c2_01.jpg", "7/7_c2_01.jpg")
    splits = load_folder(tmp_path)
    assert people(splits.query) == [(1, 0)]
    assert people(splits.gallery) == [(0, 1), (1, 1)]


def test_folder_may_count_cameras_from_0(tmp_path, draw):
    draw(tmp_path / "query", "7/7_c0_01.jpg")
    draw(tmp_path / "gallery", "7/7_c1_01.jpg")
    assert people(load_folder(tmp_path).gallery) == [(0, 1)]


def test_folder_without_any_split_says_where_pictures_belong(tmp_path):
    with pytest.raises(FileNotFoundError, match="train, query and gallery") as caught:
        load_folder(tmp_path)
    assert f"{tmp_path}/train/<id>/" in str(caught.value)


def test_pictures_without_a_person_are_an_error(tmp_path, draw):
    draw(tmp_path / "train", "1/a.jpg", "loose.jpg")
    with pytest.raises(ValueError, match=r"1 pictures lie directly in .*loose\.jpg.*move each"):
        load_folder(tmp_path)


def test_registered_folder_is_relative_to_the_root(tmp_path, draw):
    draw(tmp_path / "mine" / "train", "1/a.jpg")
    assert load_dataset("folder", tmp_path, path="mine") == load_folder(tmp_path / "mine")
    assert load_dataset("folder", tmp_path / "mine") == load_folder(tmp_path / "mine")


# Names


def test_any_folder_in_market_layout_is_a_dataset(market):
    (market / "market1501").rename(market / "market1501x2")
    assert people(load_dataset("market1501x2", market).train) == [(2, 0), (2, 1), (7, 0)]


def test_a_query_folder_alone_tells_the_market_layout(tmp_path, draw):
    draw(tmp_path / "PRW_reid" / "query", "843_c1s4_054211.jpg")
    splits = load_dataset("PRW_reid", tmp_path)
    assert people(splits.query) == [(843, 0)]
    assert (splits.train, splits.gallery) == ([], [])


def test_any_folder_of_people_is_a_dataset(tmp_path, draw):
    draw(tmp_path / "my_dataset" / "query", "0001/a.jpg")
    assert load_dataset("my_dataset", tmp_path) == load_folder(tmp_path / "my_dataset")


@pytest.mark.parametrize("name", ["market1502", ""])
def test_unknown_name_lists_datasets_and_the_folder_looked_for(tmp_path, name):
    with pytest.raises(LookupError, match="Unknown dataset") as caught:
        load_dataset(name, tmp_path)
    text = str(caught.value)
    assert str(tmp_path / name) in text
    for known in ("cuhk03", "dukemtmcreid", "folder", "market1501", "mot17_reid", "msmt17", "toy"):
        assert known in text
    assert ("Did you mean 'market1501'?" in text) == bool(name)


def test_unknown_option_is_an_error(market, draw):
    with pytest.raises(LookupError, match="Did you mean 'labeled'"):
        load_dataset("cuhk03", market, labelled=True)
    draw(market / "mine" / "query", "1/a.jpg")
    for folder in ("mine", "market1501"):
        with pytest.raises(LookupError, match="Unknown option"):
            load_dataset(folder, market, labeled=True)


def test_what_is_left_out_is_told(tmp_path, draw, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("reidtools"), "propagate", True)
    draw(tmp_path / "mine/query/anna", "a_c1.jpg", "b.jpg")
    draw(tmp_path / "mine/gallery/anna", "c_c2.jpg")
    (tmp_path / "mine/gallery/anna/d.webp").touch()
    splits = load_dataset("mine", tmp_path)
    assert [s.camid for s in splits.query + splits.gallery] == [0, 0, 1]
    assert any("1 of 3 file names" in line for line in caplog.messages)
    assert any("are not read, such as d.webp" in line for line in caplog.messages)
