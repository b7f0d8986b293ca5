import io

import pytest
import torch
from PIL import Image

from reidtools.evaluation.verification import Verification
from reidtools.visualize import curves
from reidtools.visualize.curves import ap_histogram, cmc_curves, progress_curves, roc_curves

pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")

CMC = torch.tensor([0.5, 0.75, 0.75, 1])


def verification():
    """Same pairs in the bins 0 to 3, different ones in 2 to 5: they cross at 20 %."""
    same, different = torch.tensor([4, 3, 1, 2, 0, 0]), torch.tensor([0, 0, 2, 28, 40, 30])
    return Verification(torch.arange(6).double(), same, different, "euclidean")


@pytest.fixture
def axes(monkeypatch):
    """The axes of everything drawn, in order."""
    seen, save = [], curves.save

    def look(figure, axes, path):
        seen.append(axes)
        save(figure, axes, path)

    monkeypatch.setattr(curves, "save", look)
    return seen


def test_cmc_is_drawn_in_percent_from_rank_1(tmp_path, axes):
    cmc_curves({"a": CMC, "b": CMC[:2] / 2}, tmp_path / "new" / "cmc.png", ranks=3)
    first, second = axes[0].get_lines()
    assert list(first.get_xdata()) == [1, 2, 3] and list(first.get_ydata()) == [50, 75, 75]
    assert list(second.get_xdata()) == [1, 2] and list(second.get_ydata()) == [25, 37.5]
    assert first.get_label() == "a (Rank-1 50.00%)"
    assert first.get_color() != second.get_color()
    assert axes[0].get_xlim() == (1, 3) and axes[0].get_ylim()[0] <= 25
    assert Image.open(tmp_path / "new" / "cmc.png").size == (800, 600)


def test_roc_begins_where_it_can_be_measured_and_marks_the_eer(tmp_path, axes):
    roc_curves({"a": verification()}, str(tmp_path / "roc.png"))
    curve, dot = axes[0].get_lines()
    fars, tars = curve.get_xdata(), curve.get_ydata()
    assert fars[0] == pytest.approx(1) and fars[-1] == pytest.approx(100)  # 100 different pairs
    assert tars[0] == pytest.approx(70) and tars[-1] == pytest.approx(100)
    assert tars[fars < 2].max() == pytest.approx(70)
    assert tars[fars > 2].min() == pytest.approx(80)
    # From FAR 2 %, missed 20 % to FAR 30 %, missed 0: equal 18 / 48 of the way.
    eer = 2 + 28 * 18 / 48
    assert dot.get_xdata() == pytest.approx([eer]) and dot.get_ydata() == pytest.approx([100 - eer])
    assert curve.get_label() == f"a (EER {eer:.2f}%)"
    assert axes[0].get_xscale() == "log"
    assert Image.open(tmp_path / "roc.png").size == (800, 600)


def test_a_perfect_roc_has_no_dot_on_a_log_axis(tmp_path, axes):
    perfect = Verification(torch.arange(2.0), torch.tensor([9, 0]), torch.tensor([0, 9]), "cosine")
    roc_curves({"a": perfect}, tmp_path / "roc.png")
    (curve,) = axes[0].get_lines()
    assert (curve.get_ydata() == 100).all()


@pytest.mark.parametrize("draw", [cmc_curves, roc_curves])
def test_no_curves_are_refused(draw, tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        draw({}, tmp_path / "none.png")


def test_a_missing_matplotlib_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"run pip install 'reidtools\[plots\]'"):
        cmc_curves({"a": CMC}, tmp_path / "cmc.png")


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, file, **_):
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "cmc.png"
    cmc_curves({"a": CMC}, path)
    before = path.read_bytes()
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        cmc_curves({"a": CMC / 2}, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_course_of_a_run(tmp_path, axes):
    lines = {"mAP": ((1, 3), (10.0, 20.0)), "Rank-1": ((3,), (50.0,))}
    progress_curves(lines, tmp_path / "run.png", title="Scores", height="%")
    first, second = axes[0].get_lines()
    assert list(first.get_xdata()) == [1, 3] and list(first.get_ydata()) == [10, 20]
    assert second.get_marker() == "o" and second.get_label() == "Rank-1 (last 50)"
    assert axes[0].get_title() == "Scores" and axes[0].get_ylabel() == "%"
    assert all(tick == round(tick) for tick in axes[0].get_xticks())


def test_how_precision_is_spread(axes):
    file = io.BytesIO()
    ap_histogram(torch.tensor([1, 1, 0.5, 0, torch.nan]), file, bins=4)
    assert [bar.get_height() for bar in axes[0].patches] == [1, 0, 1, 2]
    (mean,) = axes[0].get_lines()
    assert mean.get_label() == "mean, the mAP (62.50%)"
    assert Image.open(file).size == (800, 600)
    with pytest.raises(ValueError, match="at least one"):
        ap_histogram(torch.tensor([torch.nan]), io.BytesIO())
