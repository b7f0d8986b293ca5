"""The YAML of FastReID's own recipes (https://github.com/JDAI-CV/fast-reid) is read as it is."""

import pytest

from reidtools.config.load import load

BOT = """
MODEL:
  META_ARCHITECTURE: Baseline
  BACKBONE: {NAME: build_resnet_backbone, NORM: BN, DEPTH: 50x, LAST_STRIDE: 1, FEAT_DIM: 2048,
             WITH_IBN: false, PRETRAIN: true}
  HEADS: {NAME: EmbeddingHead, NORM: BN, WITH_BNNECK: true, POOL_LAYER: GlobalAvgPool,
          NECK_FEAT: before, CLS_LAYER: Linear}
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
    CE: {EPSILON: 0.1, SCALE: 1.}
    TRI: {MARGIN: 0.3, HARD_MINING: true, NORM_FEAT: false, SCALE: 1.}
INPUT:
  SIZE_TRAIN: [256, 128]
  SIZE_TEST: [256, 128]
  REA: {ENABLED: true, PROB: 0.5}
  FLIP: {ENABLED: true}
  PADDING: {ENABLED: true}
DATALOADER: {SAMPLER_TRAIN: NaiveIdentitySampler, NUM_INSTANCE: 4, NUM_WORKERS: 8}
SOLVER:
  AMP: {ENABLED: true}
  OPT: Adam
  MAX_EPOCH: 120
  BASE_LR: 0.00035
  WEIGHT_DECAY: 0.0005
  WEIGHT_DECAY_NORM: 0.0005
  IMS_PER_BATCH: 64
  SCHED: MultiStepLR
  STEPS: [40, 90]
  GAMMA: 0.1
  WARMUP_FACTOR: 0.1
  WARMUP_ITERS: 2000
  CHECKPOINT_PERIOD: 30
TEST: {EVAL_PERIOD: 30, IMS_PER_BATCH: 128}
CUDNN_BENCHMARK: true
"""
AGW = """
_BASE_: bot.yml
MODEL:
  BACKBONE: {WITH_NL: true}
  HEADS: {POOL_LAYER: GeneralizedMeanPooling}
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
    CE: {EPSILON: 0.1, SCALE: 1.0}
    TRI: {MARGIN: 0.0, HARD_MINING: false, SCALE: 1.0}
"""
SBS = """
_BASE_: bot.yml
MODEL:
  FREEZE_LAYERS: [backbone]
  BACKBONE: {WITH_NL: true}
  HEADS: {NECK_FEAT: after, POOL_LAYER: GeneralizedMeanPoolingP,
          CLS_LAYER: CircleSoftmax, SCALE: 64, MARGIN: 0.35}
  LOSSES:
    NAME: ("CrossEntropyLoss", "TripletLoss",)
    CE: {EPSILON: 0.1, SCALE: 1.0}
    TRI: {MARGIN: 0.0, HARD_MINING: true, NORM_FEAT: false, SCALE: 1.0}
INPUT:
  SIZE_TRAIN: [384, 128]
  SIZE_TEST: [384, 128]
  AUTOAUG: {ENABLED: true, PROB: 0.1}
DATALOADER: {NUM_INSTANCE: 16}
SOLVER:
  MAX_EPOCH: 60
  SCHED: CosineAnnealingLR
  DELAY_EPOCHS: 30
  ETA_MIN_LR: 0.0000007
  FREEZE_ITERS: 1000
TEST: {EVAL_PERIOD: 10}
"""
MGN = """
_BASE_: sbs.yml
MODEL:
  META_ARCHITECTURE: MGN
  FREEZE_LAYERS: [backbone, b1, b2, b3]
  BACKBONE: {WITH_NL: false, WITH_IBN: true}
  HEADS: {EMBEDDING_DIM: 256}
"""


@pytest.fixture
def read(tmp_path):
    for name, text in (("bot", BOT), ("agw", AGW), ("sbs", SBS), ("mgn", MGN)):
        (tmp_path / f"{name}.yml").write_text(text)
    return lambda name, typed=(): load(tmp_path / f"{name}.yml", typed)


def test_bag_of_tricks(read):
    config = read("bot")
    input_ = config.INPUT
    assert (input_.FLIP_PROB, input_.PADDING, input_.REA_PROB) == (0.5, 10, 0.5)
    assert (input_.REA_AREA, input_.REA_RATIO) == ([0.02, 0.33], [0.3, 3.3])
    assert input_.INTERPOLATION == "bicubic"
    assert config.SOLVER.STEPS_FROM == "warmup"  # where milestones are counted from there
    assert config.MODEL.LOSSES.CrossEntropyLoss.CLS_LAYER == "Linear"


def test_agw(read):
    model = read("agw").MODEL
    assert model.BACKBONE.NAME == "resnet50" and model.BACKBONE.WITH_NL
    assert model.BACKBONE.STEM_CEIL and not model.BACKBONE.WITH_SE
    assert model.HEADS.POOL_LAYER == "gem_fixed"
    triplet = model.LOSSES.TripletLoss
    assert (triplet.MARGIN, triplet.HARD_MINING) == (0.0, False)


