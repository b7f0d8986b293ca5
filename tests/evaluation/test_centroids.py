"""The centroid gallery of centroids-reid, with the right cameras."""

import math

import pytest
import torch

from reidtools.evaluation.centroids import centroid_gallery, rank_centroids
from reidtools.evaluation.ranking import rank
from reidtools.evaluation.vectors import Vectors

CORRECT = "ctl.centroids.respect_camids.CORRECT_ours"
PUBLISHED = "ctl.centroids.respect_camids.PUBLISHED_BUG"
ORDINARY = "ctl.market.euclidean_normalised"
GALLERIES = [
    (CORRECT, {}),
    ("ctl.centroids.no_camids", {"keep_camids": False}),
    ("ctl.centroids.CORRECT_ours_with_distractors", {"distractors": True}),
]
GOLDEN_IDS = [name for name, _ in GALLERIES] + [PUBLISHED, ORDINARY]


def vectors(values, pids, camids):
    return Vectors(torch.tensor(values, dtype=torch.float64), pids, camids)


def assert_golden(ranking, centroids, expected):
    assert ranking.mAP == pytest.approx(expected["mAP"], abs=1e-8)
    for k, share in zip((1, 5, 10, 20, 50), expected["topk_1_5_10_20_50"], strict=True):
        assert ranking.cmc[min(k, len(ranking.cmc)) - 1].item() == pytest.approx(share, abs=1e-8)
    assert len(centroids) == len(ranking.cmc) == expected["n_gallery"]
    assert ranking.num_valid == expected["n_valid"]
    found = [[row, ap] for row, ap in enumerate(ranking.ap.tolist()) if not math.isnan(ap)]
    assert [row for row, _ in found] == [row for row, _ in expected["ap"]]
    assert [ap for _, ap in found] == pytest.approx([ap for _, ap in expected["ap"]], abs=1e-8)
    for row, first in enumerate(expected.get("first_centroids", ())):
        assert centroids.pids[row] == first["pid"]
        assert centroids.vectors[row, :4].tolist() == pytest.approx(first["first4"], abs=1e-8)
        cameras = centroids.camids[centroids.cameras[row]].tolist()
        assert cameras == first.get("cams", [])


@pytest.mark.parametrize("name, options", GALLERIES)
@pytest.mark.parametrize("memory_mb", [256, 0])
def test_centroids_are_ctls(golden, golden_sides, name, options, memory_mb):
    sides = golden_sides("raw")
    ranking = rank_centroids(*sides, **options, memory_mb=memory_mb)
    assert_golden(ranking, centroid_gallery(*sides, **options), golden[name]["expect"])


def test_the_published_figures_come_from_the_cameras_of_other_pictures(golden, golden_sides):
    """centroids-reid looks up gallery picture i at place i of query and gallery together.

    Fed with these wrong cameras we repeat its figure, which is higher than the right one.
    """
    query, gallery = golden_sides("raw")
    wrong = torch.cat([query.camids, gallery.camids])[: len(gallery)]
    gallery = Vectors(gallery.vectors, gallery.pids, wrong)
    ranking, centroids = rank_centroids(query, gallery), centroid_gallery(query, gallery)
    published = golden[PUBLISHED]["expect"]
    assert_golden(ranking, centroids, published)
    assert ranking.mAP > golden[CORRECT]["expect"]["mAP"] + 0.01


def test_the_ordinary_gallery_is_ctls(golden, golden_sides):
    expected = golden[ORDINARY]["expect"]
    ranking = rank(*golden_sides("normalised"), metric="squared_euclidean")
    assert ranking.mAP == pytest.approx(expected["mAP"], abs=1e-8)
    for k, share in zip((1, 5, 10, 20, 50), expected["topk_1_5_10_20_50"], strict=True):
        assert ranking.cmc[k - 1].item() == pytest.approx(share, abs=1e-8)


@pytest.mark.parametrize("metric", ["squared_euclidean", "euclidean"])
def test_junk_changes_nothing(golden, golden_sides, metric):
    """Normalised centroids would be needed for equal figures; here only junk comes and goes."""
    found = [
        rank_centroids(*golden_sides(kind), metric=metric, distractors=True)
        for kind in ("raw", "with_junk")
    ]
    assert found[0].mAP == found[1].mAP and torch.equal(found[0].cmc, found[1].cmc)


