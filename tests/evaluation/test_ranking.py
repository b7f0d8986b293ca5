import math

import numpy as np
import pytest
import torch

from reidtools.evaluation import Vectors, places, rank, rerank, verify
from reidtools.evaluation.matches import Pairs
from reidtools.ops.distances import pairwise


def vectors(values, pids, camids):
    values = torch.as_tensor(values, dtype=torch.float32)
    return Vectors(values, torch.as_tensor(pids), torch.as_tensor(camids))


def naive(query, gallery, camera_filter):
    """The protocol, one query at a time, in plain Python: gallery order and places of matches."""
    found = []
    for q in range(len(query)):
        distances = [(query.vectors[q] - g).pow(2).sum().item() for g in gallery.vectors]
        order = []
        for g in sorted(range(len(gallery)), key=lambda g: distances[g]):  # stable
            same = gallery.pids[g] == query.pids[q]
            own = same and gallery.camids[g] == query.camids[q] and camera_filter == "market"
            if gallery.pids[g] != -1 and not own:
                order.append(g)
        hits = [k + 1 for k, g in enumerate(order) if gallery.pids[g] == query.pids[q] != -1]
        found.append((order, hits))
    return found


def test_average_precision_of_a_known_ranking():
    """Matches at places 2, 3 and 6 of 6 (spec T9): (1/2 + 2/3 + 3/6) / 3."""
    query = vectors([[0.0]], [1], [0])
    gallery = vectors([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], [0, 1, 1, 0, 0, 1], [1] * 6)
    standard = rank(query, gallery, metric="euclidean")
    assert standard.mAP == pytest.approx(0.555555556)
    assert standard.mINP == pytest.approx(3 / 6)
    assert standard.cmc.tolist() == [0, 1, 1, 1, 1, 1]
    trapezoid = rank(query, gallery, metric="euclidean", ap_rule="trapezoid")
    assert trapezoid.mAP == pytest.approx(0.427777778)
    assert trapezoid.mINP == standard.mINP


def test_pictures_of_the_same_camera_count_neither_way():
    query = vectors([[0.0]], [1], [0])
    gallery = vectors([[0.1], [1.0], [2.0]], [1, 2, 1], [0, 0, 1])
    assert rank(query, gallery, metric="euclidean").mAP == pytest.approx(1 / 2)
    open_to_all = rank(query, gallery, metric="euclidean", camera_filter="none")
    assert open_to_all.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)


@pytest.mark.parametrize("camera_filter", ["market", "none"])
def test_thousands_of_queries_with_ties_and_junk_agree_with_the_naive_loop(camera_filter):
    generator = torch.Generator().manual_seed(0)

    def draw(low, high, *size):
        return torch.randint(low, high, size, generator=generator)

    checked = 0
    for case in range(1500):
        q, g = 1 + case % 6, 1 + case % 15
        query = vectors(draw(0, 3, q, 2), draw(-1, 5, q), draw(0, 3, q))
        gallery = vectors(draw(0, 3, g, 2), draw(-1, 5, g), draw(0, 3, g))
        options = {
            "metric": "euclidean",
            "camera_filter": camera_filter,
            "topk": 1 + case % 4,
            "memory_mb": case % 2,  # 0: one query at a time
        }
        expected = naive(query, gallery, camera_filter)
        valid = [hits for _, hits in expected if hits]
        if not valid:
            with pytest.raises(ValueError, match="No query has a match"):
                rank(query, gallery, **options)
            continue
        found = rank(query, gallery, **options)
        for row, (order, hits) in enumerate(expected):
            precisions = [(n + 1) / place for n, place in enumerate(hits)]
            mean = sum(precisions) / len(hits) if hits else math.nan
            assert found.ap[row].item() == pytest.approx(mean, nan_ok=True)
            nearest = found.topk[row][found.topk[row] >= 0].tolist()
            assert nearest == order[: options["topk"]]
        assert found.num_valid == len(valid)
        assert found.mINP == pytest.approx(sum(len(h) / h[-1] for h in valid) / len(valid))
        for k in range(1, g + 1):
            share = sum(hits[0] <= k for hits in valid) / len(valid)
            assert found.cmc[k - 1].item() == pytest.approx(share)
        checked += len(valid)
    assert checked > 2000


def test_places_are_counted_alike_on_every_device(monkeypatch):
    """The way of GPUs, tried on the CPU."""
    generator = torch.Generator().manual_seed(0)
    for wide in (1, 7, 60):
        distances = torch.randint(0, 9, (40, wide), generator=generator).float()
        cells = torch.rand(40, wide, generator=generator) < 0.3
        rows, columns = (x.numpy() for x in cells.nonzero(as_tuple=True))
        order = distances.argsort(dim=1, stable=True)
        expected = order.argsort(dim=1)[rows, columns].numpy()
        assert np.array_equal(places._before(distances, rows, columns), expected)
        assert np.array_equal(places._before_on_device(distances, rows, columns), expected)
        for cells in (1, 100, 10_000):  # rows taken at a time
            monkeypatch.setattr(places, "CELLS", cells)
            found = places.places(distances, Pairs(rows, columns, 40))
            assert np.array_equal(found, 1 + expected)


