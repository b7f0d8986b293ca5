"""The YAML of CLIP-ReID and of TransReID is a config; the numbers are those of spec 4.2 and 4.3."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from reidtools.config.compat import flatten, translate
from reidtools.config.load import load, merge, plain, resolve, spell
from reidtools.config.stages import split_stages
from reidtools.registry import call
from reidtools.solver import make_schedule

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "configs" / "clip_prompts.yml"
LR = ROOT / "tests" / "golden" / "lr.json"
CLIP = """
MODEL:
  NAME: 'ViT-B-16'
  PRETRAIN_CHOICE: 'imagenet'
  METRIC_LOSS_TYPE: 'triplet'
  IF_LABELSMOOTH: 'on'
  IF_WITH_CENTER: 'no'
  ID_LOSS_WEIGHT : 0.25
  TRIPLET_LOSS_WEIGHT : 1.0
  I2T_LOSS_WEIGHT : 1.0
  STRIDE_SIZE: [16, 16]
INPUT:
  SIZE_TRAIN: [256, 128]
  SIZE_TEST: [256, 128]
  PROB: 0.5
  RE_PROB: 0.4
  PADDING: 10
  PIXEL_MEAN: [0.5, 0.5, 0.5]
  PIXEL_STD: [0.5, 0.5, 0.5]
DATALOADER: {SAMPLER: 'softmax_triplet', NUM_INSTANCE: 4, NUM_WORKERS: 8}
SOLVER:
  STAGE1: {IMS_PER_BATCH: 64, OPTIMIZER_NAME: "Adam", BASE_LR: 0.00035, WARMUP_LR_INIT: 0.00001,
           LR_MIN: 1e-6, WARMUP_METHOD: 'linear', WEIGHT_DECAY: 1e-4, WEIGHT_DECAY_BIAS: 1e-4,
           MAX_EPOCHS: 120, CHECKPOINT_PERIOD: 120, LOG_PERIOD: 50, WARMUP_EPOCHS: 5}
  STAGE2: {IMS_PER_BATCH: 32, OPTIMIZER_NAME: "Adam", BASE_LR: 0.000005, WARMUP_METHOD: 'linear',
           WARMUP_ITERS: 10, WARMUP_FACTOR: 0.1, WEIGHT_DECAY: 0.0001, WEIGHT_DECAY_BIAS: 0.0001,
           LARGE_FC_LR: False, MAX_EPOCHS: 60, CHECKPOINT_PERIOD: 60, LOG_PERIOD: 50,
           EVAL_PERIOD: 30, BIAS_LR_FACTOR: 2, STEPS: [30, 50], GAMMA: 0.1}
TEST: {EVAL: True, IMS_PER_BATCH: 64, RE_RANKING: False, WEIGHT: '', NECK_FEAT: 'before',
       FEAT_NORM: 'yes'}
DATASETS:
  NAMES: ('market1501')
  ROOT_DIR: ('')
"""
TRANSREID = """
MODEL:
  NAME: 'transformer'
  PRETRAIN_CHOICE: 'imagenet'
  PRETRAIN_PATH: 'weights/vit.pth'
  METRIC_LOSS_TYPE: 'triplet'
  IF_LABELSMOOTH: 'off'
  IF_WITH_CENTER: 'no'
  NO_MARGIN: True
  DEVICE_ID: ('7')
  TRANSFORMER_TYPE: 'vit_base_patch16_224_TransReID'
  STRIDE_SIZE: [16, 16]
INPUT: {SIZE_TRAIN: [256, 128], PIXEL_MEAN: [0.5, 0.5, 0.5], PIXEL_STD: [0.5, 0.5, 0.5]}
DATASETS: {NAMES: ('dukemtmc'), ROOT_DIR: ('../../data')}
DATALOADER: {SAMPLER: 'softmax_triplet', NUM_INSTANCE: 4, NUM_WORKERS: 8}
SOLVER: {OPTIMIZER_NAME: 'SGD', MAX_EPOCHS: 120, BASE_LR: 0.008, IMS_PER_BATCH: 64,
         WARMUP_METHOD: 'linear', LARGE_FC_LR: False, CHECKPOINT_PERIOD: 120, LOG_PERIOD: 50,
         EVAL_PERIOD: 60, WEIGHT_DECAY: 1e-4, WEIGHT_DECAY_BIAS: 1e-4, BIAS_LR_FACTOR: 2}
