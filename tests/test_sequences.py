"""Sequences from end to end: the commands of docs/sequences.md, typed one after the other."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import reidtools as rt
from reidtools import build
from reidtools.data.datasets import load_dataset
from reidtools.data.datasets.toy_mars import toy_mars
from reidtools.modeling.backbones.timm_models import TimmBackbone

ROOT = Path(__file__).parents[1]
DOCUMENT = """
experiment: {name: vit_toy}
data:
  root: data/mars/processed
  index_csv: data/mars/processed/index.csv
  image_size: [32, 16]
  sequence_len: 4
  num_workers: 1
model: {backbone: vit_tiny_patch16_224, pretrained: false, embed_dim: 24, dropout: 0.1}
train:
  epochs: 2
  batch: {P: 3, K: 2}
  optimizer: {name: adamw, lr: 1e-4, weight_decay: 0.05}
  scheduler: {name: cosine, warmup_epochs: 1}
loss:
  ce: {label_smoothing: 0.1, weight: 1.0}
  triplet: {margin: 0.3, weight: 1.0}
eval: {normalize_embeddings: true}
"""
SMALL = [
    *("DATASETS.NAMES", "toy_mars", "DATASETS.ROOT", "data", "INPUT.SIZE_TRAIN", "[32,16]"),
    *(
        "INPUT.FRAMES",
        "3",
        "INPUT.PADDING",
        "2",
        "SOLVER.IMS_PER_BATCH",
        "6",
        "MODEL.DEVICE",
        "cpu",
    ),
    *("DATALOADER.SAMPLER.NUM_INSTANCE", "2", "SOLVER.MAX_EPOCH", "1"),
    *("DATASETS.TOY_MARS.PEOPLE", "6"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with drawn tracklets, as data/toy_mars and as data/mars/raw."""
    home = tmp_path_factory.mktemp("mars")
    toy_mars(home / "data", people=6, cameras=3, tracklets=2, frames=6)
    (home / "data/mars").mkdir()
    (home / "data/mars/raw").symlink_to("../toy_mars")
    (home / "config.yaml").write_text(DOCUMENT)
    return home


@pytest.fixture
def typed(place, monkeypatch, capsys):
    """Types a command; returns what it printed. `fails` expects an error and returns that."""
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(ROOT / "tools")

    def run(command, *, fails=False):
        tool, *words = command.split()
        monkeypatch.setattr(sys, "argv", [tool, *words])
        if fails:
            with pytest.raises(SystemExit) as stop:
                runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
            assert stop.value.code == 1
            return capsys.readouterr().err
        runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
        return capsys.readouterr().out

    return run


RUN = Path("runs/vit_toy")
BEST = RUN / "checkpoints/best.pth"


def test_the_document_s_commands(typed):
    typed(
        "prepare_mars.py --raw_root data/mars/raw --out_root data/mars/processed "
        "--sequence_len 4 --overlap 2 --val-ids 2"
    )
    out = typed("train.py --config config.yaml INPUT.PADDING 2")
    assert "top1" in out and "Losses on test people" in out
    assert BEST.is_file()
    resolved = yaml.safe_load((RUN / "config_resolved.yaml").read_text())
    assert resolved["MODEL"]["HEADS"]["EMBEDDING_DIM"] == 24
    rows = [json.loads(r) for r in (BEST.parent / "metrics.jsonl").read_text().splitlines()]
    assert {"CrossEntropyLoss", "TripletLoss"} <= rows[0].keys()
    assert 0 <= rows[0]["figures"]["top1"] <= 1
    assert next(row["lr"] for row in rows if "lr" in row) < 1e-5  # warms up
    tests = [row for row in rows if "mAP" in row]
    losses = [row for row in rows if "TripletLoss" in row and "title" in row]
    assert len(tests) == len(losses) == 2 and losses[0]["dataset"] == "sequences"
    best = torch.load(BEST, weights_only=True)["best"]
    assert best["mAP"] == max(row["mAP"] for row in tests)
    # the whole of it again, from what was saved
    again = rt.get_config(RUN / "config_resolved.yaml", ["OUTPUT_DIR", "again"])
    assert again.MODEL.TEMPORAL.NORM_FRAMES and again.INPUT.FRAMES == 4


def test_a_stopped_run_goes_on(typed):
    err = typed("train.py --config config.yaml INPUT.PADDING 2", fails=True)
    assert "already holds a run; go on with --resume" in err
    out = typed("train.py --config config.yaml --resume INPUT.PADDING 2 SOLVER.MAX_EPOCH 3")
    assert f"Resuming {BEST.parent}/1_last.pth" in out
    assert (BEST.parent / "2_last.pth").is_file()


