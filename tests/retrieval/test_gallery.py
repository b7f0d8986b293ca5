"""A gallery on disk: what goes in comes out, ties, hiding, growth, and what cannot be."""

import numpy as np
import pytest

from reidtools.evaluation import Vectors
from reidtools.retrieval import Gallery, fused, indexes, search

ABOUT = {"weights": "a.pth", "fingerprint": "a" * 64, "size": [32, 16], "flip": "off"}


def drawn(count, dim=16, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)


def people(rows, first=0, cameras=3):
    numbers = np.arange(first, first + len(rows))
    paths = [f"g/{i:04d}.jpg" for i in numbers]
    return Vectors(rows, numbers % 7 - 1, numbers % cameras, paths)


@pytest.fixture
def gallery():
    return Gallery.build(people(drawn(60)), ABOUT)


def test_saved_and_opened_it_is_the_same(tmp_path, gallery):
    odd = Vectors(drawn(2, seed=5), [1 << 40, -1], [0, -1], ["ä,\n.jpg", "\udcff.jpg"])
    gallery.add(odd, ABOUT)
    gallery.names = {1 << 40: "anna"}
    gallery.save(tmp_path / "g")
    again = Gallery.open(tmp_path / "g", verify=True)
    assert again.paths == gallery.paths and again.paths[-2:] == odd.paths
    assert (again.pids == gallery.pids).all() and (again.camids == gallery.camids).all()
    assert again.about == ABOUT and (len(again), again.dim, again.generation) == (62, 16, 1)
    assert [again.person(row) for row in (60, 61, 1)] == ["anna", "", "0"]
    assert again.path(61) == "\udcff.jpg"
    unit = drawn(60) / np.linalg.norm(drawn(60), axis=1, keepdims=True)
    assert np.allclose(again.vectors().vectors[:60], unit, atol=1e-6)
    assert str(again) == "62 pictures, 16 dimensions, flat: exact"


@pytest.mark.parametrize("topk", [1, 5, 100, 0])
def test_it_finds_what_search_finds(tmp_path, topk):
    rows = np.tile(drawn(40), (3, 1))  # ties keep the order
    Gallery.build(people(rows), ABOUT).save(tmp_path)
    for query in (drawn(3, seed=1), rows[:30]):
        hits, truth = Gallery.open(tmp_path).search(query, topk), search(query, rows, topk)
        assert (hits.indices == truth.indices).all()
        assert (hits.distances == truth.distances).all()


def test_topk_above_the_size_is_the_whole_gallery(gallery):
    assert gallery.search(drawn(2), 1000).indices.shape == (2, 60)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_galleries_tell_their_recall(tmp_path, kind):
    rows = drawn(600)
    made = Gallery.build(people(rows), ABOUT, kind=kind, recall=0.9)
    assert 0.9 <= made.recall <= 1 and f"recall@10 {made.recall:.4f}" in str(made)
    made.save(tmp_path)
    again = Gallery.open(tmp_path)
    hits = again.search(rows[::50], 5)
    assert (hits.indices[:, 0] == np.arange(0, 600, 50)).all() and hits.distances[:, 0].max() < 1e-5
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(again.vectors().vectors, unit, atol=1e-6)
    again.add(people(drawn(30, seed=3), first=600), ABOUT)
    again.remove(again.paths[:10])
    again.save()
    third = Gallery.open(tmp_path)
    assert len(third) == 620 and third.generation == 2 and third.kind == kind
    assert third.search(drawn(30, seed=3)[-1:], 1).indices.tolist() == [[619]]
    assert third.path(0) == "g/0010.jpg"


def test_options_override_what_is_found_out():
    made = Gallery.build(people(drawn(200)), ABOUT, kind="ivf", nlist=9, nprobe=2)
    assert "nlist 9, nprobe 2" in str(made)
    few = made.search(drawn(4), 0)  # two cells do not hold everything
    assert (few.indices[:, -1] == -1).all() and np.isinf(few.distances[:, -1]).all()
    made = Gallery.build(people(drawn(200)), ABOUT, kind="hnsw", m=8, ef_search=7)
    assert "hnsw, m 8, ef_construction 64, ef_search 7" in str(made)
    with pytest.raises(LookupError, match="Did you mean 'hnsw'"):
        Gallery.build(people(drawn(9)), ABOUT, kind="hsnw")