def test_nearest_pictures_come_with_their_distances():
    query = vectors([[0.0], [9.0]], [1, 2], [0, 0])
    gallery = vectors([[4.0], [1.0], [2.0], [8.0]], [1, 1, -1, 1], [1, 0, 1, 1])
    found = rank(query, gallery, metric="euclidean", topk=3)
    assert found.topk.tolist() == [[0, 3, -1], [3, 0, 1]]  # junk and the own camera left out
    assert found.topk_distances.tolist() == [[4, 8, math.inf], [1, 5, 8]]
    assert rank(query, gallery, metric="euclidean").topk is None


def test_one_picture_a_person_makes_an_easier_gallery():
    """Two pictures of person 2 are nearer than the match: one of them at least is always drawn."""
    query = vectors([[0.0]], [1], [0])
    gallery = vectors([[1.0], [2.0], [3.0], [4.0]], [2, 2, 1, 3], [1] * 4)
    found = rank(query, gallery, metric="euclidean", single_shot=10)
    assert found.cmc.tolist() == [0, 1, 1]  # three people, three places
    assert found.mAP == pytest.approx(1 / 3)


def test_cosine_ignores_length():
    query = vectors([[1.0, 0.0]], [1], [0])
    gallery = vectors([[0.5, 0.5], [100.0, 1.0]], [2, 1], [1, 1])
    assert rank(query, gallery).cmc[0] == 1
    assert rank(query, gallery, metric="euclidean").cmc[0] == 0


def test_queries_without_a_match_are_told_why():
    one = vectors([[0.0]], [1], [0])
    with pytest.raises(ValueError, match=r"TEST\.CAMERA_FILTER none"):
        rank(one, one, metric="euclidean")
    with pytest.raises(ValueError, match="no pid in common"):
        rank(one, vectors([[0.0]], [2], [1]), metric="euclidean")
    with pytest.raises(ValueError, match="0 for none"):
        rank(one, one, metric="euclidean", topk=-1)


def test_a_single_query_keeps_the_order_of_equal_pictures():
    """A matrix-vector product would round the columns of one and the same vector differently."""
    generator = torch.Generator().manual_seed(0)
    for dim in (64, 100, 2048):
        same = torch.randn(1, dim, generator=generator).expand(50, -1)
        query = vectors(torch.randn(1, dim, generator=generator), [1], [0])
        gallery = vectors(same, [1] * 50, [1] * 50)
        assert rank(query, gallery, topk=50).topk.tolist() == [list(range(50))]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_figures(golden_sides):
    here = golden_sides("raw")
    there = [side.to("cuda") for side in here]
    for options in ({"topk": 5}, {"single_shot": 3}, {"metric": "euclidean"}):
        cpu, gpu = rank(*here, **options), rank(*there, **options)
        assert gpu.mAP == pytest.approx(cpu.mAP) and torch.allclose(gpu.cmc, cpu.cmc)
        assert cpu.topk is None or torch.equal(gpu.topk, cpu.topk)
    assert rerank(*there).mAP == pytest.approx(rerank(*here).mAP, abs=1e-4)
    assert verify(*there).eer == pytest.approx(verify(*here).eer, abs=1e-4)


def test_wrong_names_and_empty_sides_are_refused():
    some, none = vectors([[1.0]], [1], [0]), vectors(torch.zeros(0, 1), [], [])
    with pytest.raises(ValueError, match="nothing to rank"):
        rank(some, none)
    with pytest.raises(LookupError, match="Did you mean 'cosine'"):
        rank(some, vectors([[1.0]], [1], [1]), metric="cosin")
    with pytest.raises(LookupError, match="camera filter 'off'"):
        rank(some, some, camera_filter="off")
    with pytest.raises(LookupError, match="AP rule 'trapez'"):
        rank(some, some, ap_rule="trapez")


# What public projects compute (tests/golden/README.md).

