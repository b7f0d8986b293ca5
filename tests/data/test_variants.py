import pytest

from reidtools.data.samples import Sample, Splits
from reidtools.data.variants import mlr

SPLITS = Splits(
    *([Sample((f"{name}{i}.jpg",), i, 0) for i in range(300)] for name in Splits._fields)
)


def test_queries_have_a_drawn_scale_each():
    drawn = mlr(SPLITS, 1)
    scales = [sample.scale for sample in drawn.query]
    assert set(scales) == {2.0, 3.0, 4.0}
    assert all(70 < scales.count(scale) < 130 for scale in set(scales))
    assert drawn.train == SPLITS.train and drawn.gallery == SPLITS.gallery
    assert [s._replace(scale=1.0) for s in drawn.query] == SPLITS.query
    assert mlr(SPLITS, 1) == drawn != mlr(SPLITS, 2)


def test_either_side_or_both():
    both = mlr(SPLITS, 1, scales=[1, 8], sides=["query", "gallery"])
    assert {s.scale for s in both.query} == {s.scale for s in both.gallery} == {1.0, 8.0}
    assert [s.scale for s in both.query] != [s.scale for s in both.gallery]
    assert both.gallery == mlr(SPLITS, 1, scales=[1, 8], sides=["gallery"]).gallery


def test_what_is_no_scale_or_side_is_refused():
    for scales in ([], [0], [-2], [float("nan")]):
        with pytest.raises(ValueError, match=r"DATASETS\.MLR\.SCALES"):
            mlr(SPLITS, 1, scales=scales)
    with pytest.raises(LookupError, match="Did you mean 'query'"):
        mlr(SPLITS, 1, sides=["querry"])
