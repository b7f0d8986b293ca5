"""Query expansion and NFC: FastReID's and Pose2ID's numbers, naive loops, small arithmetic."""

import math

import pytest
import torch
from torch.nn import functional as F

from reidtools.evaluation.expansion import (
    centralize,
    expand,
    mutual_neighbours,
    mutual_sum,
)
from reidtools.evaluation.ranking import rank
from reidtools.evaluation.vectors import Vectors

AQE = ["t1_k5_a3.0", "t1_k10_a3.0", "t2_k5_a3.0", "t1_k5_a1.0", "t1_k3_a0.0"]
NFC = [(2, 2), (1, 1), (3, 3), (5, 2), (2, 5), (10, 10)]
NO_NFC = "pose2id.nfc.none"


def of_nfc(kind, k1, k2):
    return f"pose2id.nfc.{kind}.k1_{k1}_k2_{k2}"


GOLDEN_IDS = [f"fastreid.aqe.{name}" for name in AQE] + [NO_NFC]
GOLDEN_IDS += [of_nfc(kind, k1, k2) for kind in ("raw", "normalised") for k1, k2 in NFC]


def unnamed(features, dtype=torch.float64):
    features = torch.as_tensor(features, dtype=dtype)
    ids = torch.ones(len(features), dtype=torch.long)
    return Vectors(features, ids, ids)


def draw(count, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64)


def assert_features(query, gallery, expected):
    for side, found in (("q", query.vectors), ("g", gallery.vectors)):
        assert found[0, :6].tolist() == pytest.approx(expected[f"{side}_row0"], abs=1e-8, rel=1e-8)
        assert found.sum().item() == pytest.approx(expected[f"{side}_sum"], rel=1e-8)
        assert found.norm().item() == pytest.approx(expected[f"{side}_l2"], rel=1e-8)


def assert_figures(ranking, expected):
    if "bounds_under_ties" in expected:  # equal features are tied: only bounds are known
        worst, best = (expected["bounds_under_ties"][side] for side in ("worst", "best"))
        assert worst["mAP"] - 1e-8 <= ranking.mAP <= best["mAP"] + 1e-8
        assert worst["rank1"] - 1e-8 <= ranking.cmc[0] <= best["rank1"] + 1e-8
        return
    assert ranking.mAP == pytest.approx(expected["mAP"], abs=1e-8)
    assert ranking.mINP == pytest.approx(expected["mINP"], abs=1e-8)
    for name, share in expected["cmc"].items():
        k = int(name.removeprefix("rank"))
        assert ranking.cmc[k - 1].item() == pytest.approx(share, abs=1e-6)


# Query expansion


@pytest.mark.parametrize("name", AQE)
@pytest.mark.parametrize("memory_mb", [256, 0])
def test_joint_expansion_is_fastreids(golden, golden_sides, name, memory_mb):
    entry = golden[f"fastreid.aqe.{name}"]
    options = {"times": entry["params"]["qe_times"], "k": entry["params"]["qe_k"]}
    options["alpha"] = entry["params"]["alpha"]
    expanded = expand(*golden_sides("raw"), **options, memory_mb=memory_mb)
    assert_features(*expanded, entry["expect"])
    assert_figures(rank(*expanded), entry["expect"])


def test_two_pictures_on_paper():
    """cos = 0.6, so with alpha 2 the query is (1 (1, 0) + 0.36 (3, 4)) / 2."""
    query, gallery = expand(unnamed([[1.0, 0.0]]), unnamed([[3.0, 4.0]]), k=2, alpha=2)
    assert query.vectors[0].tolist() == pytest.approx([(1 + 0.36 * 3) / 2, 0.36 * 4 / 2])
    assert gallery.vectors[0].tolist() == pytest.approx([(3 + 0.36) / 2, 2.0])