MARKET = [
    ("torchreid.market.euclidean", "raw", "euclidean"),
    ("torchreid.market.euclidean", "raw", "squared_euclidean"),
    ("torchreid.market.cosine", "raw", "cosine"),
    ("torchreid.market.euclidean_normalised", "normalised", "euclidean"),
    ("torchreid.market.ties_stable", "ties", "euclidean"),
    ("fastreid.market.euclidean", "raw", "euclidean"),
    ("fastreid.market.cosine", "raw", "cosine"),
    ("fastreid.market.ties_stable", "ties", "squared_euclidean"),
    ("clipreid.market.euclidean", "raw", "euclidean"),
    ("clipreid.market.cosine", "raw", "cosine"),
    ("clipreid.evaluator.norm_True", "normalised", "euclidean"),
    ("clipreid.evaluator.norm_False", "raw", "euclidean"),
]
JUNK = "torchreid.market.cosine_junk_left_in"
SINGLE_SHOT = ["torchreid.cuhk03.seed0", "torchreid.cuhk03.seed1", "fastreid.cuhk03.seed0"]
EXPECTATION = "torchreid.cuhk03.exact"
ANGLE = "clipreid.arccos_distance"
GOLDEN_IDS = [entry for entry, _, _ in MARKET] + [JUNK, *SINGLE_SHOT, EXPECTATION, ANGLE]


def assert_figures(found, expected, tolerance=1e-8):
    assert found.mAP == pytest.approx(expected["mAP"], abs=tolerance)
    for name, value in expected["cmc"].items():
        assert found.cmc[int(name.removeprefix("rank")) - 1].item() == pytest.approx(
            value, abs=1e-6
        )
    if "mINP" in expected:
        assert found.mINP == pytest.approx(expected["mINP"], abs=tolerance)
    if "n_valid" in expected:
        assert found.num_valid == expected["n_valid"]
    aps = expected.get("ap_valid_queries_in_order")
    if aps:
        assert np.allclose(found.ap[~found.ap.isnan()].numpy(), aps, atol=1e-8)
    if "ap" in expected:
        given = [math.nan if ap is None else ap for ap in expected["ap"]]
        assert np.allclose(found.ap.numpy(), given, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize(("entry", "kind", "metric"), MARKET)
def test_market_rule(golden, golden_sides, assert_sampled, entry, kind, metric):
    expected = golden[entry]
    query, gallery = golden_sides(kind)
    assert_figures(rank(query, gallery, metric=metric), expected["expect"])
    if "dist_samples" in expected and metric != "squared_euclidean":
        name = "squared_euclidean" if metric == "euclidean" else metric
        distances = pairwise(query.vectors, gallery.vectors, name)
        assert_sampled(distances, expected["dist_samples"], 1e-6)


def test_junk_is_left_out_by_its_pid(golden, golden_sides):
    """Galleries with pid -1 in them give the figures of those without; as pid 0 it would count."""
    query, gallery = golden_sides("with_junk")
    assert_figures(rank(query, gallery), golden["torchreid.market.cosine"]["expect"])
    counted = Vectors(gallery.vectors, gallery.pids.clamp(min=0), gallery.camids)
    assert_figures(rank(query, counted), golden[JUNK]["expect"])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_inverse_penalty_of_every_query(golden, golden_sides, metric):
    """The mINP of one query alone is its INP."""
    query, gallery = golden_sides("raw")
    valid = (~rank(query, gallery, metric=metric).ap.isnan()).nonzero()  # (58, 1)
    alone = [Vectors(query.vectors[i], query.pids[i], query.camids[i]) for i in valid]
    found = [rank(one, gallery, metric=metric).mINP for one in alone]
    expected = golden[f"fastreid.market.{metric}"]["expect"]["inp_valid_queries_in_order"]
    assert found == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("entry", SINGLE_SHOT)
def test_one_picture_a_person_as_published(golden, golden_sides, entry):
    """Ten draws differ from their ten draws by chance."""
    expected = golden[entry]["expect"]
    found = rank(*golden_sides("raw"), single_shot=10, seed=golden[entry]["params"]["seed"])
    assert found.mAP == pytest.approx(expected["mAP"], abs=1e-8)
    for name, value in expected["cmc"].items():
        assert found.cmc[int(name.removeprefix("rank")) - 1].item() == pytest.approx(
            value, abs=0.05
        )


def test_many_draws_approach_the_exact_expectation(golden, golden_sides):
    found = rank(*golden_sides("raw"), single_shot=300)
    for name, value in golden[EXPECTATION]["expect"].items():
        assert found.cmc[int(name.removeprefix("rank")) - 1].item() == pytest.approx(
            value, abs=0.01
        )
    again = rank(*golden_sides("raw"), single_shot=300, memory_mb=0)
    assert again.cmc.tolist() == found.cmc.tolist()


def test_angle(golden, golden_sides, assert_sampled):
    query, gallery = golden_sides("raw")
    angles = pairwise(query.vectors, gallery.vectors, "arccos")
    assert_sampled(angles, golden[ANGLE]["expect"]["matrix"], 1e-8)
    assert rank(query, gallery, metric="arccos").mAP == pytest.approx(
        rank(query, gallery, metric="cosine").mAP
    )
