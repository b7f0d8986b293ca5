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


def test_sets_that_were_not_trained_on_are_marked_and_have_a_mean_of_their_own():
    report = Report()
    for name, rank_1, mAP in (("msmt17", 0.9, 0.8), ("market1501", 0.5, 0.25), ("toy", 0.7, 0.35)):
        report.add(name, ranking([rank_1], mAP))
    assert "trained on" not in str(report) and report.unseen_mean == {}  # nobody knows

    report.unseen = ["market1501"]
    assert report.unseen_mean == {}  # of one set there is no mean
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in str(report).splitlines()]
    assert cells[0][0] == "Dataset" and cells[0][-1] == "trained on"
    assert [row[-1] for row in cells[2:]] == ["yes", "no", "yes"]

    report.unseen = ["market1501", "toy"]
    assert abs(report.unseen_mean["Rank-1"] - 60) < 1e-4
    assert abs(report.unseen_mean["mAP"] - 30) < 1e-4
    assert "valid queries" not in report.unseen_mean
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in str(report).splitlines()]
    assert cells[-1][:2] == ["mean of 2 not trained on", "60.00"]
    assert cells[-1][-2:] == ["", ""] and len(cells[-1]) == len(cells[0])
    assert list(report.figures) == ["msmt17", "market1501", "toy"]  # as ever
    assert abs(report.mAP - (80 + 25 + 35) / 3) < 1e-4  # over all
