import math

import pytest
import torch

from reidtools.evaluation import Vectors, rank


def vectors(values, pids, camids):
    values = torch.as_tensor(values, dtype=torch.float32)
    return Vectors(values, torch.as_tensor(pids), torch.as_tensor(camids))


def naive(query, gallery, camera_filter):
    """The protocol, one query at a time, in plain Python."""
    aps, inps, firsts = [], [], []
    for q in range(len(query)):
        distances = [(query.vectors[q] - g).pow(2).sum().item() for g in gallery.vectors]
        order = sorted(range(len(gallery)), key=lambda g: distances[g])  # stable
        hits = []
        for g in order:
            same = gallery.pids[g] == query.pids[q]
            if camera_filter == "market" and same and gallery.camids[g] == query.camids[q]:
                continue
            hits.append(bool(same))
        places = [k + 1 for k, hit in enumerate(hits) if hit]
        if not places:
            aps.append(math.nan)
            continue
        aps.append(sum((n + 1) / place for n, place in enumerate(places)) / len(places))
        inps.append(len(places) / places[-1])
        firsts.append(places[0])
    return aps, inps, firsts


def test_average_precision_of_a_known_ranking():
    """Matches at places 2, 3 and 6 of 6 (spec T9): (1/2 + 2/3 + 3/6) / 3."""
    query = vectors([[0.0]], [1], [0])
    gallery = vectors([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], [0, 1, 1, 0, 0, 1], [1] * 6)
    ranking = rank(query, gallery, metric="euclidean")
    assert ranking.mAP == pytest.approx(0.555555556)
    assert ranking.mINP == pytest.approx(3 / 6)
    assert ranking.cmc.tolist() == [0, 1, 1, 1, 1, 1]


def test_pictures_of_the_same_camera_count_neither_way():
    query = vectors([[0.0]], [1], [0])
    gallery = vectors([[0.1], [1.0], [2.0]], [1, 2, 1], [0, 0, 1])
    assert rank(query, gallery, metric="euclidean").mAP == pytest.approx(1 / 2)
    open_to_all = rank(query, gallery, metric="euclidean", camera_filter="none")
    assert open_to_all.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)


@pytest.mark.parametrize("camera_filter", ["market", "none"])
def test_random_cases_with_ties_agree_with_the_naive_loop(camera_filter):
    generator = torch.Generator().manual_seed(0)

    def draw(high, *size):
        return torch.randint(0, high, size, generator=generator)

    checked = 0
    for case in range(100):
        q, g = 1 + case % 6, 1 + case % 15
        query = vectors(draw(3, q, 2), 1 + draw(4, q), draw(3, q))
        gallery = vectors(draw(3, g, 2), draw(5, g), draw(3, g))  # pid 0: a distractor
        aps, inps, firsts = naive(query, gallery, camera_filter)
        if not firsts:
            with pytest.raises(ValueError, match=r"TEST\.CAMERA_FILTER none"):
                rank(query, gallery, metric="euclidean", camera_filter=camera_filter)
            continue
        memory_mb = 512 if case % 2 else 0  # 0: one query at a time
        ranking = rank(
            query, gallery, metric="euclidean", camera_filter=camera_filter, memory_mb=memory_mb
        )
        assert torch.allclose(ranking.ap, torch.tensor(aps, dtype=torch.double), equal_nan=True)
        assert ranking.num_valid == len(firsts)
        assert ranking.mINP == pytest.approx(sum(inps) / len(inps))
        for k in range(1, g + 1):
            share = sum(first <= k for first in firsts) / len(firsts)
            assert ranking.cmc[k - 1].item() == pytest.approx(share)
        checked += 1
    assert checked > 60


def test_cosine_ignores_length():
    query = vectors([[1.0, 0.0]], [1], [0])
    gallery = vectors([[0.5, 0.5], [100.0, 1.0]], [2, 1], [1, 1])
    assert rank(query, gallery).cmc[0] == 1
    assert rank(query, gallery, metric="euclidean").cmc[0] == 0


def test_wrong_names_and_empty_sides_are_refused():
    some, none = vectors([[1.0]], [1], [0]), vectors(torch.zeros(0, 1), [], [])
    with pytest.raises(ValueError, match="nothing to rank"):
        rank(some, none)
    with pytest.raises(LookupError, match="Did you mean 'cosine'"):
        rank(some, vectors([[1.0]], [1], [1]), metric="cosin")
    with pytest.raises(LookupError, match="camera filter 'off'"):
        rank(some, some, camera_filter="off")
