"""Files of what was found, letter by letter, and the line of accuracy."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from reidtools.retrieval import Accuracy, Hits, accuracy, write_csv, write_results

QUERIES = ["q/843_c1s4_054211.jpg", Path("q/anna, 2.jpg")]
GALLERY = [Path("g/0843_c1s4_054211_00.jpg"), "g/anna/7.jpg", "g/x.jpg"]
HITS = Hits(np.array([[0, 2], [1, 0]]), np.array([[0.0113579, 1], [0, 0.25]], np.float32))


def test_both_files_say_the_same(tmp_path):
    files = write_results(tmp_path / "new", QUERIES, GALLERY, HITS)
    assert files == [tmp_path / "new" / "results.npy", tmp_path / "new" / "results.json"]
    assert sorted(files[0].parent.iterdir()) == sorted(files)
    arrays = np.load(files[0], allow_pickle=True).item()
    assert list(arrays) == [str(query) for query in QUERIES]
    first = arrays["q/843_c1s4_054211.jpg"]
    assert first["indices"].tolist() == [0, 2] and first["indices"].dtype == np.int64
    assert first["paths"].tolist() == ["g/0843_c1s4_054211_00.jpg", "g/x.jpg"]
    assert first["distances"].tolist() == HITS.distances[0].tolist()
    assert first["distances"].dtype == np.float32 and first["paths"].shape == (2,)
    lists = json.loads(files[1].read_text())
    assert list(lists) == list(arrays)
    for query, own in lists.items():
        assert own["indices"] == arrays[query]["indices"].tolist()
        assert own["paths"] == arrays[query]["paths"].tolist()
        assert own["distances"] == pytest.approx(arrays[query]["distances"].tolist(), abs=1e-7)
    assert len(files[1].read_text().splitlines()) == 4  # a line for each query, and the braces


def test_one_query_and_one_hit(tmp_path):
    hits = Hits(np.array([[2]]), np.array([[0.5]], np.float32))
    npy, text = write_results(tmp_path, QUERIES[:1], GALLERY, hits)
    expected = {"q/843_c1s4_054211.jpg": {"indices": [2], "paths": ["g/x.jpg"], "distances": [0.5]}}
    assert json.loads(text.read_text()) == expected
    assert np.load(npy, allow_pickle=True).item().keys() == expected.keys()


def test_the_csv_letter_by_letter(tmp_path):
    write_csv(tmp_path / "new" / "result.csv", QUERIES, GALLERY, HITS, "g")
    assert (tmp_path / "new" / "result.csv").read_bytes().decode() == (
        "query filename,predicted class,predicted path,distance\n"
        "843_c1s4_054211.jpg,843,0843_c1s4_054211_00.jpg,0.011358\n"
        '"anna, 2.jpg",anna,7.jpg,0.000000\n'
    )


def test_nobody_known_is_an_empty_class(tmp_path):
    hits = Hits(np.array([[2], [1]]), np.zeros((2, 1), np.float32))
    write_csv(tmp_path / "result.csv", QUERIES, GALLERY, hits)
    lines = (tmp_path / "result.csv").read_text().splitlines()
    assert lines[1:] == [
        "843_c1s4_054211.jpg,,x.jpg,0.000000",
        '"anna, 2.jpg",,7.jpg,0.000000',
    ]


def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path):
    hits = Hits(np.array([[0]]), np.zeros((1, 1), np.float32))
    odd = ["q/\udcff.jpg"]
    write_csv(tmp_path / "result.csv", odd, GALLERY, hits)
    assert b"\xff.jpg,843," in (tmp_path / "result.csv").read_bytes()
    npy, text = write_results(tmp_path, odd, GALLERY, hits)
    assert list(np.load(npy, allow_pickle=True).item()) == odd
    assert list(json.loads(text.read_text())) == odd


@pytest.mark.parametrize(
    ("queries", "hits"),
    [
        (QUERIES[:1], HITS),
        (QUERIES, Hits(HITS.indices, HITS.distances[:, :1])),
        (QUERIES, Hits(HITS.indices[0], HITS.distances[0])),
        (QUERIES, Hits(HITS.indices[:, :0], HITS.distances[:, :0])),
        (QUERIES, Hits(HITS.indices + 1, HITS.distances)),
        (QUERIES, Hits(HITS.indices - 1, HITS.distances)),
    ],
)
def test_hits_of_other_pictures_are_refused(tmp_path, queries, hits):
    for write in (write_results, write_csv):
        with pytest.raises(ValueError, match="do not belong to .* give the paths of the vectors"):
            write(tmp_path / "new", queries, GALLERY, hits)
    assert not list(tmp_path.iterdir())


def test_a_query_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"The query a\.jpg is given twice; name every query once"):
        write_results(tmp_path, ["a.jpg", "a.jpg"], GALLERY, HITS)


def test_accuracy_on_paper():
    found = accuracy(["843", "anna", "", "7", "-1"], ["0843", "zoe", "anna", "", "-1"])
    assert found == (1, 3) and found.ratio == pytest.approx(1 / 3)
    assert str(found) == "Accuracy: 0.3333 ( 1 / 3 )"
    assert str(Accuracy(7613, 7889)) == "Accuracy: 0.9650 ( 7613 / 7889 )"
    assert math.isnan(Accuracy(0, 0).ratio)


def test_there_is_no_accuracy_where_names_tell_nobody():
    assert accuracy(["", "-1"], ["1", "2"]) is None
    assert accuracy(["1", "2"], ["", "-1"]) is None
    assert accuracy([], []) is None
    with pytest.raises(ValueError, match="1 queries and 2 hits; give each"):
        accuracy(["1"], ["1", "2"])


def test_files_that_are_called_alike_are_told_apart(tmp_path):
    gallery = ["g/a/frame0001.jpg", "g/b/frame0001.jpg", "g/x.jpg"]
    write_csv(tmp_path / "result.csv", ["q/1.jpg", "q/2.jpg"], gallery, HITS)
    assert (tmp_path / "result.csv").read_text().splitlines()[1:] == [
        "1.jpg,,g/a/frame0001.jpg,0.011358",
        "2.jpg,,g/b/frame0001.jpg,0.000000",
    ]
    write_csv(tmp_path / "result.csv", gallery[:2], ["a.jpg", "b.jpg", "c.jpg"], HITS)
    lines = (tmp_path / "result.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == gallery[:2]
