"""The nearest by cosine: paper arithmetic, an oracle that sorts everything, ties, refusals."""

import numpy as np
import pytest
import torch

from reidtools.retrieval import Hits, search


def drawn(count, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dimensions), dtype=np.float32)


def oracle(query, gallery):
    """All distances in double precision, (Q, G)."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.float64, (query, gallery)))
    return 1 - a @ b.T


def test_distances_on_paper():
    query, gallery = np.array([[3.0, 0]]), np.array([[0, 2.0], [-1, 0], [3, 4], [9, 0]])
    hits = search(query, gallery, topk=0)
    assert hits.indices.tolist() == [[3, 2, 0, 1]]
    assert hits.distances[0] == pytest.approx([0, 0.4, 1, 2], abs=1e-6)
    assert (hits.indices.dtype, hits.distances.dtype) == (np.int64, np.float32)
    assert search(query, gallery, 1).indices.tolist() == [[3]]


@pytest.mark.parametrize("queries", [1, 19, 20, 33])  # from 20 on faiss takes another way
@pytest.mark.parametrize("topk", [1, 7, 100, 299, 300, 301, 0])
def test_agrees_with_sorting_everything(queries, topk):
    query, gallery = drawn(queries, 24), drawn(300, 24, seed=1)
    before = query.copy(), gallery.copy()
    hits, truth = search(query, gallery, topk), oracle(query, gallery)
    k = min(topk or 300, 300)
    assert hits.indices.shape == hits.distances.shape == (queries, k)
    assert hits.distances == pytest.approx(np.take_along_axis(truth, hits.indices, 1), abs=1e-6)
    assert hits.distances == pytest.approx(np.sort(truth)[:, :k], abs=1e-6)
    assert (np.diff(hits.distances) >= 0).all()
    assert all(len(set(row)) == k for row in hits.indices.tolist())
    assert (query == before[0]).all() and (gallery == before[1]).all()


@pytest.mark.parametrize("queries", [1, 30])
@pytest.mark.parametrize("topk", [1, 2, 5, 39, 100, 119, 0])
def test_equal_distances_keep_the_order_of_the_gallery(queries, topk):
    """Each of 40 vectors lies in the gallery three times, so that most k cut through equal ones."""
    once = drawn(40, 16, seed=2)
    gallery = np.tile(once, (3, 1))
    query = once[:queries] * 5
    hits, truth = search(query, gallery, topk), oracle(query, once)
    k = topk if 0 < topk < 120 else 120
    order = np.argsort(truth, axis=1)
    expected = (order[:, :, None] + np.array([0, 40, 80])).reshape(queries, -1)[:, :k]
    assert (hits.indices == expected).all()


@pytest.mark.parametrize("queries", [1, 30])
def test_a_gallery_of_one_picture_many_times_is_found_in_its_order(queries):
    gallery = np.repeat(drawn(1, 8), 2000, axis=0)
    hits = search(drawn(queries, 8, seed=1), gallery, 3)
    assert (hits.indices == [0, 1, 2]).all()


def test_the_answer_is_the_same_every_time_and_does_not_depend_on_topk():
    query, gallery = drawn(25, 32), drawn(500, 32, seed=1)
    everything = search(query, gallery, 0)
    for topk in (1, 50, 50):
        hits = search(query, gallery, topk)
        assert (hits.indices == everything.indices[:, :topk]).all()
        assert (hits.distances == everything.distances[:, :topk]).all()


def test_distances_are_never_negative():
    vectors = drawn(400, 333)
    assert search(vectors, vectors, 1).distances.min() >= 0


def test_torch_and_its_threads_are_left_alone():
    before = torch.get_num_threads()
    matrix = torch.randn(200, 200)
    product = matrix @ matrix
    search(drawn(30, 16), drawn(50, 16), 5)
    assert torch.get_num_threads() == before and torch.equal(matrix @ matrix, product)


def test_half_precision_and_slices_are_taken():
    gallery = drawn(20, 8)
    expected = search(gallery[::2], gallery, 1).indices
    assert (search(gallery[::2].astype(np.float16), gallery[:, :], 1).indices == expected).all()
    assert isinstance(search(gallery, gallery), Hits)


@pytest.mark.parametrize(
    ("query", "gallery", "topk", "says"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), 1, "3 dimensions, gallery vectors 4; embed both"),
        (np.ones((0, 3)), np.ones((2, 3)), 1, r"The query must be vectors .*\(0, 3\)\. Embed some"),
        (np.ones((2, 3)), np.ones((0, 3)), 1, "The gallery must be vectors"),
        (np.ones(3), np.ones((2, 3)), 1, "The query must be vectors"),
        (np.ones((2, 3)), np.eye(4, 3), 1, r"1 of 4 gallery vectors .* \(first: row 3\); check"),
        (np.full((1, 3), np.nan), np.ones((2, 3)), 1, "1 of 1 query vectors"),
        (np.full((1, 3), 1e300), np.ones((2, 3)), 1, "1 of 1 query vectors"),
        (np.ones((2, 3)), np.ones((2, 3)), -1, "topk -1 is a number of pictures; give 1 or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(query, gallery, topk, says):
    with pytest.raises(ValueError, match=says):
        search(query, gallery, topk)
