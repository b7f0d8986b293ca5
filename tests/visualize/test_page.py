"""A page of a test: whole in one file, escaped, with the queries that one wants to see."""

import base64
import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from reidtools.evaluation import Report, Vectors, rank, verify
from reidtools.visualize.examples import choose_queries, example
from reidtools.visualize.history import History
from reidtools.visualize.page import write_page
from reidtools.visualize.ranked_lists import ranked_list

pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")

# Angles of the vectors: of queries and gallery; cameras 0 and 1 throughout.
QUERIES = {"q0": (0, 0), "q1": (40, 1), "q2": (80, 2), "q3": (120, 3), "q4": (121, 3), "q5": (5, 9)}
GALLERY = {"g0": (1, 0), "g1": (45, 2), "g2": (86, 1), "g3": (125, 0), "g4": (140, 3), "g5": (2, 0)}


def side(people, camera, folder):
    angles = torch.tensor([angle for angle, _ in people.values()]).double().deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    paths = []
    for number, name in enumerate(people):
        path = folder / f"{name} <b>&.png"
        Image.new("RGB", (20, 40), (20 * number, 100, 90)).save(path)
        paths.append(str(path))
    pids = [pid for _, pid in people.values()]
    return Vectors(vectors.float(), pids, [camera] * len(pids), paths)