def test_a_person_on_paper():
    """Person 1 is asked for in cameras 0 and 5, and seen in 0, 0, 1; camera 5 never saw it.

    Query camera 0: the mean without camera 0 is (4, 4). Query camera 5: all three, mean (2, 2).
    Person 2 is nobody's query, so it has no centroid.
    """
    query = vectors([[1.0, 0], [0, 1.0], [0, 1.0]], [1, 1, 1], [0, 5, 0])
    gallery = vectors(
        [[0.0, 2], [2, 0], [4, 4], [9, 9], [1, 1], [7, 7]], [1, 1, 1, 2, 0, -1], [0, 0, 1, 1, 1, 1]
    )
    found = centroid_gallery(query, gallery)
    assert found.vectors.tolist() == [[4, 4], [2, 2]] and found.pids.tolist() == [1, 1]
    assert found.camids.tolist() == [0, 1, 5]
    assert found.cameras.tolist() == [[False, True, False], [True, True, False]]
    with_distractors = centroid_gallery(query, gallery, distractors=True)
    assert with_distractors.vectors.tolist() == [[1, 1], [4, 4], [2, 2]]
    assert with_distractors.cameras[0].tolist() == [False, True, False]
    whole = centroid_gallery(query, gallery, keep_camids=False)
    assert whole.vectors.tolist() == [[1, 1], [2, 2], [9, 9]] and not whole.cameras.any()


def test_cameras_that_never_saw_a_person_share_a_centroid():
    query = vectors([[1.0]] * 3, [1, 1, 1], [3, 4, 0])
    gallery = vectors([[2.0], [4.0]], [1, 1], [0, 1])
    assert centroid_gallery(query, gallery).vectors.tolist() == [[4], [3]]


def test_a_centroid_that_saw_the_querys_camera_counts_neither_way():
    """The query's nearest centroid saw camera 0 and is skipped; a stranger is nearest then."""
    query = vectors([[0.0], [9.0], [9.0]], [1, 1, 2], [0, 1, 0])
    gallery = vectors([[0.0], [3.0], [2.0], [2.0]], [1, 1, 2, 2], [0, 1, 1, 2])
    ranking = rank_centroids(query, gallery, metric="euclidean")
    # Person 1: without camera 0 -> 3, without camera 1 -> 0; person 2: without camera 0 -> 2.
    assert ranking.ap[0] == pytest.approx(1 / 2)


def test_pictures_of_the_querys_camera_never_help_it(golden_sides):
    """Whatever person 5 looks like in camera 2: its queries there are ranked as before."""
    query, gallery = golden_sides("raw")
    asked = (query.pids == 5) & (query.camids == 2)
    shown = (gallery.pids == 5) & (gallery.camids == 2)
    assert asked.any() and shown.any()
    changed = torch.where(shown[:, None], -gallery.vectors, gallery.vectors)
    before = rank_centroids(query, gallery).ap
    after = rank_centroids(query, Vectors(changed, gallery.pids, gallery.camids)).ap
    assert torch.equal(before[asked], after[asked])


def test_a_gallery_of_one_camera_says_what_to_do():
    query, gallery = vectors([[1.0]], [1], [0]), vectors([[1.0], [2.0]], [1, 2], [0, 0])
    with pytest.raises(
        ValueError, match=r"no centroid to rank.*TEST\.CENTROIDS\.KEEP_CAMIDS False"
    ):
        rank_centroids(query, gallery)
    assert rank_centroids(query, gallery, keep_camids=False).mAP == 1
    stranger = vectors([[1.0], [2.0]], [0, 2], [0, 0])
    with pytest.raises(ValueError, match="No query has a match in the gallery: they have no pid"):
        rank_centroids(query, stranger, distractors=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(golden_sides):
    here = golden_sides("raw")
    found = rank_centroids(*[side.to("cuda") for side in here], distractors=True)
    assert found.mAP == pytest.approx(rank_centroids(*here, distractors=True).mAP)
