"""Captions of pictures: read in both forms, and looked up by file name."""

import json

import pytest

from reidtools.data.captions import Entry, captions_of, coverage, join, read_captions, read_entries
from reidtools.data.samples import Sample

RED, BLUE, HAT = "A man in a red coat.", "A woman in blue.", "Somebody with a hat."
CUHK = [
    {"file_path": "Market/0002_c1s1_000451_00.jpg", "captions": [RED, HAT], "id": 11},
    {"file_path": "CUHK03\\0363004.png", "captions": [BLUE], "id": 12, "split": "train"},
]
PARSED = {"0002_c1s1_000451_00.jpg": [RED, HAT], "0363004.png": [BLUE]}


@pytest.fixture
def stored(tmp_path):
    """Writes something as JSON, or text as it is; the path."""

    def store(content, name="captions.json"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return store


def sample(name, pid=2):
    return Sample((f"/data/{name}", "/data/never_looked_at.jpg"), pid, 0)


def test_both_forms_are_the_same_captions(stored):
    assert read_captions(stored(CUHK)) == read_captions(stored(PARSED)) == PARSED
    assert read_captions(stored("\ufeff" + json.dumps(PARSED))) == PARSED  # as Windows writes it


def test_entries_keep_who_is_seen(stored):
    assert [(e.name, e.number) for e in read_entries(stored(CUHK))] == [
        ("0002_c1s1_000451_00.jpg", 11),
        ("0363004.png", 12),
    ]


def test_a_name_that_comes_twice_has_the_captions_of_both(caplog):
    same = [Entry("a.jpg", [RED, RED]), Entry("a.jpg", [RED])]
    assert join(same) == {"a.jpg": [RED]} and not caplog.messages
    assert join([*same, Entry("a.jpg", [BLUE, RED])]) == {"a.jpg": [RED, BLUE]}
    assert caplog.messages == [
        "1 names of pictures come more than once with other captions, which are joined: a.jpg."
    ]
    assert same[1].captions == [RED]  # nothing of the entries has changed


def test_the_look_up_is_by_name_then_by_the_first_box_of_the_moment():
    captions = {**PARSED, "0002_c1s1_000451_02.jpg": [BLUE]}
    names = {
        "0002_c1s1_000451_00.jpg": [RED, HAT],
        "0002_c1s1_000451_02.jpg": [BLUE],  # its own come first
        "0002_c1s1_000451_03.jpg": [RED, HAT],
        "0002_c1s1_000452_03.jpg": [],  # another moment
        "0002_c1s1_000451_3.jpg": [],  # cutting 7 characters would not leave the moment
        "0002_c1s1_000451_03.jpeg": [],
        "0363004.png": [BLUE],
        "x.png": [],
    }
    found = captions_of([sample(name) for name in names], captions)
    assert found == list(names.values())
    found[0].append("")  # a list of the caller's own
    assert captions["0002_c1s1_000451_00.jpg"] == [RED, HAT]
    assert captions_of([], captions) == []


def test_coverage_counts_pictures_people_and_what_is_left_over():
    samples = [
        sample("0002_c1s1_000451_03.jpg", 2),
        sample("0002_c1s1_000451_01.jpg", 2),
        sample("0002_c2s1_000001_01.jpg", 2),
        *(sample(f"0007_c1s1_00000{k}_01.jpg", 7) for k in range(5)),
    ]
    captions = {**PARSED, "0007_c9s9_000000_00.jpg": [RED, HAT]}
    assert coverage(samples, captions) == (
        "2 of 8 pictures (25.0 %) and 1 of 2 people (50.0 %) have captions; "
        "3 captions, of 2 pictures, belong to no picture here."
    )
    unknown = [one._replace(pid=-1) for one in samples]
    assert coverage(unknown, PARSED) == (
        "2 of 8 pictures (25.0 %) have captions; 1 captions, of 1 pictures, belong to no picture "
        "here."
    )
    assert coverage([], {}).startswith("0 of 0 pictures (0.0 %) have captions; 0 captions, of 0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"file_path": ', r"captions\.json is not JSON .* copy it again\."),
        ("{}", "is no file of captions; give captions_parsed.json"),
        ('"text"', "is no file of captions"),
        ({"a.jpg": RED}, "The entry 'a.jpg' of .*no list of captions .*; write what is seen"),
        ({"a.jpg": 11}, "The entry 'a.jpg' of .*but 11;"),  # imgs_id.json is another file
        ({"a.jpg": []}, r"but \[\]; write"),
        ({"a.jpg": [RED], "b.jpg": [RED, "  "]}, "The entry 'b.jpg'"),
        ({"folder/": [RED]}, "has no name of a picture, but 'folder/'"),
        ([*CUHK, [RED]], "Entry 3 of .* is no mapping; an entry is"),
        ([CUHK[0], {"captions": [RED]}], "Entry 2 of .* lacks file_path and id; an entry is"),
        ([{**CUHK[0], "id": "eleven"}], "Entry 1 of .* has the id 'eleven'; write a whole number"),
        ([{**CUHK[0], "id": True}], "has the id True"),
        ([{**CUHK[0], "file_path": 5}], "Entry 1 of .* no name of a picture, but 5"),
        ([{**CUHK[0], "captions": [RED, None]}], "Entry 1 of .* no list of captions"),
    ],
)
def test_another_shape_is_refused_with_its_place(stored, content, message):
    with pytest.raises(ValueError, match=message):
        read_captions(stored(content))


def test_entries_are_those_of_cuhk_pedes_only(stored, tmp_path):
    with pytest.raises(ValueError, match="is no list of entries .* give caption_all.json"):
        read_entries(stored(PARSED))
    with pytest.raises(ValueError, match="is an empty list"):
        read_entries(stored([]))
    with pytest.raises(FileNotFoundError, match="no file of captions at .*/none.json; check"):
        read_captions(tmp_path / "none.json")