TEST: {EVAL: True, IMS_PER_BATCH: 256, RE_RANKING: False, WEIGHT: '', NECK_FEAT: 'before',
       FEAT_NORM: 'yes'}
OUTPUT_DIR: 'logs/vit'
"""


def write(folder, text, name="theirs.yml"):
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def clip(tmp_path):
    """A file of CLIP-ReID."""
    return write(tmp_path, CLIP)


@pytest.fixture
def transreid(tmp_path):
    """A file of TransReID."""
    return write(tmp_path, TRANSREID)


def flat(config):
    return flatten(plain(config))


def rates(config, epochs):
    """The learning rate in each epoch of a schedule with two iterations an epoch."""
    solver = {key.lower(): value for key, value in plain(config)["SOLVER"].items()}
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=solver["base_lr"])
    keys = {key for key in solver if key in make_schedule.__kwdefaults__}
    facts = {"optimizer": optimizer, "iterations_per_epoch": 2, "max_epoch": solver["max_epoch"]}
    schedule = call(make_schedule, facts, {key: solver[key] for key in keys})
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        for _ in range(2):
            optimizer.step()
            schedule.step()
    return found


def golden(name):
    entries = {entry["id"]: entry for entry in json.loads(LR.read_text(encoding="utf-8"))}
    return entries[name]["expect"]["lr"]


def test_stage_2_of_clip_reid(clip):
    config = load(clip)
    assert flat(config).items() >= {
        ("METHOD", "clipreid"),
        ("LOG.STAGE", "stage2"),
        ("SEED", 1234),
        ("MODEL.BACKBONE.NAME", "clip_vit_b16"),
        ("MODEL.BACKBONE.PRETRAIN", True),
        ("MODEL.HEADS.NAME", "ClipNecks"),
        ("MODEL.HEADS.TEST_FEAT", "before"),
        ("MODEL.LOSSES.CrossEntropyLoss.WEIGHT", 0.25),
        ("MODEL.LOSSES.CrossEntropyLoss.EPSILON", 0.1),
        ("MODEL.LOSSES.TripletLoss.MARGIN", 0.3),
        ("MODEL.LOSSES.PromptLoss.EPSILON", 0.1),
        ("MODEL.LOSSES.PromptLoss.LEARN", False),
        ("INPUT.FLIP_PROB", 0.5),
        ("INPUT.REA_PROB", 0.4),
        ("INPUT.REA_MODE", "pixel"),
        ("DATASETS.ROOT", "datasets"),
        ("DATALOADER.NUM_WORKERS", 8),
        ("DATALOADER.SAMPLER.NAME", "RandomIdentitySampler"),
        ("DATALOADER.SAMPLER.NUM_INSTANCE", 4),
        ("SOLVER.IMS_PER_BATCH", 32),  # pictures there as well
        ("SOLVER.OPT", "Adam"),
        ("SOLVER.MAX_EPOCH", 60),
        ("SOLVER.WARMUP_EPOCHS", 10),  # called WARMUP_ITERS there
        ("SOLVER.WARMUP_ITERS", 0),
        ("SOLVER.BIAS_LR_FACTOR", 2.0),
        ("SOLVER.CHECKPOINT_PERIOD", 60),
        ("SOLVER.AMP.ENABLED", True),
        ("TEST.EVAL_PERIOD", 30),
        ("TEST.METRIC", "cosine"),
        ("TEST.RERANK.ENABLED", False),
        ("TEST.RERANK.K1", 50),
        ("TEST.RERANK.K2", 15),
        ("TEST.RERANK.LAMBDA", 0.3),
    }
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss", "PromptLoss"}
    assert config.DATASETS.NAMES == ["market1501"]


def test_stage_1_of_clip_reid(clip):
    config, _ = resolve([clip, PROMPTS], stage=1)
    assert [n for n, loss in config.MODEL.LOSSES.items() if loss.WEIGHT] == ["PromptLoss"]
    assert config.MODEL.LOSSES.PromptLoss.LEARN is True
    assert dict(config.DATALOADER.SAMPLER) == {"NAME": "RandomSampler", "DROP_LAST": False}
    assert flat(config).items() >= {
        ("LOG.STAGE", "stage1"),
        ("SOLVER.FREEZE", "model"),
        ("SOLVER.IMS_PER_BATCH", 64),
        ("SOLVER.MAX_EPOCH", 120),
        ("SOLVER.SCHED", "CosineAnnealingLR"),
        ("SOLVER.ETA_MIN_LR", 1e-6),
        ("SOLVER.WARMUP_EPOCHS", 5),
        ("SOLVER.WARMUP_FACTOR", 1e-5 / 3.5e-4),
        ("SOLVER.WEIGHT_DECAY", 1e-4),
        ("TEST.EVAL_PERIOD", 0),
    }


@pytest.mark.parametrize(
    ("document", "stage", "name"),
    [
        (CLIP, 1, "clipreid.lr.stage1.ViT-B-16"),
        (CLIP, 2, "clipreid.lr.stage2.ViT-B-16"),
        (CLIP.replace("MAX_EPOCHS: 120", "MAX_EPOCHS: 60"), 1, "clipreid.lr.stage1.RN50"),
        (TRANSREID, 2, "transreid.lr.cosine.base0.008_E120"),
    ],
)
def test_the_rates_are_theirs(tmp_path, document, stage, name):
    over = [PROMPTS] if stage == 1 else []
    config, _ = resolve([write(tmp_path, document), *over], stage=stage)
    expected = golden(name)
    assert rates(config, len(expected)) == pytest.approx(expected, rel=1e-6)


def test_the_baseline_without_texts_counts_its_warm_up_in_epochs(tmp_path):
    solver = "SOLVER: {MAX_EPOCHS: 60, BASE_LR: 5e-6, WARMUP_ITERS: 10, STEPS: [30, 50]}\n"
    text = "MODEL: {NAME: RN50, PRETRAIN_CHOICE: imagenet, STRIDE_SIZE: [16, 16], LAST_STRIDE: 1}\n"
    text += "DATALOADER: {SAMPLER: softmax_triplet}\n"
    file = write(tmp_path, text + solver)
    config, notes = resolve(file)
    assert config.MODEL.BACKBONE.NAME == "clip_rn50" and config.METHOD == "baseline"
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss"}
    assert (config.SOLVER.WARMUP_EPOCHS, config.SOLVER.WARMUP_ITERS) == (10, 0)
    assert config.SOLVER.SCHED == "MultiStepLR" and config.SOLVER.FIRST_EPOCH == 1
    assert "MODEL.LAST_STRIDE 1 has no effect here: clip_rn50 has no such option." in notes
    # What it leaves open is as there, and told.
    assert config.MODEL.HEADS.TEST_FEAT == "after" and config.INPUT.SIZE_TRAIN == [384, 128]
    assert config.DATALOADER.SAMPLER.NUM_INSTANCE == 16
    told = next(note for note in notes if note.startswith("Where the file is silent"))
    assert "INPUT.SIZE_TRAIN [384, 128]" in told and "SOLVER.MAX_EPOCH" not in told
    # As a second file as well: what counts epochs is not taken for iterations.
    over = load([ROOT / "configs" / "256_resnet50.yml", file])
    assert (over.SOLVER.WARMUP_EPOCHS, over.SOLVER.WARMUP_ITERS) == (10, 0)
    assert over.MODEL.LOSSES.CenterLoss.WEIGHT == 0.0  # the base brought it


def test_the_plain_vit_of_transreid(transreid):
    config = load(transreid)
    assert config.MODEL.BACKBONE.STRIDE_SIZE == [16, 16]
    config.MODEL.BACKBONE.pop("STRIDE_SIZE")
    assert flat(config).items() >= {
        ("MODEL.BACKBONE.NAME", "transreid_vit_base"),
        ("MODEL.BACKBONE.PRETRAIN_PATH", "weights/vit.pth"),
        ("MODEL.BACKBONE.DROP_PATH", 0.1),
        ("MODEL.HEADS.NAME", "BNNeck"),
        ("MODEL.LOSSES.CrossEntropyLoss.EPSILON", 0.0),
        ("MODEL.LOSSES.TripletLoss.MARGIN", 0.0),
        ("MODEL.WEIGHTS", ""),
        ("DATASETS.ROOT", "../../data"),
        ("SOLVER.OPT", "SGD"),
        ("SOLVER.SCHED", "CosineAnnealingLR"),
        ("SOLVER.WARMUP_EPOCHS", 5),
        ("SOLVER.FIRST_EPOCH", 1),
        ("INPUT.REA_MODE", "pixel"),
    }
    assert config.SOLVER.ETA_MIN_LR == pytest.approx(0.002 * 0.008)
    assert config.DATASETS.NAMES == ["dukemtmcreid"]
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("vit_base_patch16_224", "transreid_vit_base"),
        ("vit_small_patch16_224_TransReID", "transreid_vit_small"),
        ("deit_small_patch16_224_TransReID", "transreid_deit_small"),
        ("swin_base_patch4_window7_224", "solider_swin_base"),
    ],
)
def test_transformers_of_transreid_and_solider(transreid, kind, name):
    backbone = load(transreid, ["MODEL.TRANSFORMER_TYPE", kind]).MODEL.BACKBONE
    assert (backbone.NAME, backbone.DROP_PATH) == (name, 0.1)


def test_all_of_transreid(transreid):
    """Side information, patches that overlap, and the jigsaw of patches with its five necks."""
    words = {"SIE_CAMERA": "True", "SIE_COE": "3.0", "STRIDE_SIZE": "[12,12]", "JPM": "True"}
    words |= {"RE_ARRANGE": "True", "SHIFT_NUM": "5", "SHUFFLE_GROUP": "2", "DEVIDE_LENGTH": "4"}
    typed = [word for key, value in words.items() for word in (f"MODEL.{key}", value)]
    config = load(transreid, typed)
    backbone = config.MODEL.BACKBONE
    assert backbone.JPM and backbone.SIE_CAMERA and backbone.STRIDE_SIZE == [12, 12]
    assert (backbone.SHIFT_NUM, backbone.SHUFFLE_GROUPS, backbone.DIVIDE_LENGTH) == (5, 2, 4)
    in_order = load(transreid, [*typed, "MODEL.RE_ARRANGE", "False"]).MODEL.BACKBONE
    assert (in_order.SHIFT_NUM, in_order.SHUFFLE_GROUPS) == (1, 1)
    assert config.MODEL.HEADS == {"NAME": "PartNecks", "TEST_FEAT": "before"}
    assert config.INPUT.INTERPOLATION == "bicubic"


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("arcface", "ArcFace"),
        ("cosface", "CosSoftmax"),
        ("amsoftmax", "CosSoftmax"),
        ("circle", "CircleSoftmax"),
    ],
)
def test_classifiers_of_transreid(transreid, kind, layer):
    loss = load(transreid, ["MODEL.ID_LOSS_TYPE", kind]).MODEL.LOSSES.CrossEntropyLoss
    assert (loss.CLS_LAYER, loss.SCALE, loss.MARGIN) == (layer, 30.0, 0.5)
    typed = ["MODEL.COS_LAYER", "True", "SOLVER.COSINE_SCALE", "64", "SOLVER.COSINE_MARGIN", "0.3"]
    loss = load(transreid, typed).MODEL.LOSSES.CrossEntropyLoss
    assert (loss.CLS_LAYER, loss.SCALE, loss.MARGIN) == ("ArcFace", 64.0, 0.3)


@pytest.mark.parametrize(
    ("document", "stage"), [(CLIP, 1), (CLIP, 2), (TRANSREID, 2)], ids=["1", "2", "TransReID"]
)
def test_the_printed_config_is_the_same_config(tmp_path, document, stage):
    over = [PROMPTS] if stage == 1 else []
    config, notes = resolve([write(tmp_path, document), *over], stage=stage)
    assert notes
    ours = write(tmp_path, config.dump(), "ours.yml")
    assert resolve(ours, stage=stage) == (config, [])  # not a word of theirs is left


def test_a_tool_prints_it(tmp_path, clip, type_tool):
    typed = ["--config_file", clip, "--print-config", "SOLVER.MAX_EPOCH", "7"]
    code, printed, _ = type_tool("train_net.py", *typed)
    assert code == 0
    config = load(write(tmp_path, printed, "ours.yml"))
    assert config == load(clip, ["SOLVER.MAX_EPOCH", "7"]) and config.SOLVER.MAX_EPOCH == 7


def test_both_stages_are_printed(tmp_path, clip, type_tool):
    _, printed, _ = type_tool("train_clipreid.py", "--config-file", clip, "--print-config")
    first, second = printed.split("---\n")
    assert load(write(tmp_path, first, "1.yml")) == resolve([clip, PROMPTS], stage=1)[0]
    assert load(write(tmp_path, second, "2.yml")) == load(clip)


def test_words_of_theirs_over_files_of_ours():
    ours = ROOT / "configs" / "clip_vit_b16.yml"
    words = "MODEL.SIE_CAMERA True MODEL.SIE_COE 1.0 MODEL.STRIDE_SIZE [12,12]"
    typed = load(ours, words.split())
    changed = {key: value for key, value in flat(typed).items() if value != flat(load(ours))[key]}
    assert changed == {  # the authors' command line for OLP and SIE, and nothing else
        "MODEL.BACKBONE.SIE_CAMERA": True,
        "MODEL.BACKBONE.SIE_COE": 1.0,
        "MODEL.BACKBONE.STRIDE_SIZE": [12, 12],
    }


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("MODEL.ID_LOSS_WEIGHT 0.5", "MODEL.LOSSES.CrossEntropyLoss.WEIGHT", 0.5),
        ("MODEL.I2T_LOSS_WEIGHT 0.5", "MODEL.LOSSES.PromptLoss.WEIGHT", 0.5),
        ("MODEL.IF_LABELSMOOTH off", "MODEL.LOSSES.PromptLoss.EPSILON", 0.0),
        ("MODEL.NO_MARGIN True", "MODEL.LOSSES.TripletLoss.MARGIN", 0.0),
        ("MODEL.METRIC_LOSS_TYPE triplet_center", "MODEL.LOSSES.CenterLoss.WEIGHT", 0.0005),
        ("SOLVER.SEED 7", "SEED", 7),
        ("SOLVER.STAGE2.MAX_EPOCHS 3", "SOLVER.MAX_EPOCH", 3),
        ("SOLVER.STAGE2.MAX_EPOCH 3", "SOLVER.MAX_EPOCH", 3),
        ("SOLVER.STAGE2.WARMUP_ITERS 3", "SOLVER.WARMUP_EPOCHS", 3),
        ("SOLVER.STAGE1.MAX_EPOCHS 3", "SOLVER.MAX_EPOCH", 60),
        ("SOLVER.MAX_EPOCH 3", "SOLVER.MAX_EPOCH", 3),
        ("TEST.NECK_FEAT after", "MODEL.HEADS.TEST_FEAT", "after"),
        ("TEST.RE_RANKING yes", "TEST.RERANK.ENABLED", True),
        ("INPUT.RE_MODE const", "INPUT.REA_MODE", "mean"),
    ],
)
@pytest.mark.parametrize("ours", [False, True], ids=["over theirs", "over ours"])
def test_typed_words(clip, ours, pair, key, value):
    file = ROOT / "configs" / "clip_vit_b16.yml" if ours else clip
    assert flat(load(file, pair.split()))[key] == value


@pytest.mark.parametrize("word", ["yes", "no"])
def test_every_word_means_normalised_features(clip, word):
    """FEAT_NORM was tested as a string, and 'no' is one (D-C7)."""
    config, notes = resolve(clip, ["TEST.FEAT_NORM", word])
    assert config.TEST.METRIC == "cosine"
    assert any("counted as yes there" in note for note in notes) == (word == "no")
    assert load(clip, ["TEST.FEAT_NORM", "False"]).TEST.METRIC == "euclidean"


def test_the_sampler_softmax_means_the_identity_loss_alone(clip):
    config, notes = resolve(clip, ["DATALOADER.SAMPLER", "softmax", "MODEL.NO_MARGIN", "True"])
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "PromptLoss"}
    assert config.MODEL.LOSSES.CrossEntropyLoss.EPSILON == 0
    assert config.DATALOADER.SAMPLER.NAME == "RandomSampler"
    assert (
        "MODEL.TRIPLET_LOSS_WEIGHT 1.0 has no effect here: its loss is not among those of the file."
        in notes
    )


def test_weights_of_a_whole_model(clip, tmp_path):
    typed = ["MODEL.PRETRAIN_CHOICE", "self", "MODEL.PRETRAIN_PATH", "x.pth"]
    assert load(clip, typed).MODEL.WEIGHTS == "x.pth"
    config, notes = resolve(clip, ["TEST.WEIGHT", "y.pth"])
    assert config.MODEL.WEIGHTS == "y.pth"
    # TransReID's files name what their training has not made yet.
    transreid = write(tmp_path, TRANSREID, "transreid.yml")
    typed = ["TEST.WEIGHT", str(tmp_path / "y.pth")]
    config, told = resolve(transreid, typed)
    assert config.MODEL.WEIGHTS == "" and any("there is no such file" in note for note in told)
    Path(typed[1]).touch()
    assert resolve(transreid, typed)[0].MODEL.WEIGHTS == typed[1]
    assert any("training starts from it as well" in note for note in notes)


@pytest.mark.parametrize(
    ("pair", "kind", "message"),
    [
        ("MODEL.SIE_VIEW True", ValueError, "pictures of people have none"),
        ("MODEL.COS_LAYER True", ValueError, "arcface is not for CLIP-ReID"),
        ("MODEL.ATT_DROP_RATE 0.1", ValueError, "asks for dropout of attention"),
        ("MODEL.ID_LOSS_TYPE arcface", ValueError, "MODEL.ID_LOSS_TYPE arcface is not for CLIP"),
        ("MODEL.METRIC_LOSS_TYPE cluster", ValueError, "triplet and triplet_center are"),
        ("MODEL.PRETRAIN_CHOICE self", ValueError, "needs MODEL.PRETRAIN_PATH"),
        ("MODEL.PRETRAIN_CHOICE clip", ValueError, "it is imagenet, self or finetune"),
        ("SOLVER.LARGE_FC_LR True", ValueError, "SOLVER.HEADS_LR_FACTOR 2 is near"),
        ("SOLVER.STAGE1.LR_MIN 0", ValueError, "write a learning rate above 0"),
        ("SOLVER.STAGE1 3", TypeError, "SOLVER.STAGE1 is '3'; it holds keys"),
        ("SOLVER.STAGE1.EPOCHS 3", LookupError, "Unknown key in SOLVER 'EPOCHS'"),
        ("SOLVER.STAGE3.MAX_EPOCHS 3", LookupError, "Unknown key in SOLVER 'STAGE3'"),
        ("INPUT.RE_MAX_COUNT 3", ValueError, "one rectangle is erased"),
        ("INPUT.RE_MODES pixel", LookupError, "Did you mean 'REA_MODE'"),
    ],
)
def test_what_is_not_here_is_refused(clip, pair, kind, message):
    with pytest.raises(kind) as caught:
        resolve(clip, pair.split(), stage=1)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("MODEL.SIE_VIEW True", "pictures of people have none"),
        ("MODEL.ID_LOSS_TYPE sphereface", "softmax, arcface, cosface, amsoftmax, circle are"),
        ("MODEL.TRANSFORMER_TYPE swin", "is not here; vit_base_patch16_224"),
    ],
)
def test_what_transreid_has_besides_is_refused(transreid, pair, message):
    with pytest.raises(ValueError, match="MODEL") as caught:
        load(transreid, pair.split())
    assert message in str(caught.value)


def test_every_key_of_theirs_is_told():
    tree = spell(yaml.safe_load(CLIP))
    for stage in (1, 2):
        notes = []
        common, own = split_stages(tree, stage, notes)
        translated, told = translate(merge(common, own), stage=stage)
        notes, same = [*notes, *told], flatten(translated)
        for key, value in flatten(tree).items():
            other_stage = key.startswith(f"SOLVER.STAGE{3 - stage}")
            off = key in ("SOLVER.STAGE2.LARGE_FC_LR", "DATASETS.ROOT_DIR")
            word = key.replace(f"SOLVER.STAGE{stage}.", "SOLVER.")
            named = any(note.startswith((f"{key} ", f"{word} ")) for note in notes)
            silent = key == "MODEL.METRIC_LOSS_TYPE"  # it is told as the losses that it makes
            assert other_stage or off or silent or named or same.get(word) == value, key


@pytest.mark.parametrize("ours", [False, True], ids=["over theirs", "over ours"])
def test_words_of_stage_2_do_nothing_to_stage_1(clip, ours):
    """configs/clip_prompts.yml has its own losses, and nothing that could be tested changes."""
    file = ROOT / "configs" / "clip_vit_b16.yml" if ours else clip
    typed = "MODEL.ID_LOSS_WEIGHT 2 MODEL.TRIPLET_LOSS_WEIGHT 2 MODEL.I2T_LOSS_WEIGHT 3".split()
    typed += [] if ours else ["SOLVER.EVAL_PERIOD", "7"]
    config, notes = resolve([file, PROMPTS], typed, stage=1)
    assert flat(config) == flat(resolve([file, PROMPTS], stage=1)[0])
    assert "MODEL.TRIPLET_LOSS_WEIGHT 2 has no effect here: it belongs to stage 2." in notes
