"""For every query picture the best gallery label: from folders, from a CSV file, from arrays."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_api import folder, settings  # noqa: F401  (its folder is used here as well)

import reidtools as rt
from reidtools import build
from reidtools.retrieval.labelled import labelled_pictures

GALLERY, QUERY = "datasets/toy/bounding_box_test", "datasets/toy/query"
HEADER = ["query", "label", "similarity", "picture"]


@pytest.fixture
def checkpoint(folder):  # noqa: F811
    """A checkpoint of an embedder as it was built, and the toy people."""
    cfg = settings()
    rt.check(cfg)
    torch.manual_seed(0)
    torch.save({"model": build.embedder(cfg).state_dict(), "config": cfg.dump()}, "small.pth")
    return "small.pth"


def given(checkpoint, *more):
    return rt.get_config("", ["MODEL.WEIGHTS", checkpoint, *more])


def table(path="output_dir/predictions.csv"):
    head, *rows = csv.reader(Path(path).read_text().splitlines())
    assert head == HEADER
    return rows


def naive(model, queries, gallery):
    """For each query the gallery pictures from the most to the least similar, one by one."""
    ranked = []
    for query in rt.embed(model, queries).vectors.double():
        cosines = [
            (float(query @ other / query.norm() / other.norm()), str(path))
            for path, other in zip(gallery, rt.embed(model, gallery).vectors.double(), strict=True)
        ]
        ranked.append(sorted(cosines, reverse=True))
    return ranked


def test_a_folder_whose_names_are_labels(checkpoint):
    found = rt.predict(given(checkpoint), QUERY, GALLERY)
    rows = table()
    queries = sorted(map(str, Path(QUERY).glob("*.jpg")))
    people = sorted(path for path in Path(GALLERY).glob("*.jpg") if path.name[:2] != "-1")
    ranked = naive(rt.load(checkpoint, "cpu"), queries, people)
    assert [row[0] for row in rows] == queries
    for (_, label, similarity, picture), (best, *_) in zip(rows, ranked, strict=True):
        assert float(similarity) == pytest.approx(best[0], abs=1e-5) and picture == best[1]
        assert label == Path(picture).name.split("_")[0]
    assert found.file == Path("output_dir/predictions.csv")
    assert [list(row[:2]) for row in found.rows] == [row[:2] for row in rows]
    query, label, similarity, picture = rows[0]
    assert str(found).splitlines()[0] == f"{query}: {label} ({float(similarity):.4f}, {picture})"

    rt.predict(given(checkpoint), queries[0], GALLERY, topk=3, output="new/three.csv")
    three = table("new/three.csv")
    assert [row[3] for row in three] == [path for _, path in ranked[0][:3]]
    assert len(rt.predict(given(checkpoint), queries[0], GALLERY, topk=0).rows) == len(people)


def test_it_answers_as_infer_does(checkpoint):
    found = rt.predict(given(checkpoint), QUERY, f"{QUERY}")  # each is its own best answer
    assert all(row.query == row.picture and row.similarity > 0.9999 for row in found.rows)
    told = rt.infer(given(checkpoint, "DATASETS.ROOT", QUERY), QUERY)
    assert [str(int(row.label)) for row in found.rows] == [person for person, _ in told.people]


def test_folders_and_csv_files_say_labels(checkpoint, folder, capsys):  # noqa: F811
    pictures = sorted(Path(GALLERY).glob("0*.jpg"))[:3]
    names = ["anna", "bo", "Chloé, the 3rd"]
    for path, name in zip(pictures, names, strict=True):
        (folder / "shelf" / name).mkdir(parents=True)
        shutil.copy(path, folder / "shelf" / name / "front.jpg")
    found = rt.predict(given(checkpoint), pictures[1], "shelf", in_subfolders=True)
    assert [(row.label, row.picture) for row in found.rows] == [("bo", "shelf/bo/front.jpg")]

    absolute = folder / "shelf/Chloé, the 3rd/front.jpg"
    lines = [
        *("\ufeffLabel, Image", "someone,anna/front.jpg", "", "-1,bo/front.jpg"),
        *(f'"Zoë, ""Z""","{absolute}"', "nobody,gone.jpg"),
    ]
    (folder / "shelf/list.csv").write_text("\n".join(lines), encoding="utf-8")
    capsys.readouterr()
    labels = [
        rt.predict(given(checkpoint), path, "shelf/list.csv").rows[0].label for path in pictures
    ]
    assert labels == ["someone", "-1", 'Zoë, "Z"']
    assert table()[0][1:] == ['Zoë, "Z"', "1.000000", str(absolute)]
    told = capsys.readouterr().err
    assert "1 of 4 files are no pictures" in told and "shelf/gone.jpg" in told
    with pytest.raises(OSError, match=r"shelf/gone\.jpg"):
        rt.predict(given(checkpoint), pictures[0], "shelf/list.csv", strict=True)


