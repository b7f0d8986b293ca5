"""The config.yaml of the MARS document, spec 2.1, is a config."""

import logging
import runpy
import sys
from pathlib import Path

import pytest

from reidtools.config.cli import parse
from reidtools.config.compat import flatten
from reidtools.config.load import load, plain, resolve
from reidtools.config.mars_document import KNOWN, MARS_DEFAULTS

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "configs" / "vit_mars.yml"
SHORT = ROOT / "configs" / "osnet_x0_25_mars.yml"
DOCUMENT = """
experiment:
  name: mars_vit_b16
data:
  root: data/mars/processed
  index_csv: data/mars/processed/index.csv
  image_size: [256, 128]
  sequence_len: 25
  num_workers: 4
model:
  backbone: vit_base_patch16_224
  pretrained: true
  embed_dim: 512
  dropout: 0.1
train:
  epochs: 60
  batch:
    P: 16
    K: 4
  optimizer:
    name: adamw
    lr: 1e-4
    weight_decay: 0.05
  scheduler:
    name: cosine
    warmup_epochs: 5
loss:
  ce:
    label_smoothing: 0.1
    weight: 1.0
  triplet:
    margin: 0.3
    weight: 1.0
eval:
  normalize_embeddings: true
"""


@pytest.fixture
def seed(tmp_path):
    """The document's file."""
    return write(tmp_path, DOCUMENT)


def write(folder, text):
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def flat(config):
    return flatten(plain(config))


def differences(one, other):
    one, other = flat(one), flat(other)
    return {
        key: one.get(key) for key in one.keys() | other.keys() if one.get(key) != other.get(key)
    }


def typed(text, *files):
    return load(files, text.split())


def test_the_document_is_our_recipe_on_an_index(seed):
    assert differences(load(seed), load(RECIPE)) == {
        "OUTPUT_DIR": "runs/mars_vit_b16/checkpoints",
        "DATASETS.ROOT": "data/mars/processed",
        "DATASETS.NAMES": ["sequences"],
        "DATASETS.SEQUENCES.INDEX_CSV": "data/mars/processed/index.csv",
        "DATASETS.SEQUENCES.SPLIT": "auto",
    }


def test_every_key_is_told_with_ours(seed):
    _, notes = resolve(seed)
    for key in KNOWN:
        assert sum(note.startswith(f"{key} ") for note in notes) == 1, key
    assert "train.epochs 60 is read as SOLVER.MAX_EPOCH 60." in notes
    assert notes[-1] == "What the MARS document leaves open is as in configs/vit_mars.yml."
    assert "eval.normalize_embeddings True is read as TEST.METRIC cosine." in notes


def test_what_the_document_leaves_open_is_as_in_our_recipe(tmp_path):
    recipe = load(RECIPE)
    assert {key: flat(recipe)[key] for key in MARS_DEFAULTS} == MARS_DEFAULTS
    silent = load(write(tmp_path, "data: {root: datasets}\ntrain: {epochs: 60}\nmodel:\nloss: {}"))
    assert silent == recipe


def test_the_printed_config_is_the_same_config(seed, tmp_path):
    config = load(seed)
    ours = tmp_path / "ours.yml"
    ours.write_text(config.dump(), encoding="utf-8")
    assert resolve(ours) == (config, [])  # not a word of theirs is left
    assert load([seed, ours]) == config and load([ours, seed]) == config


def test_our_words_win_over_the_document(seed):
    config = typed(
        "SOLVER.MAX_EPOCH 3 SOLVER.IMS_PER_BATCH 32 MODEL.BACKBONE.PRETRAIN False DATASETS.NAMES "
        "mars TEST.METRIC euclidean INPUT.FRAMES 4 MODEL.LOSSES.TripletLoss.NORM_FEAT False "
        "MODEL.TEMPORAL.NAME Max OUTPUT_DIR elsewhere INPUT.SIZE_TRAIN [64,32]",
        seed,
    )
    assert (config.SOLVER.MAX_EPOCH, config.SOLVER.IMS_PER_BATCH, config.INPUT.FRAMES) == (3, 32, 4)
    assert config.DATALOADER.SAMPLER.NUM_INSTANCE == 4 and config.OUTPUT_DIR == "elsewhere"
    assert config.MODEL.BACKBONE.PRETRAIN is False and config.TEST.METRIC == "euclidean"
    assert config.DATASETS.NAMES == ["mars"] and config.INPUT.SIZE_TRAIN == [64, 32]
    assert config.MODEL.TEMPORAL.NAME == "Max" and config.MODEL.TEMPORAL.NORM_FRAMES is True
    assert config.MODEL.LOSSES.TripletLoss.NORM_FEAT is False
    other = typed("MODEL.BACKBONE.NAME osnet_x0_25 MODEL.BACKBONE.FC False", seed)
    assert other.MODEL.BACKBONE.FC is False and "DROP_PATH" not in other.MODEL.BACKBONE