def test_a_folder_of_frames_becomes_a_vector(typed, place):
    frames = next((place / "data/mars/processed/test").glob("ID*/*/rgb"))
    typed(
        f"inference.py --config config.yaml --checkpoint {BEST} --frames_dir {frames} "
        "--output out/embedding.npy"
    )
    vector = np.load("out/embedding.npy")
    assert vector.shape == (24,) and np.isclose(np.linalg.norm(vector), 1, atol=1e-6)
    # it is what the model says of all frames at once
    model = rt.load(BEST, "cpu")
    samples = [rt.Sample(tuple(map(str, sorted(frames.iterdir()))), 0, 0)]
    (batch,) = build.test_batches(model.config, samples, torch.device("cpu"))
    with torch.inference_mode():
        whole = torch.nn.functional.normalize(model(batch["images"][None])[1])[0]
    assert torch.allclose(torch.from_numpy(vector), whole, atol=1e-5)
    # without a config the checkpoint's own counts; TEST.IMS_PER_BATCH changes nothing
    typed(
        f"inference.py --checkpoint {BEST} --frames_dir {frames} --output out/again.npy "
        "TEST.IMS_PER_BATCH 2"
    )
    assert np.allclose(np.load("out/again.npy"), vector, atol=1e-5)


def test_several_folders_become_an_archive(typed, place):
    folders = sorted((place / "data/toy_mars/bbox_test").iterdir())[:2]
    words = " ".join(map(str, folders))
    typed(f"inference.py --checkpoint {BEST} --frames_dir {words} --output out/all.npz")
    made = np.load("out/all.npz")
    assert sorted(made.files) == sorted(folder.name for folder in folders)
    assert all(np.isclose(np.linalg.norm(made[name]), 1, atol=1e-6) for name in made.files)
    err = typed(f"inference.py --checkpoint {BEST} --frames_dir {words}", fails=True)
    assert "ends in .npz" in err and not Path("embedding.npy").exists()
    err = typed(f"inference.py --checkpoint {BEST} --frames_dir nowhere", fails=True)
    assert "There is no folder" in err
    (place / "empty").mkdir(exist_ok=True)
    err = typed(f"inference.py --checkpoint {BEST} --frames_dir empty", fails=True)
    assert "There are no pictures in empty" in err


def test_a_folder_may_have_any_name(typed, place):
    folders = []
    for name in ("file", "allow_pickle"):
        (place / name).symlink_to(next((place / "data/toy_mars/bbox_test").iterdir()))
        folders.append(place / name)
    folders[1].unlink()
    folders[1].symlink_to(sorted((place / "data/toy_mars/bbox_test").iterdir())[-1])
    typed(f"inference.py --checkpoint {BEST} --frames_dir file allow_pickle --output any.npz")
    assert sorted(np.load("any.npz").files) == ["allow_pickle", "file"]


def test_a_broken_frame_is_told_and_left_out(typed, place):
    source = next((place / "data/mars/processed/test").glob("ID*/*/rgb"))
    frames = sorted(source.iterdir())[:3]
    for folder, names in (("two", frames[::2]), ("torn", frames)):
        (place / folder).mkdir()
        for frame in names:
            (place / folder / frame.name).write_bytes(frame.read_bytes())
    torn = place / "torn" / frames[1].name
    torn.write_bytes(torn.read_bytes()[:40])
    for folder in ("two", "torn"):
        typed(f"inference.py --checkpoint {BEST} --frames_dir {folder} --output {folder}.npy")
    assert np.allclose(np.load("two.npy"), np.load("torn.npy"), atol=1e-6)
    err = typed(f"inference.py --checkpoint {BEST} --frames_dir torn --strict", fails=True)
    assert "not a readable picture" in err
    for frame in (place / "torn").iterdir():
        frame.write_bytes(b"")
    err = typed(f"inference.py --checkpoint {BEST} --frames_dir torn", fails=True)
    assert "3 of 3 files are no pictures" in err