def naive(features, others, k, alpha):
    """One row at a time: its own row is among `others`, or goes first."""
    cosines = F.normalize(features) @ F.normalize(others).T
    rows = []
    for line in cosines:
        order = sorted(range(len(others)), key=lambda j: -line[j])[:k]
        terms = [line[j].item() ** alpha * others[j] for j in order]
        rows.append(sum(terms) / len(terms))
    return torch.stack(rows)


@pytest.mark.parametrize("alpha", [0, 1, 3])
@pytest.mark.parametrize("k", [1, 2, 4, 30])
def test_gallery_scope_agrees_with_the_naive_loop(k, alpha):
    q, g = draw(6), draw(11, seed=1)
    query, gallery = expand(unnamed(q), unnamed(g), k=k, alpha=alpha, scope="gallery")
    assert torch.allclose(gallery.vectors, naive(g, g, k, alpha))
    one_by_one = [naive(row[None], torch.cat([row[None], g]), k, alpha) for row in q]
    assert torch.allclose(query.vectors, torch.cat(one_by_one))


def test_with_gallery_scope_a_query_does_not_see_the_others():
    q, gallery = draw(6), unnamed(draw(11, seed=1))

    def first(rows, scope):
        return expand(unnamed(q[:rows]), gallery, times=2, scope=scope)[0].vectors[0]

    assert torch.allclose(first(1, "gallery"), first(6, "gallery"), rtol=1e-12)
    assert not torch.allclose(first(1, "joint"), first(6, "joint"))


def test_negative_cosines_have_powers_or_no_weight():
    """cos = -0.6: its cube is -0.216; its 2.5th power is no number, so it weighs nothing."""
    query, gallery = unnamed([[1.0, 0.0]]), unnamed([[-3.0, 4.0]])
    cube = expand(query, gallery, k=2, alpha=3)[0].vectors[0].tolist()
    assert cube == pytest.approx([(1 + 0.216 * 3) / 2, -0.216 * 4 / 2])
    assert expand(query, gallery, k=2, alpha=2.5)[0].vectors.tolist() == [[0.5, 0]]


def test_expansion_keeps_names_dtype_and_its_input():
    q = Vectors(draw(3).float(), [4, 5, 6], [0, 1, 2], ["a", "b", "c"])
    g = unnamed(draw(9, seed=1), torch.float32)
    before = q.vectors.clone()
    query, gallery = expand(q, g)
    assert query.vectors.dtype == gallery.vectors.dtype == torch.float32
    assert (query.pids.tolist(), query.camids.tolist()) == ([4, 5, 6], [0, 1, 2])
    assert query.paths == ["a", "b", "c"] and torch.equal(q.vectors, before)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"times": 0}, "times is 0"),
        ({"alpha": -1.0}, "alpha is -1.0; it must be at least 0"),
        ({"alpha": math.nan}, "alpha is nan"),
    ],
)
def test_options_below_their_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        expand(unnamed(draw(2)), unnamed(draw(2)), **options)


def test_other_scopes_and_empty_sides_are_refused():
    some = unnamed(draw(2))
    with pytest.raises(LookupError, match="Did you mean 'gallery'"):
        expand(some, some, scope="galery")
    with pytest.raises(ValueError, match="empty"):
        expand(unnamed(torch.zeros(0, 8)), some)


# Neighbour feature centralisation


@pytest.mark.parametrize("k1, k2", NFC)
@pytest.mark.parametrize("memory_mb", [256, 0])
@pytest.mark.parametrize("kind", ["raw", "normalised"])
def test_mutual_sums_are_pose2ids(golden, golden_sides, kind, k1, k2, memory_mb):
    entry = golden[of_nfc(kind, k1, k2)]
    summed = []
    for side in golden_sides("raw"):  # normalised on the way
        options = {"k1": k1, "k2": k2, "memory_mb": memory_mb}
        found = mutual_sum(side.vectors, normalize=kind == "normalised", **options)
        summed.append(Vectors(found, side.pids, side.camids))
    assert_features(*summed, entry["expect"])
    assert_figures(rank(*summed), entry["expect"])
    for name, before, after in zip("qg", golden_sides(kind), summed, strict=True):
        moved = ~torch.isclose(before.vectors, after.vectors, rtol=0, atol=1e-12).all(1)
        assert int(moved.sum()) == entry["expect"][f"{name}_rows_changed"]