def test_over_and_under_files_of_ours(seed):
    over = load([SHORT, seed])
    assert over.MODEL.BACKBONE.NAME == "vit_base_patch16" and "FC" not in over.MODEL.BACKBONE
    assert (over.SOLVER.WARMUP_EPOCHS, over.SOLVER.WARMUP_ITERS) == (5, 0)  # a run warms up once
    assert over.DATALOADER.CACHE == "ram" and over.DATASETS.NAMES == ["sequences"]
    under = load([seed, SHORT])
    assert flat(under).items() >= {
        ("MODEL.BACKBONE.NAME", "osnet_x0_25"),
        ("INPUT.FRAMES", 4),
        ("SOLVER.WARMUP_EPOCHS", 0),
        ("SOLVER.WARMUP_ITERS", 100),
        ("SOLVER.MAX_EPOCH", 8),
        ("DATASETS.ROOT", "data/mars/processed"),
    }
    assert typed("train.epochs 3", seed, SHORT).SOLVER.MAX_EPOCH == 3
    fragment = load([seed, ROOT / "configs" / "ctl.yml"])
    assert fragment.MODEL.LOSSES.TripletLoss.MARGIN == 0.5 and fragment.INPUT.FRAMES == 25


@pytest.mark.parametrize("order", [("backbone", "pretrained"), ("pretrained", "backbone")])
def test_a_new_backbone_keeps_what_the_document_says_of_it(tmp_path, order):
    words = {"backbone": "vit_s16", "pretrained": "false"}
    node = ", ".join(f"{key}: {words[key]}" for key in order)
    config = load([SHORT, write(tmp_path, f"model: {{{node}}}")])
    assert config.MODEL.BACKBONE.NAME == "vit_small_patch16"
    assert config.MODEL.BACKBONE.PRETRAIN is False


def test_single_keys_bring_nothing_else():
    ours = load(SHORT)
    config = typed("train.epochs 3 data.root /data", SHORT)
    assert differences(config, ours) == {"SOLVER.MAX_EPOCH": 3, "DATASETS.ROOT": "/data"}
    assert differences(typed("train.batch.K 8", SHORT), ours) == {
        "SOLVER.IMS_PER_BATCH": 128,  # 16 people, as before
        "DATALOADER.SAMPLER.NUM_INSTANCE": 8,
    }
    assert typed("train.batch.P 8", SHORT).SOLVER.IMS_PER_BATCH == 32
    assert differences(typed("train.epochs 3"), load()) == {"SOLVER.MAX_EPOCH": 3}
    drawn = typed("train.batch.P 8", ROOT / "configs" / "densenet121_224.yml")
    assert drawn.DATALOADER.SAMPLER.NAME == "RandomIdentitySampler"


@pytest.mark.parametrize(
    ("word", "name", "timm_name"),
    [
        ("vit_base_patch16_224", "vit_base_patch16", None),
        ("vit_base_patch16", "vit_base_patch16", None),
        ("vit_b16", "vit_base_patch16", None),
        ("vit_b_16", "vit_base_patch16", None),
        ("ViT-B/16", "vit_base_patch16", None),
        ("vit_small_patch16_224", "vit_small_patch16", None),
        ("vit_s16", "vit_small_patch16", None),
        ("ViT-S/16", "vit_small_patch16", None),
        ("osnet_x0_25", "osnet_x0_25", None),
        ("vit_base_patch16_384", "timm", "vit_base_patch16_384"),
        ("vit_base_patch16_224.mae", "timm", "vit_base_patch16_224.mae"),
        ("vit_base_patch32_224", "timm", "vit_base_patch32_224"),
        ("resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
    ],
)
def test_a_backbone_in_their_words(seed, word, name, timm_name):
    backbone = typed(f"model.backbone {word}", seed).MODEL.BACKBONE
    assert (backbone.NAME, backbone.get("TIMM_NAME")) == (name, timm_name)
    assert backbone.get("DROP_PATH", 0.0) == 0.0


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("train.optimizer.name AdamW", "SOLVER.OPT", "AdamW"),
        ("train.optimizer.name adam", "SOLVER.OPT", "Adam"),
        ("train.optimizer.name sgd", "SOLVER.OPT", "SGD"),
        ("train.scheduler.name cosine", "SOLVER.SCHED", "CosineAnnealingLR"),
        ("train.scheduler.name CosineAnnealingLR", "SOLVER.SCHED", "CosineAnnealingLR"),
        ("train.scheduler.name step", "SOLVER.SCHED", "MultiStepLR"),
        ("train.scheduler.name multi_step", "SOLVER.SCHED", "MultiStepLR"),
        ("train.scheduler.name constant", "SOLVER.SCHED", "ConstantLR"),
        ("train.scheduler.name none", "SOLVER.SCHED", "ConstantLR"),
        ("train.scheduler.name null", "SOLVER.SCHED", "ConstantLR"),
        ("eval.normalize_embeddings false", "TEST.METRIC", "euclidean"),
        ("data.image_size [384,192]", "INPUT.SIZE_TRAIN", [384, 192]),
        ("loss.triplet.weight 0", "MODEL.LOSSES.TripletLoss.WEIGHT", 0.0),
        ("experiment.name 007", "OUTPUT_DIR", "runs/007/checkpoints"),
        ("EXP_NAME second", "OUTPUT_DIR", "runs/second/checkpoints"),  # that is --exp_name second
    ],
)
def test_words_of_theirs(seed, pair, key, value):
    assert flat(typed(pair, seed))[key] == value


