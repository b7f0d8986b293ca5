import json
import math

import pytest
import torch

from reidtools.evaluation import Vectors, verification
from reidtools.evaluation.verification import BLOCK, Verification, read_calibration, verify
from reidtools.ops.distances import DISTANCES, pairwise

OURS, FASTREIDS = "fastreid.roc.cosine_verification_OURS", "fastreid.roc.cosine"
GOLDEN_IDS = [OURS, FASTREIDS]


def on_a_line(values, pids, camids=None):
    """Pictures at these places of a line: their euclidean distances can be read off."""
    vectors = torch.tensor(values, dtype=torch.float64)[:, None]
    camids = torch.zeros(len(values)) if camids is None else torch.tensor(camids)
    return Vectors(vectors, torch.tensor(pids), camids.long())


def known():
    """Person 1 at distances 1, 2, 3 and 6; others at 2.5, 4, 5, 7 and 8."""
    gallery = on_a_line([1, 2, 3, 6, 2.5, 4, 5, 7, 8.0], [1] * 4 + [2] * 5)
    return verify(on_a_line([0.0], [1]), gallery, metric="euclidean", camera_filter="none")


def separated():
    """The same person up to 1, others from 3."""
    gallery = on_a_line([0.5, 1, 3, 4.0], [1, 1, 2, 3])
    return verify(on_a_line([0.0], [1]), gallery, metric="euclidean", camera_filter="none")


def naive(query, gallery, metric, camera_filter):
    """Distances of the same and of different pairs, one pair at a time."""
    distances = pairwise(query.vectors, gallery.vectors, metric)
    same, different = [], []
    for q in range(len(query)):
        for g in range(len(gallery)):
            if gallery.pids[g] == -1:
                continue
            if gallery.pids[g] != query.pids[q]:
                different.append(distances[q, g].item())
            elif camera_filter == "none" or gallery.camids[g] != query.camids[q]:
                same.append(distances[q, g].item())
    return same, different


def share_within(distances, thresholds):
    """The share of `distances` that is <= each threshold."""
    ordered = torch.tensor(distances, dtype=torch.double).sort().values
    return torch.searchsorted(ordered, thresholds, right=True).double() / len(ordered)


def nearest_corner(negative, positive, fpr):
    """TPR at the corner of the ROC whose FPR is nearest to `fpr`, as the golden entries took it.

    Counts (B,) come with the highest score first. Corners are where sklearn.metrics.roc_curve has
    points: those within a straight line are dropped. Of equally near ones the first counts.
    """
    both = torch.stack([negative, positive])[:, negative + positive > 0].cumsum(1)  # (2, points)
    turns = both.diff(n=2).ne(0).any(0)
    ends = torch.tensor([True])
    corners = torch.cat([torch.zeros(2, 1), both[:, torch.cat([ends, turns, ends])]], 1)
    fprs, tprs = corners.double() / both[:, -1:]
    return tprs[(fprs - fpr).abs().argmin()].item()


def test_rates_of_known_distances():
    found = known()
    step = found.thresholds[1].item()
    assert (found.same_pairs, found.different_pairs) == (4, 5)
    for threshold, tar, far in [(0, 0, 0), (1, 1 / 4, 0), (2.5, 2 / 4, 1 / 5), (6, 1, 3 / 5)]:
        k = round(threshold / step)
        assert found.thresholds[k] == threshold  # accepted at exactly this distance, not before
        assert found.tar[k].item() == pytest.approx(tar)
        assert found.far[k].item() == pytest.approx(far)
    assert found.tar[-1] == found.far[-1] == 1


def test_the_threshold_lies_just_below_the_first_pair_too_many():
    found = known()
    step = found.thresholds[1].item()
    for far, first_too_many, tar in [(0.2, 4, 3 / 4), (0.3, 4, 3 / 4), (0.4, 5, 3 / 4)]:
        assert found.threshold_at(far) == first_too_many - step
        assert found.tar_at(far) == tar
    assert found.tar_at(1) == 1 and found.threshold_at(1) == found.thresholds[-1]


def test_equal_error_rate():
    """At 3 to 4, 1/5 is accepted and 1/4 missed; at 4, 2/5 and 1/4: FAR rises from 1/5 over 1/4."""
    found = known()
    assert found.eer == pytest.approx(1 / 4)
    assert found.equal_error[1] == pytest.approx(4, abs=1e-4)


