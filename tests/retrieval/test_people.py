"""Names tell people: from file names, from folders, or not at all."""

from pathlib import Path

import numpy as np
import pytest

from reidtools.retrieval.people import camera_of, means, numbers, person_of, same_person


@pytest.mark.parametrize(
    ("path", "person"),
    [
        ("0843_c1s4_054211_00.jpg", "0843"),
        ("g/843_c1s4_054211.jpg", "843"),
        ("-1_c1s1_000401_03.jpg", "-1"),
        ("-2_c1s1_000401_03.jpg", "-2"),
        ("g/anna/7.jpg", "anna"),  # a number alone counts pictures, not people
        ("g/anna/7_c1.jpg", "7"),
        ("g/anna/IMG_0001.jpg", "anna"),
        ("g/anna/monday/IMG_0001.jpg", "anna"),
        ("g/0012/a.jpg", "0012"),
        ("g/a.jpg", ""),
        ("g/a_1.jpg", ""),
        ("g/1.5_1.jpg", ""),
        ("g/_c1.jpg", ""),
        ("elsewhere/anna/a.jpg", ""),
        ("٣_c1.jpg", ""),
    ],
)
def test_person(path, person):
    assert person_of(path, "g") == person
    assert person_of(Path(path), "g/") == person
    assert person_of(path, Path("g").absolute()) == person


@pytest.mark.parametrize(
    ("path", "person", "camera"),
    [
        ("raw/bbox_test/0025/0025C3T0001F001.jpg", "0025", 2),
        ("0000C1T0002F117.jpg", "0000", 0),
        ("raw/bbox_test/00-1/00-1C6T0001F001.jpg", "-1", 5),
        ("processed/test/ID0025/cam03_seq0001/rgb/frame0001.jpg", "0025", 2),
        ("ID0025/cam03_seq0001_002/rgb/frame0025.jpg", "0025", 2),
        ("g/ID0025/rgb/frame0001.jpg", "", -1),
        ("g/ID0025/cam03_seq0001/frame0001.jpg", "", -1),
    ],
)
def test_frames_of_mars_and_of_its_sequences(path, person, camera):
    assert (person_of(path), camera_of(path)) == (person, camera)


def test_without_a_root_folders_tell_nobody():
    assert person_of("g/anna/a.jpg") == ""
    assert person_of("g/anna/3_a.jpg") == "3"


def test_camera():
    assert camera_of("g/0843_c1s4_054211_00.jpg") == 0
    assert camera_of("0843_C6.jpg") == camera_of("anna/a.jpg") == camera_of("0843_c0s1.jpg") == -1
    assert camera_of("0002_c015_00076370.jpg") == 14


@pytest.mark.parametrize(("a", "b"), [("843", "0843"), ("anna", "anna"), ("0", "0000")])
def test_same(a, b):
    assert same_person(a, b) and same_person(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [("843", "844"), ("anna", "Anna"), ("", ""), ("", "1"), ("-1", "-1"), ("-1", "1"), ("1", "a")],
)
def test_not_the_same(a, b):
    assert not same_person(a, b) and not same_person(b, a)


def test_numbers_keep_their_value_and_names_come_above_them():
    query = ["0843", "anna", "", "-1", "-2", "0"]
    gallery = ["843", "zoe", "anna", "7"]
    assert numbers(query, gallery) == ([843, 844, -1, -1, -1, 0], [843, 845, 844, 7])
    assert numbers(["b", "a"], ["a"]) == ([1, 0], [0])
    assert numbers(["", ""], [""]) == ([-1, -1], [-1])


def test_a_number_too_large_for_a_tensor_is_a_name():
    long = "9" * 30
    assert numbers([long, "5"], [f"0{long}", "a"]) == ([6, 5], [6, 7])


def test_means_on_paper():
    vectors = np.array([[1, 0], [9, 9], [0, 1], [5, 5], [7, 7], [3, 2]], np.float32)
    made, names = means(vectors, ["0002", "", "zoe", "-1", "0001", "2"])
    assert names == ["0001", "0002", "zoe"]
    assert made.tolist() == [[7, 7], [2, 1], [0, 1]] and made.dtype == np.float32


def test_means_do_not_overflow_half_precision():
    made, _ = means(np.full((3, 1), 60000, np.float16), ["1", "1", "1"])
    assert made.tolist() == [[60000]]


def test_means_of_nobody_are_refused():
    with pytest.raises(ValueError, match=r"None of 2 file names tells a person.*; name pictures"):
        means(np.ones((2, 3)), ["", "-1"])
    with pytest.raises(ValueError, match="2 vectors and 1 names; give each"):
        means(np.ones((2, 3)), ["1"])