@pytest.mark.parametrize(
    ("kind", "options", "error", "says"),
    [
        ("ivf", {"nprobs": 2}, LookupError, "option of a gallery 'nprobs'. Did you mean 'nprobe'"),
        ("hnsw", {"nprobe": 2}, ValueError, "A hnsw gallery has no nprobe; leave it .* choose ivf"),
        ("flat", {"recall": 0.9}, ValueError, "flat gallery has no recall; .* choose ivf or hnsw"),
        ("ivf", {"nprobe": -1}, ValueError, "^nprobe -1 is not a whole number from 0 on; .*leave"),
        ("ivf", {"nlist": "9"}, ValueError, "^nlist '9' is not a whole number"),
        ("hnsw", {"m": 1}, ValueError, "^m 1 is not a whole number from 2 on"),
        ("hnsw", {"recall": 0}, ValueError, "^recall 0 is not a share above 0, up to 1"),
    ],
)
def test_options_that_cannot_be(kind, options, error, says):
    with pytest.raises(error, match=says):
        Gallery.build(people(drawn(9)), ABOUT, kind=kind, **options)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_a_gallery_of_one_picture(tmp_path, kind):
    Gallery.build(people(drawn(1)), ABOUT, kind=kind).save(tmp_path)
    assert Gallery.open(tmp_path).search(drawn(1), 3).indices.tolist() == [[0]]


def test_recall_on_paper():
    """An index that has lost half of its vectors finds about half of the neighbours."""
    rows = drawn(400)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    truth = indexes.truth_of(rows)

    class Half:
        ntotal = 400

        def search(self, query, k):
            found, indices = indexes.make(rows[:200], "flat")[0].search(query, k)
            return found, indices

    assert 0.35 < indexes.measure(Half(), truth) < 0.65
    assert indexes.measure(indexes.make(rows, "flat")[0], truth) == 1


