"""What preflight refuses, with the cure in the sentence, and what it only warns of."""

from pathlib import Path

import pytest

from reidtools.data.datasets import load_dataset, load_folder
from reidtools.data.preflight import flaw, preflight
from reidtools.data.samples import Sample, Splits


@pytest.fixture
def make(tmp_path, draw):
    """Splits from (pid, camid) pairs, each with a picture of its own."""

    def make(train, query, gallery):
        def samples(split, pairs):
            files = [f"{split}_{n}.jpg" for n in range(len(pairs))]
            draw(tmp_path, *files)
            return [
                Sample((str(tmp_path / file),), pid, camid)
                for file, (pid, camid) in zip(files, pairs, strict=True)
            ]

        return Splits(samples("train", train), samples("query", query), samples("gallery", gallery))

    return make


TRAIN = [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_sound_dataset_passes_in_silence(make):
    assert preflight(make(TRAIN, [(3, 0)], [(3, 1)]), num_instance=2, people_per_batch=2) == []


def test_every_empty_split_is_named(make):
    with pytest.raises(ValueError) as caught:
        preflight(Splits([], [], []))
    for split in ("train", "query", "gallery"):
        assert f"The {split} split is empty" in str(caught.value)
    assert "DATASETS.ROOT" in str(caught.value)


def test_train_does_not_matter_for_a_test(make):
    splits = make([], [(3, 0)], [(3, 1)])
    assert preflight(splits, people_per_batch=16, training=False) == []
    with pytest.raises(ValueError, match="The train split is empty"):
        preflight(splits)


# Matches


def test_identities_that_do_not_overlap(make):
    splits = make(TRAIN, [(3, 0), (4, 0)], [(13, 1), (14, 1)])
    with pytest.raises(ValueError, match=r"None of the 2 query pictures .* share no identity") as e:
        preflight(splits)
    assert "pids 3, 4" in str(e.value) and "pids 13, 14" in str(e.value)
    with pytest.raises(ValueError, match="share no identity"):
        preflight(splits, camera_filter="none")


def test_identities_that_only_share_the_camera(make):
    splits = make(TRAIN, [(3, 0), (4, 0), (5, 0)], [(3, 0), (4, 0)])
    with pytest.raises(ValueError, match=r"None of the 3 .* 2 of 3 query identities") as caught:
        preflight(splits)
    assert "TEST.CAMERA_FILTER none" in str(caught.value)
    assert preflight(splits, camera_filter="none") == [
        "1 of 3 queries have no match in the gallery; figures leave them out."
    ]


def test_a_folder_without_cameras_passes_thanks_to_its_pseudo_cameras(tmp_path, draw):
    draw(tmp_path, "query/7/a.jpg", "gallery/7/b.jpg")
    assert preflight(load_folder(tmp_path), training=False) == []


def test_a_folder_with_one_camera_in_its_names_is_told_the_cure(tmp_path, draw):
    draw(tmp_path, "query/7/a_c1.jpg", "gallery/7/b_c1.jpg")
    with pytest.raises(ValueError, match="only under the camera of the query"):
        preflight(load_folder(tmp_path), training=False)


def test_an_unknown_camera_filter_is_an_error(make):
    with pytest.raises(LookupError, match="Did you mean 'market'"):
        preflight(make(TRAIN, [(3, 0)], [(3, 1)]), camera_filter="markt")


# Pictures


def test_broken_pictures_are_found_by_kind(tmp_path, draw):
    draw(tmp_path, "a.jpg", "a.png", "a.bmp")
    for name in ("a.jpg", "a.png", "a.bmp"):
        whole = (tmp_path / name).read_bytes()
        assert flaw(str(tmp_path / name)) == ""
        (tmp_path / name).write_bytes(whole[:-20])
        assert flaw(str(tmp_path / name)) == "truncated"
        (tmp_path / name).write_bytes(whole + b"a little after the end")
        assert flaw(str(tmp_path / name)) == ""
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<html>404 not found</html>")
    assert flaw(str(tmp_path / "empty.jpg")) == "zero bytes"
    assert flaw(str(tmp_path / "page.jpg")) == "not a JPEG, PNG or BMP"
    assert flaw(str(tmp_path / "nowhere.jpg")) == "No such file or directory"


def test_the_first_ten_unreadable_pictures_are_listed(make, tmp_path):
    splits = make([(1, 0)] * 12, [(3, 0)], [(3, 1)])
    for sample in splits.train:
        Path(sample.paths[0]).write_bytes(b"")
    with pytest.raises(ValueError, match="12 of 14 pictures cannot be read") as caught:
        preflight(splits)
    assert str(caught.value).count("(zero bytes)") == 10
    assert f"{tmp_path / 'train_0.jpg'} (zero bytes), " in str(caught.value)
    assert preflight(splits, training=False) == []


def test_every_frame_of_a_tracklet_is_looked_at(make, tmp_path):
    splits = make(TRAIN, [(3, 0)], [(3, 1)])
    tracklet = Sample((*splits.query[0].paths, str(tmp_path / "lost.jpg")), 3, 0)
    with pytest.raises(ValueError, match=r"lost\.jpg \(No such file"):
        preflight(splits._replace(query=[tracklet]))


# Batches


def test_too_few_people_for_a_batch(make):
    splits = make(TRAIN, [(3, 0)], [(3, 1)])
    told = preflight(splits, num_instance=4, people_per_batch=16)[0]
    assert told.startswith("train has 2 people, and a batch would show 16 ")
    assert "SOLVER.IMS_PER_BATCH 64 / DATALOADER.SAMPLER.NUM_INSTANCE 4" in told
    assert "so batches have 8 pictures" in told
    assert "batches have 2 pictures" in preflight(splits, people_per_batch=3)[0]
    alone = splits._replace(train=splits.train[:1])
    with pytest.raises(ValueError, match="one person, and there is nobody to tell it from: add"):
        preflight(alone, num_instance=4, people_per_batch=16)


def test_all_causes_are_told_at_once(make):
    splits = make(TRAIN, [(3, 0)], [(4, 1)])
    Path(splits.gallery[0].paths[0]).write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        preflight(splits, num_instance=4, people_per_batch=16)
    assert len(str(caught.value).splitlines()) == 1 + 2


# Warnings


def test_people_with_a_single_picture_are_a_warning(make):
    splits = make([*TRAIN, (9, 0), (8, 0)], [(3, 0)], [(3, 1)])
    [warning] = preflight(splits)
    assert warning.startswith("2 of 4 people in train have a single picture")
    assert warning.endswith("pids 8, 9.")
    assert "repeats it 4 times" in preflight(splits, num_instance=4)[0]


def test_a_file_in_query_and_gallery_is_a_warning(make):
    splits = make(TRAIN, [(3, 0)], [(3, 1)])
    splits = splits._replace(gallery=[*splits.gallery, splits.query[0]])
    assert preflight(splits) == [
        f"1 files are in query and in gallery: {splits.query[0].paths[0]}."
    ]


def test_the_market_tree_passes_with_one_lonely_person(market):
    warnings = preflight(load_dataset("market1501", market), people_per_batch=2)
    assert warnings == [
        "1 of 2 people in train have a single picture, which has no positive: pids 7."
    ]
