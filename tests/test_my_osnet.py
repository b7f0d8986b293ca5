"""From crops of tracks to a trained model with the document's own commands, and IPG on its test."""

import json
import logging
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

import reidtools as rt
from reidtools import assess, build
from reidtools.config.load import resolve
from reidtools.data.datasets import load_dataset, load_folder
from reidtools.solver import make_schedule

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "my_osnet.yml"
QUICK = (
    "INPUT.SIZE_TRAIN [32,16] INPUT.SIZE_TEST [32,16] SOLVER.MAX_EPOCH 1 SOLVER.IMS_PER_BATCH 8 "
    "MODEL.DEVICE cpu"
)
LAST = "logs/osnet_my_dataset/model_final.pth"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for work, with drawn crops: 4 tracks of 8, each of a colour, and configs/."""
    home, rng = tmp_path_factory.mktemp("guide"), np.random.default_rng(0)
    (home / "configs").symlink_to(ROOT / "configs")
    for track in range(1, 5):
        folder = home / f"runs/step3_reid_features/crops/track_{track:04d}"
        folder.mkdir(parents=True)
        colour = rng.integers(40, 216, (2, 1, 3)).repeat(16, 0)  # of a shirt and of trousers
        for k in range(8):
            crop = np.clip(colour + rng.normal(0, 20, (32, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(crop).save(folder / f"frame_{5 * k:06d}_{k:03d}.jpg")
    return home


class Said(NamedTuple):
    out: str
    err: str


@pytest.fixture
def typed(place, monkeypatch, type_tool):
    """Types a command in the folder for work; what it printed, on stdout and stderr."""
    monkeypatch.chdir(place)

    def run(command):
        code, out, err = type_tool(*command.split())
        assert code == 0, err
        return Said(out, err)

    return run


def test_the_crops_become_a_dataset(typed, place):
    crops = "runs/step3_reid_features/crops"
    out = typed(f"prepare_fastreid_data.py --crops-dir {crops} --output-dir dataset/my_dataset").out
    assert "| 0004 | track_0004 |       5 |       1 |         2 |" in out
    assert f"Train:   {place.resolve()}/dataset/my_dataset/train\n" in out


def test_the_documents_config_trains(typed, place, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("this downloads")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    said = typed(f"train_net.py --config-file configs/my_osnet.yml {QUICK}")
    assert Path(LAST).is_file()
    home = place.resolve()
    read = f"my_dataset is read from {home}/dataset/my_dataset; {home}/datasets has none."
    log = Path(LAST).with_name("log.txt").read_text()
    for told in (
        read,
        "BNneckHead and avgpool: words of FastReID. Where the file is silent, "
        "MODEL.BACKBONE.PRETRAIN False,",
        "The warm-up takes 1500 iterations, and the run has 2 (1 epochs of 2): the learning rate "
        "gets to 3.73e-06 at most, instead of 0.00035.",  # 0.00035 * (0.01 + 0.99 * 1 / 1500)
    ):
        assert told in log
    assert "CrossEntropyLoss" in said.out and "TripletLoss" in said.out


def test_what_was_trained_is_tested_and_loaded(typed, place):
    out = typed(f"test.py MODEL.WEIGHTS {LAST}").out
    block = out[out.index("Test baseline: my_dataset") :].splitlines()
    assert block[6].startswith("mAP: ") and 0 < float(block[6].removeprefix("mAP: ")) <= 1
    model = rt.load(LAST)
    assert model.dim == 512
    features, embeddings = model.eval()(torch.zeros(2, 3, 32, 16))
    assert features.shape == embeddings.shape == (2, 512)


@pytest.fixture
def generated(place):
    """Generated pictures in two poses: mirrored, and brighter ones of all but one query."""
    home = place / "dataset/my_dataset"
    poses = {"pose1": ImageOps.mirror, "pose2": lambda p: ImageEnhance.Brightness(p).enhance(1.5)}
    for side in ("query", "gallery"):
        for pose, make in poses.items():
            for file in sorted((home / side).glob("*/*.jpg")):
                target = home / f"{side}_gen" / pose / file.parent.name / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with Image.open(file) as picture:
                    make(picture).save(target)
    next((home / "query_gen/pose2/0001").iterdir()).unlink()
    yield home
    for side in ("query", "gallery"):
        shutil.rmtree(home / f"{side}_gen")


def at(place, *words):
    """The config of what was trained, with IPG."""
    ours = ["MODEL.WEIGHTS", str(place / LAST), "MODEL.DEVICE", "cpu", "TEST.IPG.ENABLED", "True"]
    return rt.get_config("", [*ours, *words])


def metrics():
    return json.loads(Path(LAST).with_name("test_model_final").joinpath("metrics.json").read_text())


def test_generated_pictures_have_a_table_of_their_own(typed, generated):
    typed(f"test.py MODEL.WEIGHTS {LAST} TEST.FEATURES kept")
    plain = metrics()
    out = typed(f"test.py MODEL.WEIGHTS {LAST} TEST.IPG.ENABLED True TEST.FEATURES kept").out
    ours = metrics()
    assert ours["figures"] == plain["figures"]
    assert "IPG, my_dataset query: 2 poses of 4 pictures, 7 generated ones found; for 1, 0" in out
    assert "gallery: 2 poses of 8 pictures, 16 generated ones found; for 0, 0 of them" in out
    assert "After IPG (eta 2.0, reduce mean)" in out
    assert set(ours["others"]) - set(plain["others"]) == {"After IPG (eta 2.0, reduce mean)"}
    assert sorted(path.name for path in Path("kept").iterdir()) == [
        *("my_dataset_gallery.npz", "my_dataset_query.npz"),
    ]


def test_generated_pictures_come_before_the_other_steps(typed, generated):
    words = "TEST.IPG.ENABLED True TEST.IPG.REDUCE sum TEST.IPG.ETA 1 TEST.NFC.ENABLED True"
    out = typed(f"test.py MODEL.WEIGHTS {LAST} {words}").out
    assert "After IPG (eta 1.0, reduce sum) and NFC (k1 2, k2 2, normalize True)" in out


def test_what_is_ranked_is_the_fused_feature(generated, place, monkeypatch):
    """``norm(f + 2 * mean(f_1, f_2))``, computed here for one query, picture by picture."""
    ranked = []
    monkeypatch.setattr(assess, "measure", lambda *words: ranked.append(words[-1]))
    model = rt.load(place / LAST)
    sides = build.test_sets(at(place), {"d": load_folder(generated)}, torch.device("cpu"))
    assess.report_on(at(place), model, sides, None, final=True)
    ((query, gallery),) = ranked
    assert (len(query), len(gallery)) == (4, 8)
    original = Path(query.paths[1])
    name = Path(original.parent.name, original.name)
    poses = [generated / "query_gen" / pose / name for pose in ("pose1", "pose2")]
    f, f1, f2 = rt.embed(model, [original, *poses]).vectors
    wanted = f + 2 * (f1 + f2) / 2
    assert torch.allclose(query.vectors[1], wanted / wanted.norm(), atol=1e-5)
    assert not torch.allclose(query.vectors[1], f / f.norm(), atol=1e-3)


def test_without_generated_pictures_the_place_is_told_before_any_work(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(assess, "embed", None)
    with pytest.raises(FileNotFoundError, match=r"/made/query_gen\. Put them there"):
        rt.evaluate(at(place, "TEST.IPG.ROOT", "made"))


def test_a_test_in_the_course_of_training_is_the_plain_one(generated, place):
    sides = build.test_sets(at(place), {"d": load_folder(generated)}, torch.device("cpu"))
    report = assess.report_on(at(place), rt.load(place / LAST), sides, None, final=False)
    assert list(report.figures) == ["d"] and report.others == {}


def test_ipg_on_tracklets_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "DATASETS.NAMES toy_mars MODEL.BACKBONE.NAME osnet_x0_25 INPUT.SIZE_TRAIN [32,16]"
    words += " MODEL.DEVICE cpu DATASETS.TOY_MARS.PEOPLE 4 TEST.IPG.ENABLED True"
    cfg = rt.get_config("", words.split())
    with pytest.raises(ValueError, match="toy_mars has tracklets; test it without IPG"):
        rt.evaluate(cfg, build.embedder(cfg))


def test_options_of_ipg_are_found_before_any_work():
    cfg = rt.get_config("", ["TEST.IPG.ENABLED", "True", "TEST.IPG.ETA", "-1"])
    assert dict(cfg.TEST.IPG) == {"ENABLED": True, "ROOT": "", "ETA": -1.0, "REDUCE": "mean"}
    with pytest.raises(ValueError, match=r"eta is -1\.0"):
        assess.rehearse(cfg)


# What the document's config means


def test_what_the_document_leaves_open():
    cfg, notes = resolve(CONFIG)
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x1_0" and cfg.MODEL.BACKBONE.PRETRAIN is False
    losses = {name: node.WEIGHT for name, node in cfg.MODEL.LOSSES.items()}
    assert losses == {"CrossEntropyLoss": 1.0, "TripletLoss": 1.0}
    assert cfg.SOLVER.WARMUP_ITERS == 1500 and cfg.OUTPUT_DIR == "logs/osnet_my_dataset"
    assert cfg.SOLVER.STEPS_FROM == "start" and cfg.INPUT.FLIP_PROB == 0.5  # as everywhere here
    assert notes[0] == (
        "BNneckHead and avgpool: words of FastReID. Where the file is silent, "
        "MODEL.BACKBONE.PRETRAIN False, MODEL.LOSSES.CrossEntropyLoss.WEIGHT 1.0, "
        "MODEL.LOSSES.TripletLoss.WEIGHT 1.0 count."
    )


def test_what_the_user_says_wins():
    words = "MODEL.BACKBONE.PRETRAIN True MODEL.LOSSES.TripletLoss.MARGIN 0.5"
    cfg, notes = resolve(CONFIG, words.split())
    assert cfg.MODEL.BACKBONE.PRETRAIN is True
    assert set(cfg.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss"}
    assert cfg.MODEL.LOSSES.TripletLoss.MARGIN == 0.5 and "PRETRAIN" not in notes[0]
    cfg, _ = resolve(CONFIG, ["MODEL.LOSSES.NAME", "('CrossEntropyLoss',)"])
    assert set(cfg.MODEL.LOSSES) == {"CrossEntropyLoss"}
    cfg, notes = resolve("", ["MODEL.HEADS.POOL_LAYER", "gem"])  # our own words change nothing
    assert cfg.MODEL.BACKBONE.PRETRAIN is True and notes == []


@pytest.mark.parametrize(("warmup", "told"), [(10, False), (11, True), (20, True), (300, True)])
def test_a_warmup_of_most_of_the_run_is_told(warmup, told, caplog):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    make_schedule(optimizer, 5, 4, sched="ConstantLR", warmup_iters=warmup, warmup_factor=0.0)
    # It rises by 1 / warmup an iteration; the last of 20 is number 19.
    highest = {11: "1", 20: "0.95", 300: "0.0633"}.get(warmup)
    words = f"gets to {highest} at most, instead of 1. Lower SOLVER.WARMUP_ITERS"
    assert [words in line for line in caplog.messages] == [True] * told


# dataset/ beside datasets/


def test_datasets_comes_first_and_both_are_named(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "reidtools")
    with pytest.raises(LookupError, match=rf"{tmp_path}/datasets/mine and no {tmp_path}/dataset/m"):
        load_dataset("mine", "datasets")
    for root in ("dataset", "datasets"):
        file = Path(root) / f"mine/query/1/{root}.jpg"
        file.parent.mkdir(parents=True)
        file.touch()
        (found,) = load_dataset("mine", "datasets").query
        assert found.paths == (str(tmp_path / file),)
    assert caplog.messages == [
        f"The dataset mine is read from {tmp_path}/dataset/mine; {tmp_path}/datasets has none."
    ]
    with pytest.raises(LookupError, match=f"no folder {tmp_path}/elsewhere/mine either"):
        load_dataset("mine", "elsewhere")
