"""What TEST can ask for, on drawn people and an embedder that nobody trained."""

import csv
import json
import logging
import shutil

import pytest
import torch
from test_api import folder, settings  # noqa: F401  (its folder is used here as well)

import reidtools as rt
from reidtools import assess, build, reports
from reidtools.evaluation import Vectors
from reidtools.evaluation.features import read_vectors


@pytest.fixture
def checkpoint(folder):  # noqa: F811
    """A checkpoint of an embedder as it was built."""
    cfg = settings()
    torch.manual_seed(0)
    torch.save({"model": build.embedder(cfg).state_dict(), "config": cfg.dump()}, "small.pth")
    return "small.pth"


def evaluated(checkpoint, **changes):
    cfg = settings(MODEL__WEIGHTS=checkpoint, **changes)
    return rt.evaluate(cfg)


def test_everything_at_once(checkpoint, folder):  # noqa: F811
    pytest.importorskip("matplotlib")
    on = dict.fromkeys(
        (
            f"TEST__{name}__ENABLED"
            for name in ("AQE", "NFC", "RERANK", "CENTROIDS", "ROC", "DENSITY")
        ),
        "True",
    )
    changes = {"TEST__SINGLE_SHOT": "5", "TEST__AP_RULE": "trapezoid", "TEST__TOPK": "3"}
    report = evaluated(checkpoint, **on, **changes, TEST__PLOTS="True", TEST__FLIP="normalized")
    titles = [
        "Average precision by the trapezoid rule",
        "One gallery picture a person, mean of 5 draws",
        "Verification",
        "Density of the gallery's embeddings",
        assess.CENTROIDS,
        "After NFC (k1 2, k2 2, normalize True) and query expansion (alpha 3.0, k 5, scope joint, "
        "times 1) and re-ranking (k1 20, k2 6, lambda 0.3, variant original)",
    ]
    assert list(report.others) == titles
    written = json.loads((folder / "output_dir/metrics.json").read_text())
    assert written["figures"] == report.figures and list(written["others"]) == titles
    assert written["flip"] == "normalized" and written["test"]["RERANK"]["K1"] == 20
    assert "mAP" not in report.others["One gallery picture a person, mean of 5 draws"]["toy"]
    for picture in ("cmc.png", "roc.png"):
        assert (folder / "output_dir" / picture).read_bytes().startswith(b"\x89PNG")
    with (folder / "output_dir/nearest_toy.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines[0].keys() == {"query", "place", "gallery", "distance", "same person"}
    assert [line["place"] for line in lines[:3]] == ["1", "2", "3"]
    plain = evaluated(checkpoint, TEST__FLIP="normalized")
    assert plain.figures == report.figures  # whatever else was asked for


def test_what_is_not_plain_changes_no_headline(checkpoint):
    """The best checkpoint is chosen by the plain mAP, so re-ranking may not stand in for it."""
    plain, ranked = evaluated(checkpoint), evaluated(checkpoint, TEST__RERANK__ENABLED="True")
    assert ranked.mAP == plain.mAP
    ((title, rows),) = ranked.others.items()
    assert title.startswith("After re-ranking (k1 20, k2 6")
    (row,) = rows.values()
    assert row["mAP"] != plain.mAP


def test_kept_embeddings_are_used_again(checkpoint, folder, caplog, monkeypatch):  # noqa: F811
    first = evaluated(checkpoint, TEST__FEATURES="kept")
    assert {path.name for path in (folder / "kept").iterdir()} == {
        "toy_query.npz",
        "toy_gallery.npz",
    }
    monkeypatch.setattr(assess, "embed", None)  # not to be called again
    logging.getLogger("reidtools").addHandler(caplog.handler)
    assert evaluated(checkpoint, TEST__FEATURES="kept").figures == first.figures
    assert "those in kept" in caplog.text
    evaluated(checkpoint, TEST__FEATURES="kept", TEST__METRIC="euclidean")  # needs no second pass


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"INPUT__SIZE_TEST": "[64, 32]"}, r"size was \[32, 16\], is \[64, 32\]"),
        ({"TEST__FLIP": "raw"}, "flip was"),
        ({"INPUT__PIXEL_MEAN": "[0.5, 0.5, 0.5]"}, "pixel mean was"),
        ({"INPUT__INTERPOLATION": "bicubic"}, 'interpolation was None, is "bicubic"'),
    ],
)
def test_stale_embeddings_are_refused(checkpoint, changes, named):
    evaluated(checkpoint, TEST__FEATURES="kept")
    with pytest.raises(ValueError, match=named):
        evaluated(checkpoint, TEST__FEATURES="kept", **changes)


