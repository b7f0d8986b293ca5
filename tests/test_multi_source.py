"""Training on several sets, on all of one, and tests on sets that were not trained on."""

import json

import pytest
import torch
from PIL import Image
from test_api import SMALL, folder, settings  # noqa: F401  (its folder is used here as well)

import reidtools as rt
from reidtools import build
from reidtools.api.training_data import training_data
from reidtools.config.load import changed


def draw(home, name, people):
    """A dataset of one's own: everybody has two pictures in train, and other two in the test."""
    for person in range(people):
        for split, who in (("train", "t"), ("query", "p"), ("gallery", "p")):
            own = home / f"datasets/{name}/{split}/{who}{person}"
            own.mkdir(parents=True)
            for i in range(2):
                shade = (40 * person, 90 * i, 10 * len(name) + (split == "query"))
                Image.new("RGB", (16, 32), shade).save(own / f"{i}.jpg")


@pytest.fixture
def sets(folder):  # noqa: F811
    """Beside the toy set, `ours` with 3 people to train and 3 to test, and `theirs` with 2 each."""
    draw(folder, "ours", 3)
    draw(folder, "theirs", 2)
    return folder


def untrained(name, *, combineall=False, **changes):
    """A checkpoint that says it was trained as the config does."""
    cfg = changed(settings(**changes), {"DATASETS.COMBINEALL": combineall})
    torch.manual_seed(0)
    torch.save({"model": build.embedder(cfg).state_dict(), "config": cfg.dump()}, name)
    return name


def of(cfg, **values):
    return changed(cfg, {key.replace("__", "."): value for key, value in values.items()})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BalancedIdentitySampler", {"NUM_INSTANCE": "2"}),
        ("SetReWeightSampler", {"NUM_INSTANCE": "2", "SET_WEIGHT": "[1, 3]"}),
        ("ImbalancedDatasetSampler", {}),
        ("RandomDomainSampler", {"N_DOMAIN": "2"}),
        ("RandomDatasetSampler", {"N_DATASET": "0"}),
    ],
)
def test_every_sampler_draws_from_joined_sets(sets, name, options):
    pairs = SMALL | {"DATASETS.NAMES": "[toy, ours]", "DATASETS.TESTS": "theirs"}
    del pairs["DATALOADER.SAMPLER.NUM_INSTANCE"]  # not every sampler has it
    pairs |= {f"DATALOADER.SAMPLER.{key}": value for key, value in options.items()}
    pairs |= {"DATALOADER.SAMPLER.NAME": name, "TEST.LOSS_BATCHES": "1"}
    cfg = rt.get_config("", [word for pair in pairs.items() for word in pair])
    samples, _, tests = training_data(cfg)
    batches = build.train_batches(cfg, samples, torch.Generator(), torch.device("cpu"))
    counted = 0
    for batch in batches.sampler:
        ours = sum("/ours/" in samples[i].paths[0] for i in batch)
        counted += 1
        assert len(batch) == 8
        if name == "SetReWeightSampler":
            assert ours == 6  # 3 of 4 people, 2 pictures each
        if name == "RandomDatasetSampler":
            assert ours == 4
        if name == "RandomDomainSampler":
            assert len({samples[i].camid for i in batch}) == 2
    assert counted == len(batches.sampler) > 0
    # A test set is one, with cameras of its own: there another sampler stands in, or the same.
    (drawn,) = build.loss_batches(cfg, "theirs", tests["theirs"], torch.device("cpu")).sampler
    assert len(drawn) == 2 * int(options.get("NUM_INSTANCE", 1))


def test_a_run_on_two_sets_tells_which_tests_are_of_others(sets):
    tests = "[toy, theirs, ours]"
    cfg = settings(
        DATASETS__NAMES="[toy]", DATASETS__TESTS=tests, SOLVER__MAX_EPOCH="1", OUTPUT_DIR="a"
    )
    report = rt.train(cfg)
    assert report.unseen == ["theirs", "ours"]
    mean = (report.figures["theirs"]["mAP"] + report.figures["ours"]["mAP"]) / 2
    assert report.unseen_mean["mAP"] == pytest.approx(mean)
    metrics = json.loads((sets / "a/metrics.json").read_text())
    assert metrics["unseen"] == ["theirs", "ours"] and metrics["figures"] == report.figures
    assert metrics["unseen_mean"] == pytest.approx(report.unseen_mean)
    assert metrics["best"]["mAP"] == pytest.approx(report.mAP)  # over all three

    # The checkpoint, not the words of the test, tells what was trained on.
    words = {"MODEL__WEIGHTS": "a/0.pth", "DATASETS__NAMES": "theirs"}
    again = rt.evaluate(settings(**words, DATASETS__TESTS="theirs"))
    assert again.unseen == ["theirs"] and "| no " in str(again)
    known = rt.evaluate(settings(**words, DATASETS__TESTS="toy"))
    assert known.unseen == [] and "trained on" not in str(known)