@pytest.mark.parametrize("k1, k2", NFC)
@pytest.mark.parametrize("normalize", [True, False])
def test_centralized_features_rank_within_pose2ids_bounds(golden, golden_sides, k1, k2, normalize):
    kind = "normalised" if normalize else "raw"
    options = {"k1": k1, "k2": k2, "normalize": normalize}
    done = [centralize(side, **options) for side in golden_sides("raw")]
    assert_figures(rank(*done), golden[of_nfc(kind, k1, k2)]["expect"])
    for side in done:
        lengths = side.vectors.norm(dim=1)
        assert torch.allclose(lengths, torch.ones_like(lengths)) == normalize


def test_without_nfc(golden, golden_sides):
    assert_figures(rank(*golden_sides("raw")), golden[NO_NFC]["expect"])


@pytest.mark.parametrize(
    "normalize, sets, first",
    [
        (
            False,
            [[2, 1], [3, 0], [0], [5, 1], [], [3]],
            [2.742858, -0.135633, -0.02597, 0.425879, -0.853501],
        ),
        (
            True,
            [[2, 4], [3], [0, 4], [5, 1], [0, 2], [3]],
            [0.329066, 0.262949, 0.055797, 0.496426, -0.756982],
        ),
    ],
)
def test_six_sines(normalize, sets, first):
    """Spec T8."""
    i, j = torch.arange(6.0)[:, None], torch.arange(5.0)
    features = torch.sin(0.7 * (i + 1) * (j + 1) + 0.3).double() * (1 + 0.1 * i.double())
    columns, mutual = mutual_neighbours(F.normalize(features) if normalize else features)
    assert [c[m].tolist() for c, m in zip(columns, mutual, strict=True)] == sets
    found = centralize(unnamed(features), normalize=normalize).vectors[0]
    assert found.tolist() == pytest.approx(first, abs=1e-6)


def test_a_far_picture_is_never_its_own_neighbour():
    """Distances above 1000, the diagonal of the published code: here it is infinite."""
    found = mutual_sum(torch.tensor([[0.0], [100.0], [300.0]]), k1=1, k2=1)
    assert found.tolist() == [[100.0], [100.0], [300.0]]


def test_few_pictures_are_all_neighbours():
    features = draw(3)
    everything = features.sum(0).expand(3, -1)
    assert torch.allclose(mutual_sum(features, k1=9, k2=9), everything)
    assert mutual_sum(features[:1]).tolist() == features[:1].tolist()
    alone = centralize(unnamed([[3.0, 4.0]]))
    assert alone.vectors[0].tolist() == pytest.approx([0.6, 0.8])


def test_duplicates_are_neighbours():
    """Three equal pictures: the lower places are nearer, as ties go by column."""
    columns, mutual = mutual_neighbours(torch.ones(3, 2), k1=1, k2=1)
    assert columns.tolist() == [[1], [0], [0]] and mutual.tolist() == [[True], [True], [False]]


@pytest.mark.parametrize("options", [{"k1": 0}, {"k2": 0}])
def test_nobody_has_less_than_one_neighbour(options):
    with pytest.raises(ValueError, match="must be at least 1"):
        centralize(unnamed(draw(3)), **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(golden_sides):
    here = golden_sides("raw")
    there = [side.to("cuda") for side in here]
    for scope in ("joint", "gallery"):
        pairs = zip(expand(*here, scope=scope), expand(*there, scope=scope), strict=True)
        for cpu, gpu in pairs:
            assert gpu.vectors.is_cuda and not gpu.pids.is_cuda
            assert torch.allclose(cpu.vectors, gpu.vectors.cpu())
    cpu, gpu = centralize(here[1]), centralize(there[1])
    assert torch.allclose(cpu.vectors, gpu.vectors.cpu())