def test_embeddings_of_other_weights_or_pictures_are_refused(checkpoint, folder):  # noqa: F811
    evaluated(checkpoint, TEST__FEATURES="kept")
    picture = next((folder / "datasets/toy/query").glob("*.jpg"))
    content = picture.read_bytes()
    picture.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="pictures was"):
        evaluated(checkpoint, TEST__FEATURES="kept")
    picture.write_bytes(content)
    saved = torch.load(checkpoint, weights_only=True)
    next(iter(saved["model"].values())).add_(1)
    torch.save(saved, "other.pth")
    with pytest.raises(
        ValueError, match=r"weights was .*Delete the files in this folder or choose another"
    ):
        evaluated("other.pth", TEST__FEATURES="kept")


def test_low_resolution_is_compared_with_the_full_one(checkpoint):
    sharp = evaluated(checkpoint, TEST__FEATURES="kept")
    one = evaluated(checkpoint, TEST__FEATURES="kept", TEST__QUERY_SCALE="4")
    both = evaluated(
        checkpoint, TEST__FEATURES="kept", TEST__QUERY_SCALE="4", TEST__GALLERY_SCALE="4"
    )
    rows = both.others[assess.RESOLUTIONS]
    pairs = ("HR - HR", "LR(x4) - HR", "HR - LR(x4)", "LR(x4) - LR(x4)")
    assert list(rows) == [f"toy {pair}" for pair in pairs]
    assert list(one.others[assess.RESOLUTIONS]) == [f"toy {pair}" for pair in pairs[:2]]
    assert rows["toy HR - HR"] == sharp.figures["toy"] and not sharp.others
    assert rows["toy LR(x4) - HR"] == one.figures["toy"]
    assert rows["toy LR(x4) - LR(x4)"] == both.figures["toy"]
    assert "LR(x4) - LR(x4)" in str(both).splitlines()[0]
    query, coarse = (read_vectors(f"kept/toy_query{end}.npz") for end in ("", "_LR_x4"))
    assert not torch.allclose(query.vectors, coarse.vectors)


def test_a_model_is_tested_as_it_was_trained(folder):  # noqa: F811
    rt.train(settings(INPUT__SCALE="2", SOLVER__MAX_EPOCH="1", OUTPUT_DIR="a"))
    rows = [json.loads(line) for line in (folder / "a/metrics.jsonl").read_text().splitlines()]
    tests = [row for row in rows if "mAP" in row]
    assert [row["dataset"] for row in tests] == [
        "toy",
        *(f"toy {a} - {b}" for b in ("HR", "LR(x2)") for a in ("HR", "LR(x2)")),
    ]
    assert tests[0]["mAP"] == tests[-1]["mAP"]
    metrics = json.loads((folder / "a/metrics.json").read_text())
    assert metrics["resolutions"] == {"toy": "LR(x2) - LR(x2)"}
    sharp = rt.get_config("", ["MODEL.WEIGHTS", "a/0.pth", "TEST.QUERY_SCALE", "1"])
    assert "query and gallery at HR - LR(x2)." in str(rt.evaluate(sharp))


