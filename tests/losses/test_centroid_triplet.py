"""Centroid triplets on a line, against naive loops, and as centroids-reid computes them."""

import pytest
import torch
from golden_losses import INPUTS, arrays, assert_gradients, assert_value, each_of, matching

from reidtools.losses.center import center_loss
from reidtools.losses.centroid_triplet import CentroidTripletLoss, centroid_triplet, turns
from reidtools.losses.cross_entropy import cross_entropy
from reidtools.losses.triplet import TripletLoss, hardest, margin_loss
from reidtools.ops.distances import pairwise

LINE = torch.tensor([[0.0, 0], [1, 0], [3, 0], [4, 0]])  # two people, two pictures each
PIDS = torch.tensor([0, 0, 1, 1])
# Two rounds of queries and centroids: 0 3 and 1 4, then 1 4 and 0 3. Counterparts are 1 away,
# strangers 3, 2, 2, 3 away.


def on_a_line(*places):
    return torch.tensor([[float(place), 0] for place in places])


def test_queries_and_centroids_are_anchors():
    loss = CentroidTripletLoss(margin=3.0)(LINE, PIDS)
    assert loss.item() == pytest.approx((1 + 2 + 2 + 1) / 4)


def test_paper_compares_queries_with_centroids_only():
    # Squares to the stranger's centroid: from 0 to 4 and from 3 to 1, then from 1 to 3 and 4 to 0.
    loss = CentroidTripletLoss(margin=8.0, variant="paper")(LINE, PIDS)
    assert loss.item() == pytest.approx((0 + 5 + 5 + 0) / 4)  # 1 - 16 + 8 < 0, 1 - 4 + 8 = 5


def test_paper_with_the_distance_of_the_code():
    loss = CentroidTripletLoss(margin=3.0, variant="paper", distance="euclidean")(LINE, PIDS)
    assert loss.item() == pytest.approx((0 + 2 + 2 + 0) / 4)  # 1 - 4 + 3, 1 - 2 + 3


def test_a_query_is_in_no_centroid_of_its_round_not_even_as_a_stranger():
    features, rounds = on_a_line(0, 1, 90, 4), torch.tensor([0, 1, 0, 2])  # only round 0 has two
    loss = centroid_triplet(
        features, PIDS, rounds, margin=5.0, variant="paper", distance="euclidean"
    )
    # The stranger's centroid is 4 without its query 90, with which it would be 47.
    assert loss.item() == pytest.approx((2 + 2) / 2)  # 1 - 4 + 5, 86 - 89 + 5


def test_people_need_not_have_equally_many_pictures():
    features, pids = on_a_line(0, 2, 10, 12, 14, 500), torch.tensor([0, 0, 1, 1, 1, 2])
    # Round 0: queries 0 10, centroids 2 13. Round 1: queries 2 12, centroids 0 12. In round 2 there
    # is one person only; the last person has no other picture and never takes part.
    first, second = (2 + 5 + 4 + 2) / 4, (2 + 0 + 0 + 0) / 4
    loss = CentroidTripletLoss(margin=10.0)(features, pids)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_turns_count_the_pictures_of_everybody():
    assert turns(torch.tensor([7, 3, 7, 7, 3])).tolist() == [0, 0, 1, 2, 1]


def naive(features, pids, rounds, margin, distance, variant):
    """Round for round and anchor for anchor, as one would explain it."""
    everyone, means = range(len(pids)), []

    def apart(a, b):
        return pairwise(a[None], b[None], distance).item()

    for turn in sorted(set(rounds.tolist())):
        queries, centroids = {}, {}
        for i in everyone:
            rest = [features[j] for j in everyone if pids[j] == pids[i] and rounds[j] != turn]
            if rounds[i] == turn and rest:
                queries[pids[i].item()] = features[i]
                centroids[pids[i].item()] = torch.stack(rest).mean(0)
        if len(queries) < 2:
            continue
        losses = []
        for pid in queries:
            pairs = [(queries[pid], centroids[pid])]
            if variant == "code":
                pairs.append((centroids[pid], queries[pid]))
            for anchor, positive in pairs:
                negatives = [c for other, c in centroids.items() if other != pid]
                if variant == "code":
                    negatives += [q for other, q in queries.items() if other != pid]
                nearest = min(apart(anchor, negative) for negative in negatives)
                losses.append(max(0.0, apart(anchor, positive) - nearest + margin))
        means.append(sum(losses) / len(losses))
    return sum(means) / len(means)


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("counts", [[4, 4, 4], [1, 2, 5, 3], [2, 2, 2, 2, 6]])
def test_agrees_with_a_naive_loop(counts, distance, variant):
    generator = torch.Generator().manual_seed(5)
    pids = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    pids = pids[torch.randperm(len(pids), generator=generator)]
    features = torch.randn(len(pids), 6, generator=generator, dtype=torch.float64)
    loss = CentroidTripletLoss(margin=0.7, distance=distance, variant=variant)(features, pids)
    expected = naive(features, pids, turns(pids), 0.7, distance, variant)
    assert expected > 0
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_rounds_are_up_to_the_caller():
    generator = torch.Generator().manual_seed(6)
    features = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    pids, rounds = torch.arange(8) % 2, torch.tensor([0, 0, 1, 2, 2, 3, 3, 1])
    loss = centroid_triplet(features, pids, rounds, margin=0.7)
    assert loss.item() == pytest.approx(naive(features, pids, rounds, 0.7, "euclidean", "code"))


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("pids", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 1, 1]])
def test_without_two_people_in_a_round_there_is_no_loss_and_no_gradient(pids, variant):
    features = LINE.clone().requires_grad_()
    loss = CentroidTripletLoss(margin=0.0, variant=variant)(features, torch.tensor(pids))
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("fill", [0.0, 0.3])
def test_identical_features_have_a_finite_gradient(fill, distance, variant):
    features = torch.full((6, 5), fill, requires_grad=True)
    loss = CentroidTripletLoss(distance=distance, variant=variant)
    value = loss(features, torch.tensor([0, 0, 0, 1, 1, 2]))
    value.backward()
    assert value.item() == pytest.approx(0.5, abs=1e-3)
    assert torch.isfinite(features.grad).all()


