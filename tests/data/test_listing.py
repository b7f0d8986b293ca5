"""Finding pictures: one file, a folder, a tree."""

import pytest

from reidtools.data.datasets.listing import find_pictures


@pytest.fixture
def tree(tmp_path, draw, monkeypatch):
    """Pictures in and below ``g``, which is found from the working directory."""
    draw(tmp_path / "g", "b.jpg", "a.PNG", "c.bmp", ".hidden.jpg")
    draw(tmp_path / "g", "anna/2.jpg", "anna/10.jpg", "anna/monday/x.jpg", ".trash/y.jpg")
    (tmp_path / "g" / "notes.txt").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "g"


def names(found):
    return [str(path) for path in found]


def test_one_picture_stays_as_it_is_typed(tree):
    assert names(find_pictures("g/b.jpg")) == ["g/b.jpg"]
    assert names(find_pictures("g/a.PNG", True)) == ["g/a.PNG"]


def test_a_folder_is_sorted_and_not_searched_below(tree):
    assert names(find_pictures("g")) == ["g/a.PNG", "g/b.jpg", "g/c.bmp"]
    assert names(find_pictures(tree)) == [str(tree / name) for name in ("a.PNG", "b.jpg", "c.bmp")]


def test_all_levels_below_without_what_is_hidden(tree):
    assert names(find_pictures("g", in_subfolders=True)) == [
        "g/a.PNG",
        "g/anna/10.jpg",
        "g/anna/2.jpg",
        "g/anna/monday/x.jpg",
        "g/b.jpg",
        "g/c.bmp",
    ]


def test_a_hidden_folder_that_is_named_is_searched(tree):
    assert names(find_pictures("g/.trash", True)) == ["g/.trash/y.jpg"]


def test_links_are_followed_but_not_in_rings(tree, tmp_path, draw):
    draw(tmp_path / "far", "z.jpg")
    (tree / "anna" / "link").symlink_to(tmp_path / "far")
    (tree / "anna" / "ring").symlink_to(tree)
    found = names(find_pictures("g", True))
    assert "g/anna/link/z.jpg" in found and len(found) == 7


def test_pictures_further_down_are_pointed_at(tree, draw):
    draw(tree / "only", "below/0001/a.jpg")
    says = r"No pictures lie directly in g/only.* as g/only/below/0001/a\.jpg; add --images-in-sub"
    with pytest.raises(ValueError, match=says):
        find_pictures("g/only")
    assert names(find_pictures("g/only", True)) == ["g/only/below/0001/a.jpg"]


@pytest.mark.parametrize("in_subfolders", [False, True])
def test_what_cannot_be_found_is_told(tree, in_subfolders):
    (tree / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no pictures \(\.bmp, .*\) in g/empty; put some there\."):
        find_pictures("g/empty", in_subfolders)
    with pytest.raises(FileNotFoundError, match=r"no file or folder /.*/g/none; name a picture"):
        find_pictures("g/none", in_subfolders)
    with pytest.raises(ValueError, match=r"g/notes\.txt is no picture .*; convert it"):
        find_pictures("g/notes.txt", in_subfolders)
