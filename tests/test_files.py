"""Files are whole or absent, folders are there or their error has a cure."""

import pytest

from reidtools.files import make_folder, write_json, write_whole


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, durable):
    def interrupted(file):
        file.write(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "a.jpg"
    write_whole(path, lambda file: file.write(b"old"), durable=durable)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted, durable=durable)
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("a.jpg", b"old")]


def test_a_full_disk_is_an_error_with_its_cure(tmp_path):
    def full(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"a\.jpg cannot be written \(No space left.*make room"):
        write_whole(tmp_path / "a.jpg", full)
    assert not list(tmp_path.iterdir())


def test_json_has_null_for_what_is_no_number(tmp_path):
    write_json(tmp_path / "a.json", {"a": {"b": float("nan")}, "c": float("inf"), "d": 1.5})
    text = (tmp_path / "a.json").read_text()
    assert text.split() == '{ "a": { "b": null }, "c": null, "d": 1.5 }'.split()


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/folder cannot be made .*choose another place"):
        make_folder(tmp_path / "file" / "folder", "place")
    assert make_folder(tmp_path / "a/b").is_dir() and make_folder(tmp_path / "a/b").is_dir()