def test_arrays_in_python(checkpoint):
    model = rt.load(checkpoint, "cpu")
    paths = sorted(Path(GALLERY).glob("0*.jpg"))[:4]
    arrays = [np.array(Image.open(path)) for path in paths]
    labels = ["a", "b", "c", "d"]
    assert rt.predict_labels(model, arrays[::-1], paths, labels) == labels[::-1]
    assert rt.predict_labels(model, np.stack(arrays[2:]), arrays, labels) == ["c", "d"]
    assert rt.predict_labels(model, paths[1], arrays, labels) == ["b"]
    queries = sorted(map(str, Path(QUERY).glob("*.jpg")))
    best = [ranked[0][1] for ranked in naive(model, queries, paths)]
    assert rt.predict_labels(model, QUERY, paths, [*map(str, paths)]) == best
    with pytest.raises(ValueError, match="4 gallery pictures have 3 labels"):
        rt.predict_labels(model, arrays, paths, labels[:3])
    with pytest.raises(ValueError, match="no pictures in the queries"):
        rt.predict_labels(model, [], paths, labels)
    with pytest.raises(OSError, match="gone"):
        rt.predict_labels(model, ["gone.jpg"], paths, labels)


def test_pictures_without_a_label_are_told_and_left_out(folder, caplog):  # noqa: F811
    (folder / "few/bo").mkdir(parents=True)
    for name in ("0007_c1_1.jpg", "-1_c2_1.jpg", "holiday.jpg", "bo/1.png"):
        Image.new("RGB", (8, 16)).save(folder / "few" / name)
    with caplog.at_level("WARNING", "reidtools"):
        assert labelled_pictures("few") == {"few/0007_c1_1.jpg": "0007"}
    assert "2 of 3 gallery pictures have no label, such as few/-1_c2_1.jpg" in caplog.text
    both = labelled_pictures("few", in_subfolders=True)
    assert both == {"few/0007_c1_1.jpg": "0007", "few/bo/1.png": "bo"}
    assert labelled_pictures("few/0007_c1_1.jpg") == {"few/0007_c1_1.jpg": "0007"}
    (folder / "few/0007_c1_1.jpg").unlink()
    with pytest.raises(ValueError, match="None of 2 pictures in few has a label.*CSV"):
        labelled_pictures("few")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no columns picture .* but nothing; .*below that header"),
        ("a.jpg,anna\nb.jpg,bo\n", "no columns picture .* but a.jpg, anna"),
        ("picture;label\na.jpg;anna\n", "commas between"),
        ("picture,label\n", "has no pictures"),
        (
            "picture,label\na.jpg,anna\nb.jpg\nc.jpg, \n",
            "2 lines .*line 3 .*label, line 4 has no l",
        ),
        ("path,label\n,anna\n", "line 2 has no picture"),
        ("image,label\na.jpg,anna\na.jpg,anna\na.jpg,bo\n", "line 4 calls a.jpg bo, one above an"),
    ],
)
def test_csv_files_that_lack_something(folder, text, says):  # noqa: F811
    (folder / "g.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        labelled_pictures("g.csv")


def test_what_cannot_be_done_says_why_and_keeps_old_predictions(checkpoint, folder):  # noqa: F811
    rt.predict(given(checkpoint), QUERY, GALLERY)
    before = table()
    (folder / "empty").mkdir()
    cfg = given(checkpoint)
    for query, gallery in (("empty", GALLERY), (QUERY, "empty")):
        with pytest.raises(ValueError, match="no pictures.*in empty"):
            rt.predict(cfg, query, gallery)
    for query, gallery in (("gone", GALLERY), (QUERY, "gone"), (QUERY, "gone.csv")):
        with pytest.raises(FileNotFoundError, match="gone.*name a"):
            rt.predict(cfg, query, gallery)
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS"):
        rt.predict(settings(), QUERY, GALLERY)
    with pytest.raises(ValueError, match="empty is a folder; name a file"):
        rt.predict(cfg, QUERY, GALLERY, output="empty")
    with pytest.raises(OSError, match=r"cannot be made .*choose another --output"):
        rt.predict(cfg, QUERY, GALLERY, output="small.pth/p.csv")
    with pytest.raises(ValueError, match="topk -1"):
        rt.predict(cfg, QUERY, GALLERY, topk=-1)
    for path in Path(QUERY).glob("*.jpg"):
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"(?s)no pictures.*another folder"):
        rt.predict(cfg, QUERY, GALLERY, output="new/p.csv")
    assert table() == before and not (folder / "new").exists()


def test_the_tool(checkpoint, type_tool):
    words = ("MODEL.WEIGHTS", checkpoint, "--query", QUERY, "--gallery", GALLERY)
    code, out, err = type_tool("predict.py", *words, "--output", "p.csv", "--topk", 2)
    assert code == 0, err
    rows = table("p.csv")
    assert len(rows) == 2 * len(list(Path(QUERY).glob("*.jpg")))
    lines = out.splitlines()[-len(rows) :]  # below what it tells of weights and files
    for line, (query, label, similarity, picture) in zip(lines, rows, strict=True):
        assert re.fullmatch(rf"{query}: {label} \({float(similarity):.4f}, {picture}\)", line)
    code, _, err = type_tool("predict.py", *words[:4], "--gallery", "gone.csv")
    assert code == 1 and "gone.csv" in err