@pytest.mark.parametrize(
    ("pair", "kind", "message"),
    [
        ("train.epoch 3", LookupError, "Did you mean 'train.epochs'"),
        ("train.bacth.P 3", LookupError, "Did you mean 'train.batch.P'"),
        ("model.embedding_dim 3", LookupError, "Did you mean 'model.embed_dim'"),
        ("trian.epochs 3", LookupError, "'trian.epochs'. Did you mean 'train.epochs'"),
        ("train.optimizer.name lion", LookupError, "Unknown train.optimizer.name 'lion'"),
        ("train.scheduler.name cosin", LookupError, "Did you mean 'cosine'"),
        (
            "train.batch 3",
            TypeError,
            "it holds keys, such as train.batch.P",
        ),
        ("eval.normalize_embeddings 3", TypeError, "write true or false"),
        ("train.epochs many", TypeError, "SOLVER.MAX_EPOCH is 'many'; expected int"),
        ("train.batch.K 0", ValueError, "train.batch.K is 0; write a whole number above 0"),
        ("train.batch.P x", ValueError, "train.batch.P is 'x'"),
        ("experiment.name a/b", ValueError, "experiment.name names the run"),
        ("data.image_size 256", ValueError, "INPUT.SIZE_TRAIN is [256]; it is height and width"),
    ],
)
def test_what_the_document_cannot_mean(seed, pair, kind, message):
    with pytest.raises(kind) as caught:
        typed(pair, seed)
    assert message in str(caught.value)


def test_translations_are_warned_of(seed, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("reidtools"), "propagate", True)
    load(seed)
    assert "data.sequence_len 25 is read as INPUT.FRAMES 25." in caplog.messages


def test_the_short_recipe_is_the_short_one_on_tracklets():
    changed = differences(load(SHORT), load(ROOT / "configs" / "osnet_x0_25_short.yml"))
    assert changed == {"INPUT.FRAMES": 4, "DATASETS.NAMES": ["mars"]}


@pytest.mark.parametrize("empty", ["null", "''", ""])
def test_an_empty_index_is_that_of_the_root(tmp_path, empty):
    text = DOCUMENT.replace("index_csv: data/mars/processed/index.csv", f"index_csv: {empty}")
    datasets = load(write(tmp_path, text)).DATASETS
    assert datasets.NAMES == ["sequences"] and datasets.SEQUENCES.INDEX_CSV == ""


def test_a_file_may_mix_their_words_and_ours(tmp_path):
    text = "TEST: {FLIP: raw}\nDATASETS: {TESTS: toy}\n" + DOCUMENT
    config = load(write(tmp_path, text + "SOLVER: {CHECKPOINT_PERIOD: 1}"))
    assert config.DATASETS.TESTS == ["toy"] and config.TEST.FLIP == "raw"
    assert config.SOLVER.CHECKPOINT_PERIOD == 1 and config.INPUT.FRAME_CHOICE == "random"


def test_the_document_s_command(seed, tmp_path, monkeypatch, capsys):
    both = parse("A tool.", ["--config", "a.yml", "--config_file", "b.yml"])
    assert both.config_file == ["a.yml", "b.yml"]
    monkeypatch.syspath_prepend(ROOT / "tools")
    printed = []
    for name, word in (("train.py", "--config"), ("train_net.py", "--config-file")):
        words = [name, word, str(seed), "--print-config", "--exp_name", "second"]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    ours = tmp_path / "ours.yml"
    ours.write_text(printed[0], encoding="utf-8")
    assert load(ours) == load(seed, ["EXP_NAME", "second"])
    assert load(ours).OUTPUT_DIR == "runs/second/checkpoints"
