"""Generated pictures are found by the names of their originals."""

import pytest

from reidtools.data.datasets import load_folder
from reidtools.data.datasets.market import read_market
from reidtools.data.generated import generated_poses
from reidtools.data.samples import Sample

FLAT = "0001_c1s1_001051_00.jpg"


@pytest.fixture
def home(market):
    return market / "market1501"


def test_of_the_market_layout(home, draw):
    draw(home / "query_gen", f"pose1/{FLAT}", f"pose2/{FLAT}", "pose2/0003_c6s1_000551_00.jpg")
    first, second = generated_poses(query := read_market(home).query)
    assert [s.pid for s in query] == [1, 3]
    assert (first.name, first.rows, second.rows) == ("pose1", [0], [0, 1])
    assert first.samples == [query[0]._replace(paths=(f"{home}/query_gen/pose1/{FLAT}",))]


def test_of_a_folder_for_each_person(tmp_path, draw):
    draw(tmp_path / "gallery", "anna/1.jpg", "anna/2.jpg", "bert/1.jpg")
    draw(tmp_path / "gallery_gen", "pose1/anna/2.jpg", "pose1/bert/1.jpg", "pose1/bert/9.jpg")
    (pose,) = generated_poses(load_folder(tmp_path).gallery)
    assert pose.rows == [1, 2]  # anna's first is missing; bert's ninth is of nobody
    assert [s.paths[0] for s in pose.samples] == [
        f"{tmp_path}/gallery_gen/pose1/{name}" for name in ("anna/2.jpg", "bert/1.jpg")
    ]


def test_elsewhere_with_a_root(home, tmp_path, draw):
    draw(tmp_path / "made/bounding_box_test_gen/pose1", "0001_c2s1_000301_00.jpg")
    (pose,) = generated_poses(gallery := read_market(home).gallery, tmp_path / "made")
    (row,) = pose.rows
    assert gallery[row].pid == pose.samples[0].pid == 1
    assert pose.samples[0].paths[0].startswith(f"{tmp_path}/made/bounding_box_test_gen/pose1/")


def test_poses_count_by_number_and_generated_pictures_are_as_coarse(home, draw):
    draw(home / "query_gen", *(f"pose{k}/{FLAT}" for k in (10, 2, 1)), f"posed/{FLAT}")
    coarse = [sample._replace(scale=4.0) for sample in read_market(home).query]
    poses = generated_poses(coarse)
    assert [pose.name for pose in poses] == ["pose1", "pose2", "pose10"]
    assert {sample.scale for pose in poses for sample in pose.samples} == {4.0}


def test_distractors_have_none(home, draw):
    names = ("0000_c2s1_000151_01.jpg", "0001_c2s1_000301_00.jpg")
    draw(home / "bounding_box_test_gen/pose1", *names)
    gallery = read_market(home).gallery
    (every,), (people,) = generated_poses(gallery), generated_poses(gallery, without={0})
    assert [s.pid for s in every.samples] == [0, 1] and [s.pid for s in people.samples] == [1]


def test_what_is_not_there_is_told_with_its_place(home, draw):
    query = read_market(home).query
    with pytest.raises(FileNotFoundError, match=rf"pose2 … in {home}/query_gen\. Put them there"):
        generated_poses(query)
    with pytest.raises(FileNotFoundError, match="in /no/where/query_gen"):
        generated_poses(query, "/no/where")
    draw(home / "query_gen", "pose1/0001_c1s1_001051_00.png")
    with pytest.raises(ValueError, match=rf"such as query_gen/pose1/{FLAT}; .*endings included"):
        generated_poses(query)


def test_tracklets_and_other_layouts_are_refused():
    with pytest.raises(ValueError, match="tracklets; test it without IPG"):
        generated_poses([Sample(("query/a.jpg", "query/b.jpg"), 1, 0)])
    with pytest.raises(ValueError, match=r"test/0001/a\.jpg lies in none of them; use a dataset"):
        generated_poses([Sample(("msmt/test/0001/a.jpg",), 1, 0)])
    assert generated_poses([]) == []