def test_sbs(read):
    config = read("sbs", ["MODEL.BACKBONE.DEPTH", "101x", "MODEL.BACKBONE.WITH_IBN", "True"])
    model, solver = config.MODEL, config.SOLVER
    assert model.BACKBONE.NAME == "resnet101_ibn_a" and model.BACKBONE.WITH_NL
    assert (model.HEADS.POOL_LAYER, model.HEADS.NECK_FEAT) == ("gem", "after")
    loss = model.LOSSES.CrossEntropyLoss
    assert (loss.CLS_LAYER, loss.SCALE, loss.MARGIN) == ("CircleSoftmax", 64.0, 0.35)
    assert (loss.EPSILON, loss.VARIANT, loss.WEIGHT) == (0.1, "fastreid", 1.0)
    assert (model.FREEZE_LAYERS, solver.FREEZE_ITERS) == (["backbone"], 1000)
    assert (solver.SCHED, solver.DELAY_EPOCHS) == ("CosineAnnealingLR", 30)
    assert config.INPUT.AUTOAUG_PROB == 0.1
    assert config.DATALOADER.SAMPLER.NUM_INSTANCE == 16


def test_a_classifier_on_the_command_line(read):
    typed = ["MODEL.HEADS.CLS_LAYER", "CosSoftmax", "MODEL.HEADS.SCALE", "30"]
    loss = read("bot", [*typed, "MODEL.HEADS.MARGIN", "0.35"]).MODEL.LOSSES.CrossEntropyLoss
    assert (loss.CLS_LAYER, loss.SCALE, loss.MARGIN) == ("CosSoftmax", 30.0, 0.35)


def test_mgn(read):
    config = read("mgn")
    backbone, heads = config.MODEL.BACKBONE, config.MODEL.HEADS
    assert (backbone.NAME, backbone.BASE) == ("mgn", "resnet50_ibn_a") and backbone.STEM_CEIL
    assert (heads.NAME, heads.EMBEDDING_DIM, heads.NECK_FEAT) == ("MGN", 256, "after")
    assert heads.POOL_LAYER == "gem"
    assert config.MODEL.FREEZE_LAYERS == ["backbone"]


def test_resnest(read, tmp_path):
    file = tmp_path / "s50.yml"
    text = "_BASE_: bot.yml\nMODEL: {BACKBONE: {NAME: build_resnest_backbone, WITH_NL: %s}}"
    read("bot")
    file.write_text(text % "false")
    backbone = load(file).MODEL.BACKBONE
    assert (backbone.NAME, backbone.LAST_STRIDE) == ("resnest50", 1)
    file.write_text(text % "true")
    with pytest.raises(ValueError, match=r"WITH_NL True asks for non-local blocks in a network"):
        load(file)
    (tmp_path / "s50_agw.yml").write_text(  # where the base asks for them, as in yacs
        "_BASE_: agw.yml\nMODEL: {BACKBONE: {NAME: build_resnest_backbone}}"
    )
    with pytest.raises(ValueError, match=r"WITH_NL True asks for non-local blocks in a network"):
        load(tmp_path / "s50_agw.yml")


VIT = """
_BASE_: bot.yml
MODEL:
  FREEZE_LAYERS: [backbone]
  PIXEL_MEAN: [127.5, 127.5, 127.5]
  PIXEL_STD: [127.5, 127.5, 127.5]
  BACKBONE:
    NAME: build_vit_backbone
    DEPTH: base
    FEAT_DIM: 768
    STRIDE_SIZE: (12, 12)
    SIE_COE: 3.0
    DROP_PATH_RATIO: 0.2
    DROP_RATIO: 0.0
    ATT_DROP_RATE: 0.0
  HEADS: {POOL_LAYER: Identity}
SOLVER: {OPT: SGD, BASE_LR: 0.008, WEIGHT_DECAY: 0.0001}
"""


def test_the_vit_is_transreid_s(read, tmp_path):
    read("bot")
    (tmp_path / "vit.yml").write_text(VIT)
    config = load(tmp_path / "vit.yml")
    backbone = config.MODEL.BACKBONE
    assert (backbone.NAME, backbone.STRIDE_SIZE) == ("transreid_vit_base", [12, 12])
    assert (backbone.DROP_PATH, backbone.DROPOUT) == (0.2, 0.0)
    assert config.MODEL.HEADS.POOL_LAYER == "avg"
    small = load(tmp_path / "vit.yml", ["MODEL.BACKBONE.DEPTH", "small"]).MODEL.BACKBONE
    assert small.NAME == "transreid_vit_small"  # of 8 blocks there as well


def test_decay_of_norms_and_biases_does_not_follow_that_of_weights(read, tmp_path):
    read("bot")
    (tmp_path / "vit.yml").write_text(VIT)
    solver = load(tmp_path / "vit.yml").SOLVER
    decays = solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_BIAS, solver.WEIGHT_DECAY_NORM
    assert decays == (1e-4, 5e-4, 5e-4)