def test_every_picture_of_an_mlr_set_has_a_scale(checkpoint):
    report = evaluated(checkpoint, DATASETS__TESTS="[toy, toy@mlr]")
    assert list(report.figures) == ["toy", "toy@mlr"]
    assert list(report.others[assess.RESOLUTIONS]) == ["toy@mlr HR - HR", "toy@mlr MLR - HR"]
    assert report.others[assess.RESOLUTIONS]["toy@mlr HR - HR"] == report.figures["toy"]
    with pytest.raises(LookupError, match="variant 'ml'.*Did you mean 'mlr'"):
        evaluated(checkpoint, DATASETS__TESTS="toy@ml")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"TEST__RERANK__ENABLED": "True", "TEST__RERANK__K1": "0"}, ValueError, "k1 0"),
        ({"TEST__AQE__ENABLED": "True", "TEST__AQE__SCOPE": "al"}, LookupError, "scope 'al'"),
        ({"TEST__METRIC": "cosin"}, LookupError, "Did you mean 'cosine'"),
        ({"TEST__FLIP": "both"}, LookupError, "flip 'both'"),
        ({"TEST__QUERY_SCALE": "17"}, ValueError, "32 x 16"),
    ],
)
def test_a_wrong_option_is_found_before_any_work(checkpoint, monkeypatch, changes, error, message):
    monkeypatch.setattr(assess, "embed", None)
    with pytest.raises(error, match=message):
        evaluated(checkpoint, **changes)
    with pytest.raises(error, match=message):
        rt.train(settings(**changes))


def test_plots_without_matplotlib(checkpoint, monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'reidtools\[plots\]'"):
        evaluated(checkpoint, TEST__PLOTS="True")


def test_a_model_that_gives_no_numbers_leaves_no_report(checkpoint, folder):  # noqa: F811
    saved = torch.load(checkpoint, weights_only=True)
    for value in saved["model"].values():
        if value.is_floating_point():
            value.fill_(torch.nan)
    torch.save(saved, "broken.pth")
    with pytest.raises(ValueError, match=r"no numbers, .*\(first: .*\.jpg"):
        evaluated("broken.pth", TEST__FEATURES="kept")
    assert not list(folder.glob("output_dir/*")) and not list(folder.glob("kept/*"))


def test_a_threshold_is_found_and_remembered(checkpoint, folder):  # noqa: F811
    from reidtools.evaluation.verification import read_calibration

    cfg = settings(MODEL__WEIGHTS=checkpoint)
    found = rt.calibrate(cfg, far=0.1)
    assert read_calibration(folder / "output_dir/calibration.json") == found
    assert 0 < found["threshold"] < 2 and found["metric"] == "cosine" and 0 <= found["tar"] <= 1
    with pytest.raises(ValueError, match="share"):
        rt.calibrate(cfg, far=1)
    with pytest.raises(ValueError, match="choose .* or more"):
        rt.calibrate(cfg, far=1e-6)
    with pytest.raises(ValueError, match="one test set"):
        rt.calibrate(settings(MODEL__WEIGHTS=checkpoint, DATASETS__TESTS="[toy, market1501]"), 0.1)


def test_two_sets_of_one_folder_name_are_kept_apart(checkpoint, folder):  # noqa: F811
    evaluated(checkpoint)  # draws the toy people
    for place in ("here", "there"):
        shutil.copytree(folder / "datasets/toy", folder / place / "toy")
    names = f"[{folder}/here/toy, {folder}/there/toy]"
    changes = {"TEST__FEATURES": "kept", "TEST__TOPK": "1", "DATASETS__NAMES": names}
    evaluated(checkpoint, **changes)
    assert len(list(folder.glob("kept/*.npz"))) == 4
    assert len(list(folder.glob("output_dir/nearest_*.csv"))) == 2


def test_a_folder_that_cannot_be_is_told_first(checkpoint, folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr(assess, "embed", None)
    (folder / "file").write_text("")
    with pytest.raises(OSError, match=r"choose another TEST\.FEATURES"):
        evaluated(checkpoint, TEST__FEATURES="file")


def test_ranked_lists_stop_where_the_gallery_does():
    query = Vectors(torch.eye(2), [1, 2], [0, 0], ["a.jpg", "b.jpg"])
    gallery = Vectors(torch.eye(2), [1, 2], [1, 0], ["c.jpg", "d.jpg"])
    ranked = rt.rank(query, gallery, metric="squared_euclidean", topk=2)
    assert list(reports.nearest_rows(query, gallery, ranked, 2))[1:] == [
        ("a.jpg", 1, "c.jpg", "0.000000", 1),
        ("a.jpg", 2, "d.jpg", "2.000000", 0),
        ("b.jpg", 1, "c.jpg", "2.000000", 0),
    ]