def test_the_official_protocol(typed, place):
    out = typed(
        f"test.py MODEL.WEIGHTS {BEST} DATASETS.NAMES mars DATASETS.TESTS mars DATASETS.ROOT data "
        "TEST.RERANK.ENABLED True TEST.RERANK.K1 3 TEST.RERANK.K2 2 TEST.FEATURES kept"
    )
    splits = load_dataset("mars", place / "data")
    assert "# tracklets" in out and "re-ranking" in out and "mINP" in out
    kept = np.load("kept/mars_query.npz")
    assert len(kept["vectors"]) == len(splits.query)
    assert kept["pids"].tolist() == [sample.pid for sample in splits.query]
    # one vector a tracklet: the mean over the frames of what the frames are by themselves
    model = rt.load(BEST, "cpu")
    sample = max(splits.query, key=lambda s: len(s.paths))
    together = rt.embed(model, [sample.paths]).vectors
    row = splits.query.index(sample)
    assert torch.allclose(together[0], torch.from_numpy(kept["vectors"][row]), atol=1e-5)
    typed(
        f"test.py MODEL.WEIGHTS {BEST} DATASETS.NAMES mars DATASETS.TESTS mars DATASETS.ROOT data "
        "TEST.FRAME_CHOICE even INPUT.FRAMES 2 OUTPUT_DIR fewer TEST.FEATURES fewer"
    )
    two = rt.embed(model, [[sample.paths[0], sample.paths[-1]]]).vectors[0]
    fewer = torch.from_numpy(np.load("fewer/mars_query.npz")["vectors"][row])
    assert torch.allclose(two, fewer, atol=1e-5) and not torch.allclose(two, together[0], atol=1e-3)


def test_tracklets_enter_a_gallery_like_pictures(typed, place):
    typed(f"search.py --gallery g --build mars DATASETS.ROOT data MODEL.WEIGHTS {BEST}")
    gallery, splits = rt.Gallery.open("g"), load_dataset("mars", place / "data")
    assert len(gallery) == len(splits.gallery)
    tracklet = splits.query[0]
    (place / "who").mkdir()
    for path in tracklet.paths:
        (place / "who" / Path(path).name).write_bytes(Path(path).read_bytes())
    typed("search.py --gallery g --add who --tracklets")
    assert len(rt.Gallery.open("g")) == len(gallery) + 1
    typed("search.py --gallery g --add who --tracklets")  # there already
    assert len(rt.Gallery.open("g")) == len(gallery) + 1
    out = typed("search.py --gallery g --query who --tracklets --topk 2 --picture")
    first = sorted((place / "who").iterdir())[0].name
    assert f"1: who/{first}, Score: 1.0000" in out
    assert next(Path("output_dir/ranked").iterdir()).is_file()
    out = typed("search.py --gallery g --query who --tracklets --hide-same-camera --topk 0")
    hits = [line for line in out.splitlines() if ", Score: " in line]
    assert hits and not any(f"C{tracklet.camid + 1}T" in hit for hit in hits)
    found = rt.search("g", rt.load(BEST, "cpu"), [tracklet.paths], topk=1)
    assert found.hits.distances[0, 0] == pytest.approx(0, abs=1e-5)
    typed("search.py --gallery g --remove who")
    assert len(rt.Gallery.open("g")) == len(gallery)


@pytest.mark.parametrize("pooling", ["Mean", "Max", "GeM", "Attention"])
def test_every_pooling_trains_and_tests_alike(pooling, place, monkeypatch):
    monkeypatch.chdir(place)
    words = ["MODEL.TEMPORAL.NAME", pooling, "OUTPUT_DIR", f"pooling/{pooling}"]
    cfg = rt.get_config(ROOT / "configs/demo.yml", [*SMALL, *words])
    report = rt.train(cfg)
    weights = f"pooling/{pooling}/model_final.pth"
    again = rt.evaluate(rt.get_config((), ["MODEL.WEIGHTS", weights]))
    assert again.figures["toy_mars"] == pytest.approx(report.figures["toy_mars"])
    normed = rt.get_config((), ["MODEL.WEIGHTS", weights, "MODEL.TEMPORAL.NORM_FRAMES", "True"])
    models = [rt.load(weights, "cpu"), build.embedder(normed)]
    assert [type(model.temporal).__name__ for model in models] == [pooling, pooling]
    assert [model.temporal.norm_frames for model in models] == [False, True]


@pytest.mark.parametrize("name", ["vit_mars", "osnet_x0_25_mars"])
def test_the_recipes_take_a_few_steps(name, place, monkeypatch):
    monkeypatch.chdir(place)
    words = ["MODEL.BACKBONE.PRETRAIN", "False", "OUTPUT_DIR", f"recipe/{name}", *SMALL]
    words += ["MODEL.BACKBONE.NAME", "vit_small_patch16"] if name == "vit_mars" else []
    cfg = rt.get_config(ROOT / f"configs/{name}.yml", [*words, "SOLVER.WARMUP_EPOCHS", "0"])
    rt.train(cfg)
    after = rt.load(f"recipe/{name}/model_final.pth", "cpu")
    torch.manual_seed(cfg.SEED)
    before = build.embedder(cfg)
    moved = [n for n, w in before.named_parameters() if not torch.equal(w, after.get_parameter(n))]
    assert len(moved) > 0.9 * len(list(before.parameters()))
    batches = build.loss_batches(
        cfg, "toy_mars", build.splits(cfg, "toy_mars"), torch.device("cpu")
    )
    if name == "osnet_x0_25_mars":  # asks for none
        assert batches is None
    else:
        (batch, *_), again = list(batches), next(iter(batches))
        assert batch["images"].shape == (6, 3, 3, 32, 16) and batch["pids"].min() > 0
        assert torch.equal(batch["images"], again["images"])