def test_layers_are_frozen_for_iterations_or_not_at_all(read, tmp_path):
    read("bot")
    (tmp_path / "vit.yml").write_text(VIT)
    assert load(tmp_path / "vit.yml").MODEL.FREEZE_LAYERS == []
    frozen = load(tmp_path / "vit.yml", ["SOLVER.FREEZE_ITERS", "1000"])
    assert frozen.MODEL.FREEZE_LAYERS == ["backbone"]


def test_without_a_neck_there_is_no_before_and_after(read):
    config = read("bot", ["MODEL.HEADS.WITH_BNNECK", "False"])
    assert config.MODEL.HEADS.NAME == "Linear"


def test_other_losses(read):
    words = ["MODEL.LOSSES.NAME", "('CircleLoss', 'Cosface', 'FocalLoss')"]
    words += ["MODEL.LOSSES.CIRCLE.GAMMA", "64", "MODEL.LOSSES.COSFACE.SCALE", "0.5"]
    losses = read("bot", words).MODEL.LOSSES
    assert set(losses) == {"CircleLoss", "CosFaceLoss", "FocalLoss"}
    assert (losses.CircleLoss.GAMMA, losses.CosFaceLoss.WEIGHT) == (64, 0.5)


def test_a_student(read):
    kd = ["MODEL.META_ARCHITECTURE", "Distiller", "KD.MODEL_CONFIG", "('t.yml',)"]
    config = read("bot", [*kd, "KD.MODEL_WEIGHTS", "('t.pth',)"])
    assert config.MODEL.TEACHER == "t.pth"
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss", "DistillationLoss"}
    assert config.MODEL.LOSSES.DistillationLoss.KIND == "logits"
    with pytest.raises(ValueError, match=r"needs KD\.MODEL_WEIGHTS"):
        read("bot", kd)
    with pytest.raises(ValueError, match="names 2 teachers"):
        read("bot", [*kd, "KD.MODEL_WEIGHTS", "('a.pth', 'b.pth')"])


def test_pictures(read):
    words = ["INPUT.CJ.ENABLED", "True", "INPUT.CJ.HUE", "0.2", "INPUT.RPT.ENABLED", "True"]
    words += ["INPUT.AFFINE.ENABLED", "True", "INPUT.AUGMIX.ENABLED", "True"]
    input_ = read("bot", [*words, "INPUT.AUGMIX.PROB", "0.3"]).INPUT
    assert (input_.CJ_PROB, input_.CJ_HUE, input_.CJ_CONTRAST) == (0.5, 0.2, 0.15)
    assert (input_.RPT_PROB, input_.AFFINE_PROB, input_.AUGMIX_PROB) == (0.5, 1.0, 0.3)
    off = read("bot", ["INPUT.CJ.ENABLED", "False", "INPUT.CJ.PROB", "0.5"]).INPUT
    assert off.CJ_PROB == 0 and off.CROP_PROB == 0
    words = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.SCALE", "[0.5, 1]"]
    cropped = read("bot", [*words, "INPUT.CROP.SIZE", "[224, 224]"]).INPUT
    assert (cropped.CROP_PROB, cropped.CROP_SCALE) == (1.0, [0.5, 1])
    assert cropped.SIZE_TRAIN == [224, 224]


def test_samplers(read):
    assert "SET_WEIGHT" not in read("bot", ["DATALOADER.SET_WEIGHT", "[]"]).DATALOADER.SAMPLER
    typed = ["DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler", "DATALOADER.SET_WEIGHT", "[2, 1]"]
    sampler = read("bot", typed).DATALOADER.SAMPLER
    assert (sampler.NAME, sampler.SET_WEIGHT) == ("SetReWeightSampler", [2, 1])
    sampler = read("bot", ["DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler"]).DATALOADER
    assert sampler.SAMPLER.NAME == "BalancedIdentitySampler"


def test_architectures_that_are_not_here(read):
    with pytest.raises(ValueError, match="MoCo is not here; Baseline, MGN, Distiller"):
        read("bot", ["MODEL.META_ARCHITECTURE", "MoCo"])


@pytest.mark.parametrize("part", ["BACKBONE", "HEADS"])
def test_batch_norm_of_all_gpus_is_ours(tmp_path, part):
    (tmp_path / "bot.yml").write_text(BOT)
    file = tmp_path / "a.yml"
    file.write_text(f"_BASE_: bot.yml\nMODEL: {{{part}: {{NORM: syncBN}}}}\n")
    assert load(file).MODEL.SYNC_BN is True
    assert load(tmp_path / "bot.yml").MODEL.SYNC_BN is False
    file.write_text(f"_BASE_: bot.yml\nMODEL: {{{part}: {{NORM: GN}}}}\n")
    with pytest.raises(ValueError, match="GN is not here.*set BN, or syncBN"):
        load(file)
