"""CUHK-PEDES's captions as two files by picture name, and the tool that makes them."""

import json

import pytest

import reidtools as rt
from reidtools.data.captions import read_captions

ENTRIES = [
    {"file_path": "Market/0002_c1s1_000451_00.jpg", "captions": ["red coat", "hat"], "id": 7},
    {"file_path": "Market/0007_c1s2_000100_00.jpg", "captions": ["bag"], "id": 8},
    {"file_path": "CUHK01/0363004.png", "captions": ["blue", "short hair"], "id": 9},
]
FILES = ("captions_parsed.json", "imgs_id.json")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "CUHK-PEDES"
    folder.mkdir()
    (folder / "caption_all.json").write_text(json.dumps(ENTRIES))
    return folder / "caption_all.json"


def written(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "caption_all.json")


def test_both_files_lie_beside_the_input(source, type_tool):
    code, out, err = type_tool("prepare_captions.py", "--input", source)
    assert (code, err) == (0, "")
    assert out == (
        f"{source.parent}: 5 captions of 3 pictures in captions_parsed.json, their 3 people in "
        "imgs_id.json\n"
    )
    assert written(source.parent) == list(FILES)
    captions, numbers = (json.loads((source.parent / name).read_text()) for name in FILES)
    assert captions == {
        "0002_c1s1_000451_00.jpg": ["red coat", "hat"],
        "0007_c1s2_000100_00.jpg": ["bag"],
        "0363004.png": ["blue", "short hair"],
    }
    assert list(numbers.items()) == list(zip(captions, (7, 8, 9), strict=True))
    assert read_captions(source.parent / FILES[0]) == read_captions(source)


def test_what_is_there_is_replaced_only_if_asked_to(source, tmp_path, type_tool):
    words = ("--input", source, "--output", tmp_path / "new" / "folder")
    assert type_tool("prepare_captions.py", *words)[0] == 0
    source.write_text(json.dumps(ENTRIES[:1]))
    code, out, err = type_tool("prepare_captions.py", *words)
    assert (code, out) == (1, "") and err.startswith("error: ") and "with --replace" in err
    made = tmp_path / "new" / "folder"
    assert written(made) == list(FILES) and len(read_captions(made / FILES[0])) == 3
    assert type_tool("prepare_captions.py", *words, "--replace")[0] == 0
    assert len(read_captions(made / FILES[0])) == 1


def test_the_coverage_of_market_1501_is_told(source, market, type_tool):
    # Two people to train on have three pictures: one of each finds captions by its moment.
    expected = (
        "2 of 3 pictures (66.7 %) and 2 of 2 people (100.0 %) have captions; "
        "2 captions, of 1 pictures, belong to no picture here."
    )
    home = market / "market1501"
    for images in (market, home, home / "bounding_box_train"):
        words = ("--input", source, "--images", images, "--replace")
        code, out, _ = type_tool("prepare_captions.py", *words)
        count = expected
        if images.name == "bounding_box_train":  # a plain folder: all its pictures, also of nobody
            count = expected.replace("2 of 3 pictures (66.7 %)", "2 of 4 pictures (50.0 %)")
        assert code == 0 and out.splitlines()[1] == count


def test_a_folder_whose_names_tell_nobody_has_pictures_only(source, tmp_path, draw):
    draw(tmp_path / "imgs", "CUHK01/0363004.png", "CUHK01/0363005.png")
    made = rt.prepare_captions(source, images=tmp_path / "imgs")
    assert made.coverage == (
        "1 of 2 pictures (50.0 %) have captions; 3 captions, of 2 pictures, belong to no picture "
        "here."
    )


def test_a_name_of_two_people_is_told(source, caplog):
    other = {"file_path": "CUHK02/0363004.png", "captions": ["blue", "bald"], "id": 10}
    source.write_text(json.dumps([*ENTRIES, other]))
    made = rt.prepare_captions(source)
    assert (made.captions, made.pictures, made.people) == (6, 3, 3)
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "1 names of pictures come more than once with other captions, which are joined: "
        "0363004.png.",
        "1 names of pictures stand for two people or more, the first of whom counts: 0363004.png. "
        "Rename these pictures if you train on them.",
    ]
    assert read_captions(made.folder / FILES[0])["0363004.png"] == ["blue", "short hair", "bald"]
    assert json.loads((made.folder / FILES[1]).read_text())["0363004.png"] == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"file_path"', "is not JSON"),
        ("{}", "is no list of entries"),
        (json.dumps([*ENTRIES, {"file_path": "a.jpg"}]), "Entry 4 of"),
        (json.dumps([{**ENTRIES[0], "captions": []}]), "no list of captions with words in each"),
        (None, "no file of captions at"),
    ],
)
def test_a_bad_file_is_a_sentence_and_nothing_is_written(source, text, message, type_tool):
    source.unlink() if text is None else source.write_text(text)
    code, out, err = type_tool("prepare_captions.py", "--input", source, "--output", source.parent)
    assert (code, out) == (1, "") and err.startswith("error: ") and message in err
    assert written(source.parent) == []


def test_nothing_is_written_where_there_are_no_such_pictures(source, tmp_path, type_tool):
    words = ("--input", source, "--output", tmp_path / "new", "--images", tmp_path / "none")
    code, _, err = type_tool("prepare_captions.py", *words)
    assert code == 1 and "There is no file or folder" in err and not (tmp_path / "new").exists()
