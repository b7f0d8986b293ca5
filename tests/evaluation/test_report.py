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
