import torch

from reidtools.evaluation import Ranking, Report


def ranking(cmc, mAP):
    return Ranking(torch.tensor(cmc), mAP, 0.25, torch.tensor([mAP]), 7)


def test_figures_are_percent_and_a_small_gallery_fills_the_ranks():
    report = Report()
    figures = report.add("toy", ranking([0.5, 0.75], 0.4))
    assert figures["Rank-1"] == 50 and figures["Rank-5"] == figures["Rank-50"] == 75
    assert figures["mAP"] == 40 and figures["mINP"] == 25 and figures["valid queries"] == 7


def test_several_sets_share_a_table_and_a_mean():
    report = Report()
    report.add("a", ranking([1.0], 0.5))
    report.add("b", ranking([0.0], 0.25))
    assert report.mAP == 37.5
    head, _, a, b = str(report).splitlines()
    assert "Rank-1" in head and "mINP" in head
    assert a.startswith("| a") and "50.00" in a and b.startswith("| b")


def test_the_three_lines_of_clip_reid():
    """The figures of its own ResNet-50 on Market-1501, in percent: 95.22, 98.57 and 88.66."""
    report = Report()
    report.add("market1501", ranking([0.9522, 0.96, 0.97, 0.98, 0.9857, 0.99], 0.8866))
    lines = [
        "Test Results - Rank-1: 95.22%",
        "Test Results - Rank-5: 98.57%",
        "Test Results - mAP: 88.66%",
    ]
    assert report.test_results() == "\n".join(lines)
    report.add("market1501", ranking([0.1], 0.1), "re-ranked")  # has a table of its own
    assert report.test_results() == "\n".join(lines)

    report.add("toy", ranking([0.5], 0.25))
    assert report.test_results().splitlines() == [
        *("market1501", *lines),
        "toy",
        *(f"Test Results - {name}" for name in ("Rank-1: 50.00%", "Rank-5: 50.00%", "mAP: 25.00%")),
    ]