def test_losses_on_test_people_are_at_the_resolution_of_the_test(place):
    words = [
        *SMALL,
        "DATASETS.ROOT",
        str(place / "data"),
        "INPUT.SCALE",
        "2",
        "TEST.LOSS_BATCHES",
        "1",
    ]
    cfg = rt.get_config(ROOT / "configs/osnet_x0_25_mars.yml", words)
    splits = build.splits(cfg, "toy_mars")
    (batch,) = build.loss_batches(cfg, "toy_mars", splits, torch.device("cpu"))
    assert set(batch["scales"]) == {2.0}


def test_micro_batches_train_the_same_network(place, monkeypatch):
    """A ViT has no batch norm, so parts of a batch give the weights of the whole."""
    monkeypatch.chdir(place)
    weights, seen, forward = [], [], TimmBackbone.forward

    def counted(self, images):
        if self.training:
            seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(TimmBackbone, "forward", counted)
    for size in ("0", "5"):
        words = [*SMALL, "MODEL.BACKBONE.PRETRAIN", "False", "SOLVER.MICRO_BATCH", size]
        words += ["MODEL.BACKBONE.NAME", "timm", "MODEL.BACKBONE.TIMM_NAME", "vit_tiny_patch16_224"]
        words += [
            "MODEL.HEADS.EMBEDDING_DIM",
            "16",
            "SOLVER.OPT",
            "SGD",
            "SOLVER.WARMUP_EPOCHS",
            "0",
        ]
        words += ["OUTPUT_DIR", f"micro/{size}", "TEST.EVAL_PERIOD", "0"]
        seen.clear()
        rt.train(rt.get_config(ROOT / "configs/osnet_x0_25_mars.yml", words))
        weights.append(torch.load(f"micro/{size}/model_final.pth", weights_only=True)["model"])
        assert max(seen) == (5 if size == "5" else 18)  # of the 6 x 3 pictures of a batch
    whole, parts = weights
    for key, value in whole.items():
        assert torch.allclose(value.float(), parts[key].float(), atol=1e-5), key


def test_what_is_wrong_is_said_before_training(typed, place):
    base = f"train_net.py --config-file {ROOT}/configs/osnet_x0_25_mars.yml {' '.join(SMALL)}"
    err = typed(f"{base} INPUT.FRAMES 0", fails=True)
    assert "INPUT.FRAMES is 0; it must be at least 1" in err
    err = typed(f"{base} MODEL.TEMPORAL.NAME Median", fails=True)
    assert "Unknown temporal pooling 'Median'" in err and "Mean" in err
    err = typed(
        f"{base} MODEL.BACKBONE.NAME vit_small_patch16 INPUT.SIZE_TRAIN [36,16]", fails=True
    )
    assert "patches of 16 x 16" in err
    torn = sorted((place / "data/toy_mars/bbox_train").glob("*/*F003.jpg"))[0]
    whole = torn.read_bytes()
    try:
        torn.write_bytes(whole[: len(whole) // 2])
        err = typed(f"{base} MODEL.BACKBONE.PRETRAIN False", fails=True)
        assert "1 of " in err and f"{torn.name} (truncated)" in err
    finally:
        torn.write_bytes(whole)
    assert not Path("logs").exists()


def test_arrays_make_tracklets_too(place):
    model = rt.load(place / BEST, "cpu")
    path = load_dataset("mars", place / "data").query[0].paths[0]
    frame = np.asarray(Image.open(path))
    found = rt.embed(model, [[frame, frame], frame, [path]])
    assert found.paths == ["picture 0.0", "picture 1", path]
    assert torch.allclose(found.vectors[0], found.vectors[1], atol=1e-5)
    assert torch.allclose(found.vectors[1], found.vectors[2], atol=1e-2)  # JPEG decoders differ
    samples = load_dataset("mars", place / "data").query[:3]
    known = rt.embed(model, samples)
    assert known.pids.tolist() == [sample.pid for sample in samples] and known.camids.min() >= 0
    assert torch.equal(known.vectors, rt.embed(model, [s.paths for s in samples]).vectors)
    with pytest.raises(ValueError, match="There are no pictures to embed"):
        rt.embed(model, [])
    with pytest.raises(ValueError, match="1 of 2 tracklets have no frames"):
        rt.embed(model, [[], [path]])
