import numpy as np
import pytest
import torch

from reidtools.evaluation import Vectors, rank, rerank
from reidtools.evaluation.reranking import reciprocal
from reidtools.ops.distances import pairwise


def dense(query, gallery, k1, k2, lambda_):
    """The formulas at the head of reranking.py with N x N matrices, in float64."""
    everyone = torch.cat([query, gallery]).double()
    distances = pairwise(everyone, everyone, "squared_euclidean").numpy()
    distances /= distances.max(axis=1, keepdims=True)
    order = distances.argsort(axis=1, kind="stable")
    count = len(distances)

    def reciprocal_set(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    weights = np.zeros((count, count))
    for i in range(count):
        members = reciprocal_set(i, k1)
        for j in reciprocal_set(i, k1):
            candidates = reciprocal_set(j, round(k1 / 2))
            if len(candidates & reciprocal_set(i, k1)) > 2 / 3 * len(candidates):
                members |= candidates
        members = sorted(members)
        near = np.exp(-distances[i, members])
        weights[i, members] = near / near.sum()
    weights = np.stack([weights[order[i, :k2]].mean(0) for i in range(count)])
    split = len(query)
    shared = np.minimum(weights[:split, None], weights[None, split:]).sum(2)
    return (1 - lambda_) * (1 - shared / (2 - shared)) + lambda_ * distances[:split, split:]


def joined(query, gallery, metric="euclidean", memory_mb=64, **options):
    given = {"k1": 20, "k2": 6, "lambda_": 0.3, "variant": "original"} | options
    return torch.cat(
        [part.clone() for _, part in reciprocal(query, gallery, metric, memory_mb, **given)]
    )


def people(generator, count, spread=0.7):
    """Vectors around eight centres: neighbourhoods that overlap."""
    centres = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(count, 6, generator=generator)
    pids = torch.randint(0, 8, (count,), generator=generator)
    return centres[pids] + spread * noise, pids


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_"), [(20, 6, 0.3), (7, 1, 0.0), (4, 9, 0.9), (1, 2, 0.5), (50, 15, 0.3)]
)
def test_sparse_distances_are_those_of_the_dense_formulas(k1, k2, lambda_):
    generator = torch.Generator().manual_seed(k1)
    for count in (3, 30, 90):
        query, gallery = (people(generator, n)[0] for n in (2 + count // 5, count))
        options = {"k1": k1, "k2": k2, "lambda_": lambda_}
        expected = torch.from_numpy(dense(query, gallery, **options))
        for memory_mb in (0, 64):  # one row at a time, all at once
            found = joined(query, gallery, memory_mb=memory_mb, **options)
            assert (found - expected).abs().max() < 1e-5


def test_cosine_is_the_distance_of_unit_vectors():
    query, gallery = (people(torch.Generator().manual_seed(n), n)[0] for n in (9, 40))
    unit = [torch.nn.functional.normalize(x) for x in (query, gallery)]
    for variant in ("original", "torchreid"):
        cosine = joined(query, gallery, "cosine", variant=variant)
        assert torch.allclose(cosine, joined(*unit, "euclidean", variant=variant), atol=1e-5)


def test_people_who_are_all_alike_survive():
    """More equal pictures than neighbours: everyone stays among the own neighbours."""
    same = torch.ones(60, 4)
    assert joined(same[:5], same[5:], k1=3, k2=2).isfinite().all()
    for variant in ("original", "fastreid", "torchreid"):
        far = 1000 * torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        assert joined(far[:5], far[5:], k1=3, k2=2, variant=variant).isfinite().all()


def test_a_reranked_gallery_is_a_ranking():
    generator = torch.Generator().manual_seed(3)
    sides = []
    for count in (20, 200):
        values, pids = people(generator, count, spread=1.2)
        sides.append(Vectors(values, pids, torch.randint(0, 4, (count,), generator=generator)))
    plain = rank(*sides, metric="euclidean")
    better = rerank(*sides, metric="euclidean", topk=5)
    assert better.mAP > plain.mAP and better.topk.shape == (20, 5)
    everything_counts = rerank(*sides, metric="euclidean", lambda_=1.0)
    assert everything_counts.mAP == pytest.approx(plain.mAP)
    with pytest.raises(ValueError, match="k1 0"):
        rerank(*sides, k1=0)
    with pytest.raises(LookupError, match="Did you mean 'fastreid'"):
        rerank(*sides, variant="fastried")
    with pytest.raises(TypeError, match="metrik"):
        rerank(*sides, metrik="cosine")


def reranking_entries():
    """Ids of the golden entries, with the options that mean the same here."""
    for variant in ("raw", "normalised"):
        for k1, k2 in ((20, 6), (50, 15), (20, 1)):
            yield f"torchreid.rerank.{variant}.k1_{k1}_k2_{k2}_l0.3", "euclidean", "original"
    yield "torchreid.rerank.engine_squared_euclidean", "euclidean", "torchreid"
    yield "torchreid.rerank.engine_cosine", "cosine", "torchreid"
    yield "fastreid.rerank.normalised.k1_20_k2_6_l0.3", "euclidean", "original"
    for k1, k2 in ((20, 6), (50, 15)):
        yield f"fastreid.jaccard.normalised.k1_{k1}_k2_{k2}", "cosine", "fastreid"
        yield f"fastreid.jaccard.raw_scaled_0.2.k1_{k1}_k2_{k2}", "euclidean", "fastreid"
        for kind in ("normalised", "raw"):
            for precision in ("float16_as_published", "float32_patched"):
                name = f"clipreid.rerank.{kind}.k1_{k1}_k2_{k2}.{precision}"
                yield name, "euclidean", "original"


RERANKED = list(reranking_entries())
GOLDEN_IDS = [entry for entry, _, _ in RERANKED]


@pytest.mark.parametrize(("entry", "metric", "variant"), RERANKED)
def test_published_figures(golden, golden_sides, assert_sampled, entry, metric, variant):
    """CLIP-ReID computes in half precision as published; its tolerance says how far that is off."""
    given = golden[entry]
    options = {k: given["params"].get(k, v) for k, v in {"k1": 20, "k2": 6, "lambda_": 0.3}.items()}
    query, gallery = golden_sides(given["params"].get("features", "normalised"))
    found = rerank(query, gallery, metric=metric, variant=variant, **options)
    expected, tolerance = given["expect"], given["tol"]
    assert found.mAP == pytest.approx(expected["mAP"], abs=tolerance["mAP_abs"])
    if "mINP" in expected:
        assert found.mINP == pytest.approx(expected["mINP"], abs=tolerance["mAP_abs"])
    if "cmc_abs" in tolerance:
        for name, value in expected["cmc"].items():
            assert found.cmc[int(name.removeprefix("rank")) - 1].item() == pytest.approx(
                value, abs=tolerance["cmc_abs"]
            )
    matrix = joined(query.vectors, gallery.vectors, metric, variant=variant, **options)
    assert_sampled(matrix, expected.get("matrix", expected.get("final")), tolerance["matrix_abs"])
    if "jaccard" in expected:
        jaccard = joined(
            query.vectors, gallery.vectors, metric, variant=variant, **options | {"lambda_": 0.0}
        )
        assert_sampled(jaccard, expected["jaccard"], tolerance["matrix_abs"])
        alone = rerank(query, gallery, metric=metric, variant=variant, **options | {"lambda_": 0.0})
        bounds = expected["jaccard_only_bounds_under_ties"]  # many pairs have nothing in common
        worst, best = bounds["worst"]["mAP"], bounds["best"]["mAP"]
        assert worst - tolerance["mAP_abs"] <= alone.mAP <= best + tolerance["mAP_abs"]