def test_separated_pairs_have_no_error_and_a_threshold_in_the_middle():
    found = separated()
    assert found.eer == 0
    assert found.equal_error[1] == pytest.approx(2, abs=1e-4)


def test_equal_error_rate_where_everything_lies_in_the_first_bin():
    """Accept nothing: FAR 0, missed 1; accept at 0: FAR 1, missed 0. They cross half way."""
    copies = on_a_line([0.0, 0.0], [1, 2])
    found = verify(on_a_line([0.0], [1]), copies, metric="squared_euclidean", camera_filter="none")
    assert found.equal_error == (0.5, 0)
    assert found.tar_at(0.9999999) is math.nan  # 1 pair of different people cannot tell
    assert found.tar_at(1) == 1


@pytest.mark.parametrize("camera_filter", ["market", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_random_cases_agree_with_the_naive_loop(metric, dtype, camera_filter, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator}
    for case in range(6):
        q, g = 5 + case, 20 + case
        query = Vectors(
            torch.randn(q, 3, **draw).to(dtype),
            1 + torch.randint(4, (q,), **draw),
            torch.randint(3, (q,), **draw),
        )
        gallery = Vectors(
            torch.randn(g, 3, **draw).to(dtype),
            torch.randint(-1, 5, (g,), **draw),  # -1: junk, 0: nobody's
            torch.randint(3, (g,), **draw),
        )
        found = verify(query, gallery, metric=metric, camera_filter=camera_filter)
        same, different = naive(query, gallery, metric, camera_filter)
        assert (found.same_pairs, found.different_pairs) == (len(same), len(different))
        step = found.thresholds[1]
        for rates, distances in [(found.tar, same), (found.far, different)]:
            # Rounding may carry a distance over the edge of its bin.
            assert (share_within(distances, found.thresholds - step) <= rates).all()
            assert (share_within(distances, found.thresholds + step) >= rates).all()
        single = verify(query, gallery, metric=metric, camera_filter=camera_filter, memory_mb=0)
        with monkeypatch.context() as patch:
            patch.setitem(BLOCK, "cpu", 3 * g)
            blocks = verify(query, gallery, metric=metric, camera_filter=camera_filter)
        for other in (single, blocks):
            assert (other.same.cumsum(0) - found.same.cumsum(0)).abs().sum() <= 1
            assert (other.different.cumsum(0) - found.different.cumsum(0)).abs().sum() <= 1


def test_edges_are_exact_in_float32():
    """Whole distances lie on edges: each is accepted at itself, with nothing in between."""
    whole = torch.arange(9.0)[:, None]
    one = Vectors(whole[:1], torch.tensor([1]), torch.tensor([0]))
    all_of = Vectors(whole, torch.tensor([1, 1, 1, 1, 1, 2, 2, 2, 2]), torch.ones(9).long())
    found = verify(one, all_of, metric="euclidean")
    # The euclidean distance to itself is 1e-6, see ops.distances: one bin further.
    assert found.thresholds[found.same > 0].round(decimals=3).tolist() == [0, 1, 2, 3, 4]
    assert found.thresholds[found.different > 0].tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("metric", sorted(DISTANCES))
def test_the_farthest_pairs_still_have_a_bin(metric):
    generator = torch.Generator().manual_seed(1)
    ahead = 30 * torch.randn(5, 64, generator=generator)
    zeros = torch.zeros(10, dtype=torch.long)
    gallery = Vectors(torch.cat([ahead, -ahead]), torch.arange(10), zeros)
    query = Vectors(ahead, torch.arange(5, 10), zeros[:5])
    found = verify(query, gallery, metric=metric, camera_filter="none")
    assert found.tar[-1] == found.far[-1] == 1
    last = found.same.nonzero().max().item()
    assert last > len(found.thresholds) / 4  # the bins are no more than four times too wide


@pytest.mark.parametrize("kind", ["raw", "with_junk"])
def test_golden_roc(golden, golden_sides, kind, monkeypatch):
    monkeypatch.setattr(verification, "STEPS", 2**22)  # so fine that no two pairs share a bin
    found = verify(*golden_sides(kind))
    expected = golden[OURS]["expect"]
    assert found.same_pairs == expected["n_label_1"]
    assert found.same_pairs + found.different_pairs == expected["n_pairs"]
    for far in (1e-4, 1e-3, 1e-2, 1e-1):
        tar = nearest_corner(found.different, found.same, far)
        assert tar == pytest.approx(expected[f"tpr_at_fpr_{far:g}"], abs=1e-8)
        assert found.tar_at(far) == found.tar[found.far <= far].max()


def test_golden_roc_of_fastreid_has_the_classes_swapped(golden, golden_sides):
    """Its positives are different pairs, and the largest distance scores highest."""
    found = verify(*golden_sides("raw"))
    expected = golden[FASTREIDS]["expect"]
    assert found.different_pairs == expected["n_label_1"]
    for fpr in (1e-4, 1e-3, 1e-2, 1e-1):
        tpr = nearest_corner(found.same.flip(0), found.different.flip(0), fpr)
        assert tpr == pytest.approx(expected[f"tpr_at_fpr_{fpr:g}"], abs=1e-8)


def test_figures_are_percent_and_those_beyond_measure_are_nan():
    figures = known().figures()
    assert list(figures) == [
        *("EER", "TAR@FAR=1e-4", "TAR@FAR=1e-3", "TAR@FAR=1e-2"),
        *("same pairs", "different pairs"),
    ]
    assert figures["EER"] == pytest.approx(25) and figures["different pairs"] == 5
    assert math.isnan(figures["TAR@FAR=1e-2"])
    many = Verification(torch.arange(2.0), torch.tensor([3, 1]), torch.tensor([1, 999]), "cosine")
    assert many.figures()["TAR@FAR=1e-3"] == 75


def test_a_far_that_cannot_be_measured_is_refused():
    with pytest.raises(
        ValueError, match=r"5 pairs .* cannot measure a FAR of 0\.1; choose 2\.2e-01"
    ):
        known().threshold_at(0.1)
    with pytest.raises(ValueError, match="from 0 to 1"):
        known().tar_at(5)


def test_doubles_under_another_name_are_told():
    found = Verification(torch.arange(2.0), torch.tensor([1, 1]), torch.tensor([5, 5]), "cosine")
    with pytest.raises(ValueError, match=r"0\.5 of the pairs .* distance 0.*doubled pictures"):
        found.threshold_at(0.2)
    assert found.tar_at(0.2) == 0


def test_pairs_of_one_kind_are_refused():
    one = on_a_line([0.0], [1])
    with pytest.raises(ValueError, match=r"no pairs of the same person.*CAMERA_FILTER none"):
        verify(one, on_a_line([1.0, 2.0], [1, 2]), metric="euclidean")
    with pytest.raises(ValueError, match=r"no pairs of different people; add pictures"):
        verify(one, on_a_line([1.0, 2.0], [1, -1]), metric="euclidean", camera_filter="none")
    with pytest.raises(LookupError, match="Did you mean 'cosine'"):
        verify(one, one, metric="cosin")


def test_a_calibration_survives_its_file(tmp_path):
    calibration = known().calibration(0.2)
    assert calibration["metric"] == "euclidean" and calibration["pairs"]["same"] == 4
    assert calibration["threshold"] == known().threshold_at(0.2)
    assert calibration["tar"] == 0.75 and calibration["eer"] == pytest.approx(0.25)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(calibration))
    assert read_calibration(path) == read_calibration(str(path)) == calibration


def test_a_file_that_is_no_calibration_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no calibration .*none\.json; make it"):
        read_calibration(tmp_path / "none.json")
    good = known().calibration(0.2)
    wrong = [
        *(b"", b"\xff\xfe\x00", b"[1]", b"{}"),
        json.dumps(good | {"metric": "manhattan"}).encode(),
        json.dumps(good | {"metric": ["cosine"]}).encode(),
        json.dumps(good | {"threshold": "0.3"}).encode(),
        json.dumps(good | {"threshold": math.nan}).encode(),
    ]
    for content in wrong:
        path = tmp_path / "wrong.json"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"wrong\.json is no calibration .* make it anew"):
            read_calibration(path)