def test_its_gradient_is_that_of_its_value():
    generator = torch.Generator().manual_seed(8)
    features = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    pids = torch.tensor([0, 1, 0, 1, 2, 1, 2])
    for variant in ("code", "paper"):
        loss = CentroidTripletLoss(margin=2.0, variant=variant)
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, pids), features)


def test_mistakes_are_refused_when_the_loss_is_made():
    with pytest.raises(ValueError, match="choose a positive one, or 0"):
        CentroidTripletLoss(margin=-0.3)
    with pytest.raises(LookupError, match="Did you mean 'euclidean'"):
        CentroidTripletLoss(distance="euclidian")
    with pytest.raises(LookupError, match="Did you mean 'paper'"):
        CentroidTripletLoss(variant="papers")


# Golden numbers (tests/golden/README.md): persons in blocks of 4 slots. Slots that are not real are
# "mock" pictures, zeros that fill up people with few pictures; here such pictures are just absent.

CASES = matching(r"ctl\.(centroid_triplet|total|triplet_masked)")
each_entry = each_of(CASES)


def terms(features, pids, params):
    """The published terms by name; all but the query triplet leave mock rows out."""
    real, margin = torch.tensor(params["real"]), params["margin"]
    slots = torch.arange(len(pids)) % 4
    logits = features @ torch.tensor(INPUTS["W"], dtype=features.dtype).T
    centers = torch.tensor(INPUTS["Cen"], dtype=features.dtype)
    # As published, zeros are no anchors here, but they remain positives and negatives. They are all
    # equally far; published code gives the gradient to one of them, `hardest` to each its share.
    same = pids[real][:, None] == pids[None]
    distances = pairwise(features[real], features)
    farthest = distances.masked_fill(~same, float("-inf")).max(1)
    nearest = distances.masked_fill(same, float("inf")).min(1)
    ap, an, usable = hardest(distances, same, ~same)
    assert torch.equal(ap, farthest.values) and torch.equal(an, nearest.values)
    return {
        "query_xent": cross_entropy(
            logits[real], pids[real], epsilon=0.1, variant="uniform", alpha=0.2
        ),
        "query_triplet": margin_loss(farthest.values, nearest.values, usable, margin),
        "query_center": 5e-4 * center_loss(features[real], centers, pids[real]),
        "centroid_triplet": centroid_triplet(
            features[real],
            pids[real],
            slots[real],
            margin=margin,
            distance=params.get("distance", "euclidean"),
        ),
    }


def golden(entry, dtype):
    """The value of an entry, the input it was computed from, and its terms."""
    (features,), pids = arrays(entry, dtype)
    found = terms(features, pids, entry["params"])
    if "total" in entry["id"]:
        return sum(found.values()), features, found
    term = "query_triplet" if "masked" in entry["id"] else "centroid_triplet"
    return found[term], features, {}


def test_no_entry_is_forgotten():
    assert len(CASES) == 11


@each_entry
def test_value_and_gradient(entry):
    value, features, found = golden(entry, torch.float64)
    assert_value(entry, value)
    for term, part in found.items():
        assert part.item() == pytest.approx(entry["expect"][term], rel=1e-8)
    value.backward()
    assert_gradients(entry, [features.grad])


@each_entry
def test_value_in_single_precision(entry):
    value, _, _ = golden(entry, torch.float32)
    assert_value(entry, value)


def test_the_total_is_a_sum_of_the_losses_of_this_package():
    (entry,) = [entry for entry in CASES if entry["id"] == "ctl.total_all_real"]
    features, pids = torch.tensor(INPUTS["X"]), torch.tensor(INPUTS["y"])
    for loss, term in ((TripletLoss, "query_triplet"), (CentroidTripletLoss, "centroid_triplet")):
        found = loss(margin=0.5)(features, pids).item()
        assert found == pytest.approx(entry["expect"][term], rel=1e-8)


def toy(rows, phase):
    """The toy features of the engineering specification: sin(0.7 (i+1)(j+1) + k)(1 + 0.1 i)."""
    i, j = torch.arange(rows, dtype=torch.float64)[:, None], torch.arange(5)[None]
    return torch.sin(0.7 * (i + 1) * (j + 1) + phase) * (1 + 0.1 * i)


TOY, TOY_PIDS = toy(12, 0.3), torch.arange(3).repeat_interleave(4)
PRESENT = torch.tensor([i not in (3, 6, 7) for i in range(12)])
TOYS = {
    "T4": (torch.ones(12).bool(), 1.372273696, (1.007661569, 1.32837849, 1.670959076, 1.48209565)),
    "T4b": (PRESENT, 1.620334103, (1.300827304, 1.605236528, 1.954938478)),
}


@pytest.mark.parametrize("name", TOYS)
def test_toy_features(name):
    present, mean, rounds = TOYS[name]
    features, pids = TOY[present], TOY_PIDS[present]
    loss = CentroidTripletLoss(margin=0.5)(features, pids)
    assert loss.item() == pytest.approx(mean, abs=1e-9)
    for b, value in enumerate(rounds):
        # Everybody else asks in a round of their own, which does not count.
        alone = torch.where(turns(pids) == b, 0, 1 + torch.arange(len(pids)))
        loss = centroid_triplet(features, pids, alone, margin=0.5)
        assert loss.item() == pytest.approx(value, abs=1e-9)
