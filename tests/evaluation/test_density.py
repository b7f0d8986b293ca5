"""ID2 density and the inter/intra ratio."""

import math

import pytest
import torch

from reidtools.evaluation.density import density, person_means, squared_deviations
from reidtools.evaluation.vectors import Vectors

DENSITY = "pose2id.id2_density"
GOLDEN_IDS = [DENSITY]


def vectors(values, pids):
    return Vectors(torch.tensor(values, dtype=torch.float64), pids, [0] * len(pids))


def test_two_people_on_paper():
    """Directions (1,0), (0,1): mean (.5,.5), squared distances .5. Person 2 lies on (-1,0).

    The distractor and junk take no part; lengths do not matter.
    """
    found = density(vectors([[2, 0], [0, 3], [-5, 0], [7, 7], [1, 9]], [1, 1, 2, 0, -1]))
    assert (found.people, found.pictures) == (2, 3)
    assert found.id2 == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found.intra == pytest.approx(2 * math.sqrt(0.5) / 3)
    assert found.inter == pytest.approx(math.sqrt(1.5**2 + 0.5**2))
    assert found.ratio == pytest.approx(found.inter / found.intra)
    assert found.figures() == {
        "ID2 density": found.id2,
        "intra-class distance": found.intra,
        "inter-class distance": found.inter,
        "inter/intra": found.ratio,
    }


@pytest.mark.parametrize("memory_mb", [256, 0])
def test_the_gallery_is_as_dense_as_pose2id_says(golden, golden_sides, memory_mb):
    expected = golden[DENSITY]["expect"]
    _, gallery = golden_sides("raw")
    found = density(gallery, memory_mb=memory_mb)
    assert found.id2 == pytest.approx(expected["mean"], abs=1e-8)
    assert found.pictures == expected["n"]
    rows = (gallery.pids > 0).nonzero().flatten()
    labels = gallery.pids[rows].unique(return_inverse=True)[1]
    means = person_means(gallery.vectors, rows, labels)
    squares = squared_deviations(gallery.vectors, rows, labels, means)
    assert squares[:8].tolist() == pytest.approx(expected["first8"], abs=1e-8)


@pytest.mark.parametrize("memory_mb", [256, 0])
def test_distances_agree_with_the_naive_loop(golden_sides, memory_mb):
    _, gallery = golden_sides("normalised")
    people = sorted({pid for pid in gallery.pids.tolist() if pid > 0})
    means = {pid: gallery.vectors[gallery.pids == pid].mean(0) for pid in people}
    intra = [
        (row - means[pid]).norm().item()
        for row, pid in zip(gallery.vectors, gallery.pids.tolist(), strict=True)
        if pid > 0
    ]
    inter = [(means[a] - means[b]).norm().item() for a in people for b in people if a < b]
    found = density(gallery, memory_mb=memory_mb)
    assert found.intra == pytest.approx(sum(intra) / len(intra))
    assert found.inter == pytest.approx(sum(inter) / len(inter))


def test_people_of_one_picture_each_are_infinitely_dense():
    found = density(vectors([[1, 0], [0, 1]], [1, 2]))
    assert found.id2 == found.intra == 0 and found.ratio == math.inf


@pytest.mark.parametrize("pids, number", [([0, -1, 0], 0), ([3, 3, 0], 1)])
def test_fewer_than_two_people_are_refused(pids, number):
    with pytest.raises(ValueError, match=f"have {number} with a pid above 0; give it"):
        density(vectors([[1, 0], [0, 1], [1, 1]], pids))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(golden_sides):
    _, gallery = golden_sides("raw")
    here, there = density(gallery).figures(), density(gallery.to("cuda")).figures()
    assert there == pytest.approx(here)