def test_a_checkpoint_without_a_config_claims_nothing(sets):
    untrained("with.pth")
    torch.save(torch.load("with.pth", weights_only=True)["model"], "bare.pth")
    report = rt.evaluate(settings(MODEL__WEIGHTS="bare.pth", DATASETS__NAMES="ours"))
    assert report.unseen == [] and "trained on" not in str(report)
    metrics = json.loads((sets / "output_dir/metrics.json").read_text())
    assert "unseen" not in metrics


def test_combineall_trains_on_everybody_of_a_set(sets):
    cfg = of(settings(DATASETS__NAMES="ours", DATASETS__TESTS="theirs"), DATASETS__COMBINEALL=True)
    samples, _, tests = training_data(cfg)
    assert len({s.pid for s in samples}) == 3 + 3  # the people of train and those of the test
    assert len(samples) == 3 * 2 + 3 * (2 + 2) and list(tests) == ["theirs"]
    report = rt.train(of(cfg, OUTPUT_DIR="a", SOLVER__MAX_EPOCH=1))
    state = torch.load("a/0.pth", weights_only=True)
    assert state["objective"]["losses.CrossEntropyLoss.classifier.weight"].shape == (6, 512)
    assert report.unseen == ["theirs"]


def test_combineall_takes_the_toys_but_not_their_distractors(folder):  # noqa: F811
    plain = settings(DATASETS__TESTS="toy")
    splits = build.splits(plain, "toy")
    assert 0 in {s.pid for s in splits.gallery}
    (folder / "datasets/other/query/a").mkdir(parents=True)
    (folder / "datasets/other/gallery/a").mkdir(parents=True)
    for split in ("query", "gallery"):
        Image.new("RGB", (8, 16)).save(folder / f"datasets/other/{split}/a/1.jpg")
    samples, _, _ = training_data(of(plain, DATASETS__TESTS=["other"], DATASETS__COMBINEALL=True))
    assert len({s.pid for s in samples}) == 4 + 2
    people = [s for s in splits.gallery if s.pid]
    assert len(samples) == len(splits.train) + len(splits.query) + len(people)


def test_combineall_takes_the_validation_list_where_there_is_one(folder, capsys):  # noqa: F811
    home = folder / "datasets/MSMT17_V1"
    for name, split in (("train", "train"), ("val", "train"), ("query", "test")):
        path = f"000{len(name)}/0000_000_01_{name}_0015_0.jpg"
        (home / split / path).parent.mkdir(parents=True)
        Image.new("RGB", (8, 16)).save(home / split / path)
        (home / f"list_{name}.txt").write_text(f"{path} {len(name)}\n")
    (home / "list_gallery.txt").write_text("0005/0000_000_01_query_0015_0.jpg 5\n")
    draw(folder, "other", 2)
    cfg = of(settings(DATASETS__NAMES="msmt17", DATASETS__TESTS="other"), DATASETS__COMBINEALL=True)
    samples, _, _ = training_data(cfg)
    assert sorted(s.pid for s in samples) == [3, 5, 6 + 5]  # val and test both have a person 5
    (home / "list_val.txt").unlink()
    samples, _, _ = training_data(cfg)
    assert sorted(s.pid for s in samples) == [5, 6 + 5]
    assert "list_val.txt is missing" in capsys.readouterr().err