def test_add_and_remove(tmp_path, gallery):
    gallery.save(tmp_path)
    opened = Gallery.open(tmp_path)
    opened.add(people(drawn(5, seed=9), first=60), ABOUT)
    assert len(opened) == 65 and len(Gallery.open(tmp_path)) == 60  # not before it is saved
    opened.save()
    again = Gallery.open(tmp_path)
    assert again.search(drawn(5, seed=9), 1).indices[:, 0].tolist() == [60, 61, 62, 63, 64]
    again.remove(["g/0001.jpg", "g/0064.jpg"])
    again.save()
    last = Gallery.open(tmp_path)
    assert last.paths == [f"g/{i:04d}.jpg" for i in range(64) if i != 1]
    assert last.search(drawn(60)[2:3], 1).indices.tolist() == [[1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("gallery.json", "lock", "paths-3.npy", "people-3.npy", "vectors-3.faiss")
    ]


def test_cameras_and_junk_are_hidden(gallery):
    query = drawn(25, seed=4)
    everything = gallery.search(query, 0).indices
    cameras = [[], [0], [1, 2], [0, 1, 2], [7]] * 5
    for topk in (1, 10, 0):
        for junk in (False, True):
            hits = gallery.search(query, topk, hide_cameras=cameras, hide_junk=junk)
            for row, own in enumerate(cameras):
                good = [
                    i
                    for i in everything[row].tolist()
                    if gallery.camids[i] not in own and not (junk and gallery.pids[i] == -1)
                ][: topk or 60]
                found = hits.indices[row].tolist()
                assert found == good + [-1] * (len(found) - len(good))
                assert np.isinf(hits.distances[row, len(good) :]).all()
    with pytest.raises(ValueError, match="25 queries and 1 collections"):
        gallery.search(query, hide_cameras=[[0]])


def test_pictures_of_one_person_are_fused():
    assert np.allclose(fused(np.array([[2.0, 0], [0, 9]])), [[0.5**0.5, 0.5**0.5]])
    with pytest.raises(ValueError, match="no direction"):
        fused(np.array([[1.0, 0], [-1, 0]]))


OTHER = {**ABOUT, "weights": "b.pth", "fingerprint": "b" * 64}


@pytest.mark.parametrize(
    ("vectors", "about", "says"),
    [
        (people(drawn(2), 60), OTHER, r"a\.pth \(aaaaaaaaaaaa\).*b\.pth \(bbbbbbbbbbbb\).*use the"),
        (people(drawn(2, 8), 60), OTHER, r"16 values.*a\.pth.*have 8.*b\.pth.*build it again"),
        (people(drawn(2), 60), {**ABOUT, "flip": "raw"}, "flip is off there and raw here"),
        (people(drawn(2), 59), ABOUT, r"1 of 2 pictures.*already, such as g/0059\.jpg; leave"),
        (Vectors(drawn(2), [1, 1], [0, 0], ["a", "a"]), ABOUT, "a is given twice; name"),
        (Vectors(drawn(2), [1, 1], [0, 0]), ABOUT, "needs a path"),
        (Vectors(np.zeros((1, 16)), [1], [0], ["a"]), ABOUT, "no direction"),
    ],
)
def test_what_cannot_be_added(gallery, vectors, about, says):
    with pytest.raises(ValueError, match=says):
        gallery.add(vectors, about)
    assert len(gallery) == 60


def test_of_configs_only_what_both_sides_tell_is_compared(gallery):
    nodes = {"backbone": {"NAME": "a", "POOL": {"P": 3.0}}, "head": {"NAME": "b"}}
    gallery.about |= nodes
    newer = {"NAME": "a", "POOL": {"P": 3.0, "EPS": 1}, "NEW": True}  # a later default
    gallery.check_model(16, {**ABOUT, "backbone": newer, "head": nodes["head"]})
    newer["POOL"]["P"] = False
    says = r"backbone POOL P is 3\.0 there and False here; use the"
    with pytest.raises(ValueError, match=says):
        gallery.check_model(16, {**ABOUT, "backbone": newer})


def test_what_cannot_be_built_removed_or_searched(gallery):
    with pytest.raises(ValueError, match="at least one"):
        Gallery.build(Vectors(drawn(0), [], [], []), ABOUT)
    with pytest.raises(ValueError, match=r"1 of 2 pictures are not in the gallery, such as x"):
        gallery.remove(["g/0001.jpg", "x"])
    with pytest.raises(ValueError, match="Nothing would be left"):
        gallery.remove(gallery.paths)
    with pytest.raises(ValueError, match="vectors of 16 values.*have 8"):
        gallery.search(drawn(1, 8))
    with pytest.raises(ValueError, match="topk -1"):
        gallery.search(drawn(1), -1)
    with pytest.raises(ValueError, match="no folder yet"):
        gallery.save()


def test_a_gpu_is_used_where_faiss_has_one(gallery, monkeypatch):
    """What faiss does there is not tested here; that it is asked, and for no more than it can."""
    import faiss

    asked = []

    class OnGpu:
        def __init__(self, index, ngpu):
            self.index = index

        def search(self, query, k):
            asked.append(k)
            return self.index.search(query, k)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", OnGpu, raising=False)
    monkeypatch.setattr(indexes, "GPU_MOST", 20)
    truth = search(drawn(3), drawn(60), 30)
    assert (gallery.search(drawn(3), 19).indices == truth.indices[:, :19]).all() and asked == [20]
    assert (gallery.search(drawn(3), 30).indices == truth.indices).all() and asked == [20]


def test_a_gpu_without_room_leaves_the_search_to_the_cpu(gallery, monkeypatch, caplog):
    import faiss

    def full(index, ngpu):
        raise RuntimeError("Error in allocMemory\ncudaMalloc error out of memory")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", full, raising=False)
    truth = search(drawn(3), drawn(60), 9)
    assert (gallery.search(drawn(3), 9).indices == truth.indices).all()
    assert "GPU does not take 60 vectors" in caplog.text and "out of memory" in caplog.text