@pytest.fixture
def tested(tmp_path):
    """(query, gallery, ranking) of six queries; the last has no match."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    query, gallery = side(QUERIES, 0, folder), side(GALLERY, 1, folder)
    return query, gallery, rank(query, gallery, topk=4)


@pytest.fixture
def report(tested):
    made = Report()
    made.add("toy <1>", tested[2])
    made.add_row(
        "toy <1>", {"EER": 12.345, "TAR@FAR=1e-4": float("nan"), "pairs": 12345}, "One & 1"
    )
    made.add_verification("toy <1>", verify(*tested[:2]))
    made.resolutions["<low>"] = "LR(x4) - HR"
    made.ranked["toy <1>"] = tested
    return made


class Reader(HTMLParser):
    """Tags that are open, the text, and the images of a page; a wrong end is an error."""

    EMPTY = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.images, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def test_the_best_the_worst_and_the_failures(tested):
    query, gallery, ranked = tested
    chosen = choose_queries(*tested, 3)
    best, worst, failures = chosen.values()
    # q0 has a match first, q3 and q4 (one person) second and third, q1 and q2 find each other's;
    # q5 has no match at all.
    assert best[0] == 0 and ranked.ap[worst[0]] == ranked.ap[:5].min()
    assert 5 not in {*best, *worst, *failures}
    for rows in (best, worst, failures):
        pids = query.pids[rows].tolist()
        assert len(set(pids)) == len(pids) <= 3
    first = gallery.pids[ranked.topk[failures, 0]]
    assert (first != query.pids[failures]).all()
    near = ranked.topk_distances[failures, 0].tolist()
    assert near == sorted(near) and failures[0] == 4 and len(failures) == 3


def test_no_more_than_asked_for(tested):
    assert [len(rows) for rows in choose_queries(*tested, 1).values()] == [1, 1, 1]


def test_an_example_is_a_ranked_list_with_captions(tested):
    query, gallery, ranked = tested
    made = example(*tested, 0, topk=5, similar=True)
    columns = ranked.topk[0].tolist()
    scores = (1 - ranked.topk_distances[0]).tolist()
    expected = ranked_list(
        query.paths[0],
        [gallery.paths[i] for i in columns],
        [gallery.pids[i] == 0 for i in columns],
        topk=5,
        captions=["c1", *(f"c2  {score:.3f}" for score in scores)],
    )
    assert (made.picture == expected).all()
    assert made.caption.startswith(f"{query.paths[0]}: AP ") and made.caption.endswith("of 4 right")
    other = example(*tested, 0, topk=5, similar=False)
    assert (other.picture != made.picture).any()


def test_one_file_that_needs_nothing_else(report, tmp_path):
    path, picture = tmp_path / "new" / "page.html", tmp_path / "x<y>.png"
    Image.new("RGB", (8, 4), (1, 2, 3)).save(picture)
    write_page(
        path,
        report,
        title="<script>alert(1)</script>",
        facts={"weights": "a<b>.pth"},
        settings={"TEST.<X>": ["&"]},
        history=History({"total": ((1, 2), (3.0, 2.0))}, {"toy mAP": ((2,), (50.0,))}),
        pictures={"Maps <here>": [picture]},
        queries=2,
    )
    text, page = path.read_text(encoding="utf-8"), read(path)
    words = " ".join(page.texts)
    for said in (
        *("<script>alert(1)</script>", "a<b>.pth", "TEST.<X>", "['&']", "toy <1>", "One & 1"),
        *("Figures of <low> are of query and gallery at LR(x4) - HR.", "12.35", "12,345"),
        *("Maps <here>", "x<y>", "q0 <b>&"),
        *("Best queries", "Worst queries", "Failures", "mAP", "Verification", "All keys"),
    ):
        assert said in words, said
    assert "<script" not in text and "http" not in text and "<b>" not in text
    assert "prefers-color-scheme: dark" in text
    assert not {name for name, _ in page.attributes} & {"href", "onload", "onclick", "style"}
    alts = [image["alt"] for image in page.images]
    assert alts[:5] == [
        *("CMC curves", "ROC curves", "Scores over epochs", "Losses over epochs"),
        "Histogram of the average precision",
    ]
    assert len(alts) == 5 + 3 * 2 + 1 and alts[-1] == "x<y>"
    for image in page.images:
        kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", image["src"]).groups()
        start = {"png": b"\x89PNG", "jpeg": b"\xff\xd8"}[kind]
        assert base64.b64decode(data).startswith(start)
    assert base64.b64decode(page.images[-1]["src"].split(",")[1]) == picture.read_bytes()
    columns = re.search(r"<tr><td>toy &lt;1&gt;</td>(.*?)</tr>", text)[1]
    assert f"<td>{report.figures['toy <1>']['mAP']:.2f}</td>" in columns and "<td>5</td>" in columns
    assert "<td>-</td>" in text  # what is not known


def test_little_to_say(tmp_path):
    report = Report()
    report.figures["toy"] = {"mAP": 1.0}
    write_page(tmp_path / "page.html", report)
    page = read(tmp_path / "page.html")
    assert not page.images and "Curves" not in page.texts and "Settings" not in page.texts


def test_a_perfect_model_has_no_failures(tested, tmp_path):
    query = tested[0]
    gallery = Vectors(query.vectors, query.pids, query.camids + 1, query.paths)
    report = Report()
    ranked = rank(query, gallery, topk=10)
    report.add("toy", ranked)
    report.ranked["toy"] = query, gallery, ranked
    write_page(tmp_path / "page.html", report)
    assert "None." in read(tmp_path / "page.html").texts


def test_vectors_without_paths_have_no_lists(tested, tmp_path):
    query, gallery, ranked = tested
    bare = [Vectors(s.vectors, s.pids, s.camids) for s in (query, gallery)]
    report = Report()
    report.add("toy", ranked)
    report.ranked["toy"] = *bare, ranked
    write_page(tmp_path / "page.html", report)
    assert "no pictures to show" in " ".join(read(tmp_path / "page.html").texts)


def test_a_page_that_fails_leaves_the_old_one(report, tested, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    (tmp_path / "pictures" / "g0 <b>&.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="restore or remove it"):
        write_page(path, report)
    assert path.read_text() == "old"


def test_a_name_that_is_no_text(tested, tmp_path):
    """As Python gives the bytes of a file name that are no UTF-8."""
    report = Report()
    report.add("a\udcff", tested[2])
    write_page(tmp_path / "page.html", report)
    assert "a?" in read(tmp_path / "page.html").texts