def test_people_that_were_trained_on_are_not_tested(sets):
    cfg = of(settings(DATASETS__NAMES="[toy, ours]"), DATASETS__COMBINEALL=True)
    message = r"test people of toy, ours, .* name other sets in DATASETS\.TESTS"
    with pytest.raises(ValueError, match=message):
        rt.train(cfg)
    with pytest.raises(ValueError, match="test people of ours@mlr"):
        rt.train(of(cfg, DATASETS__TESTS=["theirs", "ours@mlr"]))
    assert not (sets / "logs").exists()
    name = untrained("all.pth", combineall=True, DATASETS__NAMES="ours")
    with pytest.raises(ValueError, match="test people of ours"):
        rt.evaluate(settings(MODEL__WEIGHTS=name, DATASETS__NAMES="ours"))
    with pytest.raises(ValueError, match="test people of ours"):
        rt.calibrate(settings(MODEL__WEIGHTS=name, DATASETS__NAMES="ours"), 0.1)
    assert rt.evaluate(settings(MODEL__WEIGHTS=name, DATASETS__NAMES="theirs")).unseen == ["theirs"]


def test_a_table_of_models_and_sets(sets, type_tool):
    untrained("ours.pth", DATASETS__NAMES="ours")
    untrained("both.pth", DATASETS__NAMES="[ours, theirs]")
    untrained("all.pth", combineall=True, DATASETS__NAMES="theirs")
    weights = ("ours.pth", "both.pth", "all.pth")
    code, out, err = type_tool("cross_domain.py", "--weights", *weights, "MODEL.DEVICE", "cpu")
    assert code == 0, err
    lines = [line for line in out.splitlines() if line.startswith("|")]
    head, _, first, second, third = (
        [c.strip() for c in line.split("|")[1:-1]] for line in lines[-5:]
    )
    assert head == ["Trained on", "ours", "theirs", "Weights"]
    alone = {
        name: rt.evaluate(settings(MODEL__WEIGHTS="ours.pth", DATASETS__NAMES=name)).figures[name]
        for name in ("ours", "theirs")
    }
    cells = {name: f"{row['Rank-1']:.1f} ({row['mAP']:.1f})" for name, row in alone.items()}
    assert first == ["ours", cells["ours"] + " *", cells["theirs"], "ours.pth"]
    assert second[0] == "ours+theirs" and all(cell.endswith(" *") for cell in second[1:3])
    assert third[0] == "theirs(all)" and third[2] == "all" and not third[1].endswith("*")
    table = json.loads((sets / "output_dir/cross_domain.json").read_text())
    assert table["tests"] == ["ours", "theirs"]
    assert table["rows"][0]["figures"] == alone and table["rows"][0]["unseen"] == ["theirs"]
    assert table["rows"][2]["combineall"] and list(table["rows"][2]["figures"]) == ["ours"]


def test_the_table_has_a_mean_where_two_sets_are_others(sets, capsys):
    untrained("toy.pth", DATASETS__NAMES="toy")
    untrained("ours.pth", DATASETS__NAMES="ours")
    words = ["DATASETS.TESTS", "[ours, theirs]", "OUTPUT_DIR", "here", "MODEL.DEVICE", "cpu"]
    table = rt.cross_domain(["toy.pth", "ours.pth"], (), words)
    toys, ours = table.rows
    mean = sum(row["mAP"] for row in toys.report.figures.values()) / 2
    assert toys.report.unseen_mean["mAP"] == pytest.approx(mean) and not ours.report.unseen_mean
    head, _, first, second = (
        [c.strip() for c in line.split("|")[1:-1]] for line in str(table).splitlines()[:4]
    )
    assert head[-2:] == ["mean of others", "Weights"]
    assert first[3].endswith(f"({mean:.1f})") and second[3] == ""
    assert (sets / "here/cross_domain.json").is_file()


def test_a_table_needs_models_that_tell_of_sets_or_sets(sets):
    with pytest.raises(ValueError, match="name one checkpoint"):
        rt.cross_domain([])
    untrained("with.pth")
    torch.save(torch.load("with.pth", weights_only=True)["model"], "bare.pth")
    with pytest.raises(ValueError, match=r"name test sets in DATASETS\.TESTS"):
        rt.cross_domain(["bare.pth"], (), ["MODEL.DEVICE", "cpu"])
    assert not (sets / "output_dir").exists()


def test_a_picture_that_is_trained_on_and_tested_is_told(sets, capsys):
    (sets / "datasets/copy").symlink_to(sets / "datasets/ours")
    cfg = settings(DATASETS__NAMES="ours", DATASETS__TESTS="copy")
    training_data(cfg)
    assert "are trained on" not in capsys.readouterr().err
    with pytest.raises(ValueError, match="copy: 12 pictures of the test are trained on, such as"):
        training_data(of(cfg, DATASETS__COMBINEALL=True))
