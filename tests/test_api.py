"""A run from end to end on drawn people: train, resume, test, load, and all that may go wrong."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import reidtools as rt
from reidtools.evaluation.report import CENTROIDS

SMALL = {
    "MODEL.DEVICE": "cpu",
    "DATASETS.NAMES": "toy",
    "DATASETS.TOY.PEOPLE": "4",
    "DATASETS.TOY.CAMERAS": "2",
    "DATASETS.TOY.PICTURES": "2",
    "MODEL.BACKBONE": "{NAME: osnet_x0_25, PRETRAIN: false}",
    "MODEL.LOSSES": "{CrossEntropyLoss: {}, TripletLoss: {}, CenterLoss: {WEIGHT: 0.0005}}",
    "INPUT.SIZE_TRAIN": "[32, 16]",
    "INPUT.PADDING": "2",
    "SOLVER.MAX_EPOCH": "4",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.WARMUP_EPOCHS": "1",
    "SOLVER.STEPS": "[3]",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "TEST.EVAL_PERIOD": "1",
    "DATALOADER.SAMPLER.NUM_INSTANCE": "2",
    "DATALOADER.NUM_WORKERS": "2",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**changes):
    pairs = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return rt.get_config("", [word for pair in pairs.items() for word in pair])


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_everything_one_looks_for(folder, capsys):
    report = rt.train(settings(SOLVER__MAX_EPOCH="3"))
    run = folder / "logs/toy/osnet_x0_25/baseline/exp0"
    events = [path.name for path in run.glob("events.out.tfevents.*")]
    assert {path.name for path in run.iterdir()} == {
        *("config.yml", "environment.txt", "log.txt", "metrics.jsonl", "metrics.json"),
        *("0.pth", "1.pth", "2.pth", "2_last.pth", "best.pth", "model_final.pth"),
        *events,
    }
    assert len(events) == 1
    assert set(report.figures["toy"]) >= {"Rank-1", "Rank-5", "Rank-50", "mAP", "mINP"}

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["figures"] == report.figures and metrics["metric"] == "cosine"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    maps = [row["mAP"] for row in rows if "mAP" in row]
    assert len(maps) == 3 and metrics["best"]["mAP"] == max(maps)
    best = torch.load(run / "best.pth", weights_only=True)
    assert best["epoch"] == maps.index(max(maps))

    assert rt.get_config(run / "config.yml") == settings(SOLVER__MAX_EPOCH="3")
    assert "torch: " in (run / "environment.txt").read_text()
    log = (run / "log.txt").read_text()
    assert "=> Loaded toy" in log and "| toy " in log and "model_final.pth" in log
    assert "| toy " in capsys.readouterr().out
    assert torch.load(run / "model_final.pth", weights_only=True).keys() == {"model", "config"}


def test_the_same_seed_gives_the_same_weights():
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        rt.train(settings(SOLVER__MAX_EPOCH="1", OUTPUT_DIR=name, SEED=seed))
    a, b, c = (weights(f"{name}/0.pth") for name in "abc")
    assert equal(a, b) and not equal(a, c)


def test_two_epochs_and_two_more_equal_four_bit_for_bit(folder):
    rt.train(settings(OUTPUT_DIR="whole"))
    halves = folder / "halves"
    halves.mkdir()
    (halves / "1.pth").write_bytes((folder / "whole/1.pth").read_bytes())
    torch.manual_seed(12345)
    rt.train(settings(OUTPUT_DIR="halves", RESUME="halves/1.pth"))
    whole, resumed = (torch.load(f"{n}/3_last.pth", weights_only=True) for n in ("whole", "halves"))
    assert equal(whole["model"], resumed["model"])
    assert equal(whole["objective"], resumed["objective"])
    for a, b in zip(
        whole["optimizer"]["state"].values(), resumed["optimizer"]["state"].values(), strict=True
    ):
        assert equal(a, b)
    for part in ("schedule", "best", "epoch", "iteration"):
        assert whole[part] == resumed[part]
    assert torch.equal(whole["rng"]["augment"], resumed["rng"]["augment"])
    assert torch.equal(whole["rng"]["torch"], resumed["rng"]["torch"])


def test_resume_finds_the_newest_run_and_its_config(folder):
    rt.train(settings(SOLVER__MAX_EPOCH="1"))
    run = folder / "logs/toy/osnet_x0_25/baseline/exp0"
    rt.train(settings(SOLVER__MAX_EPOCH="2", RESUME="auto"))
    assert (run / "1_last.pth").exists() and not (run / "0_last.pth").exists()
    for source in (run, run / "1_last.pth"):  # either brings its config
        cfg = rt.get_config("", ["RESUME", str(source), "SOLVER.MAX_EPOCH", "3"])
        assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_25" and cfg.SOLVER.MAX_EPOCH == 3
    rt.train(cfg)
    assert [path.name for path in run.parent.iterdir()] == ["exp0"]
    assert (run / "2_last.pth").exists()


def test_a_checkpoint_s_config_does_not_resume_or_overwrite_by_itself(folder):
    rt.train(settings(SOLVER__MAX_EPOCH="1", OUTPUT_DIR="a"))
    rt.train(settings(SOLVER__MAX_EPOCH="2", OUTPUT_DIR="a", RESUME="a/0.pth"))
    cfg = rt.get_config("", ["MODEL.WEIGHTS", "a/1_last.pth"])
    assert (cfg.RESUME, cfg.OUTPUT_DIR) == ("", "")
    rt.train(cfg)
    assert (folder / "logs/toy/osnet_x0_25/baseline/exp0/1_last.pth").exists()


def test_a_run_that_died_before_its_first_checkpoint_begins_again(folder):
    (folder / "a").mkdir()
    (folder / "a/config.yml").touch()
    rt.train(settings(SOLVER__MAX_EPOCH="1", OUTPUT_DIR="a", RESUME="auto"))
    assert (folder / "a/0_last.pth").exists()


def test_going_back_in_a_run_begins_a_new_folder(folder, capsys):
    rt.train(settings(SOLVER__MAX_EPOCH="3"))
    first = folder / "logs/toy/osnet_x0_25/baseline/exp0"
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    rt.train(settings(SOLVER__MAX_EPOCH="2", RESUME=str(first / "0.pth")))
    assert "has later checkpoints" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    assert (first.with_name("exp1") / "1_last.pth").exists()


def test_an_epoch_is_saved_even_if_its_test_fails(folder):
    rt.check(settings())
    victim = sorted((folder / "datasets/toy/bounding_box_test").glob("*.jpg"))[-1]  # no junk
    data = bytearray(victim.read_bytes())
    data[4:-4] = bytes(len(data) - 8)  # its ends are whole, so that it passes the preflight
    victim.write_bytes(data)
    with pytest.raises(OSError, match=victim.name):
        rt.train(settings(SOLVER__MAX_EPOCH="1", OUTPUT_DIR="a"))
    assert (folder / "a/0_last.pth").exists()


def test_resuming_what_cannot_go_on_says_why(folder):
    rt.train(settings(SOLVER__MAX_EPOCH="1", OUTPUT_DIR="a"))
    before = sorted(path.name for path in (folder / "a").iterdir())
    for changes, message in (
        ({"RESUME": "a/0.pth", "SOLVER__MAX_EPOCH": "1"}, "finished epoch 0.*MAX_EPOCH"),
        ({"RESUME": "a/model_final.pth"}, "holds a model only"),
        ({"RESUME": "a/0.pth", "MODEL__BACKBONE.FC": "False"}, "another model, loss or optimizer"),
        ({"RESUME": "a/0.pth", "SOLVER__OPT": "SGD"}, "trained with Adam, and SGD"),
        ({"RESUME": "a/0.pth", "SOLVER__OPT": "AMSGrad"}, "trained with Adam, and AMSGrad"),
    ):
        with pytest.raises(ValueError, match=message):
            rt.train(settings(**changes))
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        rt.train(settings(RESUME="a/7.pth"))
    with pytest.raises(ValueError, match="already holds a run"):
        rt.train(settings(OUTPUT_DIR="a"))
    assert sorted(path.name for path in (folder / "a").iterdir()) == before


def test_testing_gives_the_figures_of_training(folder):
    trained = rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="2"))
    tested = rt.evaluate(rt.get_config("", ["MODEL.WEIGHTS", "a/1_last.pth"]))
    assert tested.figures == trained.figures
    of_the_run = json.loads((folder / "a/metrics.json").read_text())
    assert of_the_run["epoch"] == 1  # a later test does not replace what training wrote
    metrics = json.loads((folder / "a/test_1_last/metrics.json").read_text())
    assert metrics["weights"] == "a/1_last.pth" and metrics["figures"] == tested.figures


def test_a_partial_load_is_refused_for_testing_and_told_when_training(capsys):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="1"))
    state = weights("a/0.pth")
    del state["backbone.conv1.conv.weight"]
    torch.save({"model": state}, "part.pth")
    with pytest.raises(ValueError, match=r"(?s)does not fill.*backbone\.conv1\.conv\.weight"):
        rt.evaluate(settings(MODEL__WEIGHTS="part.pth"))
    capsys.readouterr()
    rt.train(settings(OUTPUT_DIR="b", SOLVER__MAX_EPOCH="1", MODEL__WEIGHTS="part.pth"))
    assert "missing: backbone.conv1.conv.weight" in capsys.readouterr().err
    assert "WARNING reidtools layout: 569 of 570" in Path("b/log.txt").read_text()


def test_a_checkpoint_is_a_model_one_can_use(folder):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="1"))
    model = rt.load("a/model_final.pth", device="cpu")
    assert not model.training
    Image.new("RGB", (20, 40), (200, 0, 0)).save("red.jpg")
    Image.new("RGB", (20, 40), (0, 0, 200)).save("blue.jpg")
    vectors = rt.embed(model, ["red.jpg", "blue.jpg", "red.jpg"])
    assert vectors.vectors.shape == (3, 512) and vectors.paths[1] == "blue.jpg"
    assert torch.allclose(vectors.vectors[0], vectors.vectors[2], atol=1e-5)
    assert not torch.allclose(vectors.vectors[0], vectors.vectors[1], atol=1e-5)
    torch.save(weights("a/model_final.pth"), "bare.pth")  # without a config: see its own tests
    bare = rt.load("bare.pth", device="cpu")
    assert bare.config.INPUT.SIZE_TRAIN == [256, 128]
    pictures = torch.zeros(1, 3, 32, 16)
    assert torch.equal(bare(pictures)[1], model(pictures)[1])


def test_joint_training_counts_the_people_of_all_sets(folder):
    changes = {"DATASETS__NAMES": "[toy, mine]", "DATASETS__TESTS": "mine"}
    for split in ("train", "query", "gallery"):
        for person in ("anna", "bert"):
            (folder / f"datasets/mine/{split}/{person}").mkdir(parents=True)
            for i in range(2):
                picture = Image.new("RGB", (16, 32), (90 * i, 50, 99))
                picture.save(folder / f"datasets/mine/{split}/{person}/{i}.jpg")
    report = rt.train(settings(SOLVER__MAX_EPOCH="1", **changes))
    assert list(report.figures) == ["mine"]
    run = folder / "logs/toy+mine/osnet_x0_25/baseline/exp0"
    state = torch.load(run / "0.pth", weights_only=True)
    assert state["objective"]["losses.CrossEntropyLoss.classifier.weight"].shape == (4 + 2, 512)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"DATASETS__NAMES": "market1501"}, FileNotFoundError, r"datasets/.*DATASETS\.ROOT"),
        ({"DATASETS__NAMES": "markt1501"}, LookupError, "Did you mean 'market1501'"),
        ({"SOLVER__IMS_PER_BATCH": "31"}, ValueError, r"SOLVER\.IMS_PER_BATCH"),
        ({"MODEL__LOSSES": "{}"}, ValueError, r"no loss.*MODEL\.LOSSES"),
        ({"MODEL__DEVICE": "cuda:99"}, ValueError, "try auto or cpu"),
        ({"MODEL__WEIGHTS": "none.pth"}, FileNotFoundError, r"none\.pth"),
        ({"MODEL__BACKBONE": "{NAME: osnet_x0_25, PRETRAIN_PATH: none.pth}"}, OSError, "none.pth"),
        ({"INPUT__PADDING": "20"}, ValueError, r"INPUT\.PADDING 20"),
        ({"INPUT__PIXEL_MEAN": "[123, 116, 103]"}, ValueError, "from 0 to 1"),
        ({"INPUT__REA_AREA": "[0.4]"}, ValueError, "lowest, highest"),
        ({"MODEL__BACKBONE": "{NAME: densenet121, PRETRAIN: false}"}, ValueError, "cannot take"),
        ({"TEST__CAMERA_FILTER": "marke"}, LookupError, "Did you mean 'market'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(folder, changes, error, message):
    with pytest.raises(error, match=message):
        rt.train(settings(**changes))
    assert not (folder / "logs").exists()


def test_broken_pictures_are_listed_before_the_first_epoch(folder):
    rt.check(settings())
    victim = sorted((folder / "datasets/toy/bounding_box_train").glob("*.jpg"))[0]
    victim.write_bytes(b"")
    with pytest.raises(ValueError, match=victim.name):
        rt.train(settings())
    with pytest.raises(ValueError, match=victim.name):
        rt.check(settings())


def test_pictures_of_one_camera_need_another_filter(folder):
    rt.check(settings())
    toy = folder / "datasets/toy"
    for path in [*toy.glob("query/*_c2*"), *toy.glob("bounding_box_test/*_c2*")]:
        path.unlink()
    with pytest.raises(ValueError, match=r"TEST\.CAMERA_FILTER none"):
        rt.train(settings())
    rt.check(settings(TEST__CAMERA_FILTER="none"))


def test_a_diverging_loss_stops_and_names_the_files(folder):
    with pytest.raises(FloatingPointError, match=r"(?s)TripletLoss.*bounding_box_train"):
        rt.train(settings(SOLVER__BASE_LR="1e30", SOLVER__WARMUP_EPOCHS="0"))


CONFIGS = Path(__file__).parents[1] / "configs"


def tuning(checkpoint, *more, fragment="octuplet.yml"):
    pairs = ("MODEL.PRETRAIN_PATH", checkpoint, "DATASETS.LOW_SCALE", "4", "MODEL.DEVICE", "cpu")
    return rt.get_config("", [*pairs, *more], fragment=CONFIGS / fragment)


def test_octuplet_fine_tuning_goes_on_from_a_checkpoint_beside_it(folder):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="3"))
    before = {path.name: path.read_bytes() for path in (folder / "a").iterdir()}
    report = rt.finetune(tuning("a/2_last.pth", "SOLVER.CHECKPOINT_PERIOD", "5"))
    after = {path.name: path for path in (folder / "a").iterdir()}
    assert after.keys() - before.keys() == {"octuplet_x4", "3_x4.pth", "8_x4.pth", "12_x4.pth"}
    assert all(after[name].read_bytes() == content for name, content in before.items())
    run = after["octuplet_x4"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = {row["epoch"]: row["lr"] for row in rows if "lr" in row}
    factors = [rate / rates[0] for _, rate in sorted(rates.items())]
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert {"OctupletLoss", "total"} == {name for name in rows[0] if name[0].isupper()} | {"total"}
    saved = torch.load(after["12_x4.pth"], weights_only=True)
    assert not any("classifier" in name for name in saved["objective"])
    assert list(report.others) == ["Across resolutions, query - gallery"]
    assert (run / "best.pth").exists() and rt.load(after["12_x4.pth"], "cpu")

    with pytest.raises(ValueError, match=r"3_x4\.pth is there already.*another OUTPUT_DIR"):
        rt.finetune(tuning("a/2_last.pth"))
    with pytest.raises(ValueError, match=r"tunes a/2_last\.pth, not a/0\.pth"):
        rt.finetune(tuning("a/0.pth", "RESUME", "auto"))
    rt.finetune(tuning("a/2_last.pth", "RESUME", "auto", "SOLVER.MAX_EPOCH", "11"))
    assert (folder / "a/13_x4.pth").exists() and (run / "10_last.pth").exists()
    elsewhere = ("OUTPUT_DIR", "b", "SOLVER.MAX_EPOCH", "1", "MODEL.LOSSES.OctupletLoss.LL", "no")
    rt.finetune(tuning("a/12_x4.pth", *elsewhere, fragment="octuplet_ctl.yml"))
    assert {"13_x4.pth", "0_last.pth", "model_final.pth"} <= {p.name for p in Path("b").iterdir()}


def test_fine_tuning_needs_a_whole_model_and_a_scale(folder):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="1"))
    fragment = {"MODEL__LOSSES": "{OctupletLoss: {}}", "MODEL__WEIGHTS": "a/0.pth"}
    with pytest.raises(ValueError, match=r"DATASETS\.LOW_SCALE"):
        rt.finetune(settings(**fragment))
    with pytest.raises(ValueError, match="does not fill resnet18"):
        other = {"MODEL__BACKBONE": "{NAME: resnet18, PRETRAIN: false}"}
        rt.finetune(settings(**fragment, **other, DATASETS__LOW_SCALE="2"))
    with pytest.raises(ValueError, match="17.0 times as coarse"):
        rt.finetune(tuning("a/0.pth", "DATASETS.LOW_SCALE", "17"))
    with pytest.raises(ValueError, match="nothing to fine-tune"):
        rt.finetune(settings())
    assert not (folder / "a/octuplet_x4").exists() and not (folder / "logs").exists()


def test_a_resumed_run_keeps_its_resolution(folder, capsys):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="1", INPUT__SCALE="2"))
    old = "MODEL.RESUME_TRAINING True MODEL.PRETRAIN_PATH a/0.pth".split()
    assert rt.get_config(CONFIGS / "demo.yml", old).INPUT.SCALE == 2
    assert "INPUT.SCALE is 2, as in the checkpoint" in capsys.readouterr().err
    assert rt.get_config(CONFIGS / "demo.yml", [*old, "INPUT.SCALE", "1"]).INPUT.SCALE == 1


def test_ctl_trains_and_tests_with_centroids(folder):
    ctl = rt.get_config(
        [CONFIGS / "demo.yml", CONFIGS / "ctl.yml"],
        [word for pair in SMALL.items() if "LOSSES" not in pair[0] for word in pair],
    )
    report = rt.train(ctl)
    run = folder / "logs/toy/osnet_x0_25/ctl/exp0"
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert row["CentroidTripletLoss"] > 0 and (run / "3_last.pth").exists()
    assert list(report.others) == [CENTROIDS]
    text = report.blocks()
    assert text.count("top-k, Rank-1  :") == text.count("mAP: 0.") == 2
    assert text.splitlines()[7] == "Test CTL (oracle ids): toy"


@pytest.mark.parametrize("how", ["auto", "a/octuplet_x4", "a/octuplet_x4/1_last.pth"])
def test_fine_tuning_that_was_stopped_goes_on_bit_for_bit(folder, how):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="1"))
    rt.finetune(tuning("a/0.pth", "SOLVER.MAX_EPOCH", "3", "OUTPUT_DIR", "whole"))
    margin = ("MODEL.LOSSES.OctupletLoss.MARGIN", "0.5", "SOLVER.MAX_EPOCH")
    rt.finetune(tuning("a/0.pth", *margin, "2"))
    if how == "auto":
        rt.finetune(tuning("a/0.pth", "RESUME", how, *margin, "3"))
    else:  # what was typed for the first part is in the run's own config
        words = ["RESUME", how, "SOLVER.MAX_EPOCH", "3"]
        rt.finetune(rt.get_config("", words, fragment=CONFIGS / "octuplet.yml"))
    whole, parts = (torch.load(f"{n}/3_x4.pth", weights_only=True) for n in ("whole", "a"))
    assert equal(whole["model"], parts["model"])
    assert sorted(path.name for path in Path("a").glob("*_x4*")) == [
        *("1_x4.pth", "2_x4.pth", "3_x4.pth", "octuplet_x4"),
    ]


def test_fine_tuning_begins_where_snu_reid_says_resume(folder):
    rt.train(settings(OUTPUT_DIR="a", SOLVER__MAX_EPOCH="1", INPUT__SCALE="2"))
    words = "MODEL.RESUME_TRAINING True MODEL.PRETRAIN_PATH a/0.pth SOLVER.MAX_EPOCH 1".split()
    cfg = rt.get_config("", [*words, "DATASETS.LOW_SCALE", "4"], fragment=CONFIGS / "octuplet.yml")
    assert cfg.INPUT.SCALE == 1 and cfg.METHOD == "octuplet"
    rt.finetune(cfg)
    assert Path("a/1_x4.pth").is_file() and Path("a/octuplet_x4/0_last.pth").is_file()


def test_the_newest_run_is_resumed_at_its_resolution(folder):
    rt.train(settings(SOLVER__MAX_EPOCH="1", INPUT__SCALE="2"))
    again = [word for pair in SMALL.items() for word in pair]
    assert rt.get_config(CONFIGS / "base.yml", [*again, "RESUME", "auto"]).INPUT.SCALE == 2
