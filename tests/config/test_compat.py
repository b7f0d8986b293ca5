import logging
from pathlib import Path

import pytest

from reidtools.config.compat import flatten, translate, unflatten
from reidtools.config.load import load

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def spoken(caplog, monkeypatch):
    """What reidtools warns of."""
    monkeypatch.setattr(logging.getLogger("reidtools"), "propagate", True)
    return caplog


def test_snu_reid_keys_have_their_meaning(tmp_path, spoken):
    file = tmp_path / "256_resnet50.yml"
    file.write_text(
        """
        MODEL: {NAME: resnet50, PRETRAIN_PATH: ./models/r50.pth, BACKBONE_EMB_SIZE: 2048,
                KEEP_CAMID_CENTROIDS: true, LAST_STRIDE: 1}
        INPUT: {SIZE_TRAIN: [256, 128], SIZE_TEST: [256, 128], PROB: 0.5, RE_PROB: 0.4, PADDING: 8}
        DATASETS: {NAMES: market1501, ROOT_DIR: ../datasets, JSON_TRAIN_PATH: ""}
        DATALOADER: {NUM_WORKERS: 8, SAMPLER: random_identity, NUM_INSTANCE: 4, DROP_LAST: true,
                     USE_RESAMPLING: true}
        SOLVER: {OPTIMIZER_NAME: Adagrad, MAX_EPOCHS: 120, BASE_LR: 0.001, EVAL_PERIOD: 5,
                 IMS_PER_BATCH: 16, MARGIN: 0.5, DISTANCE_FUNC: euclidean, CENTER_LR: 0.5,
                 CENTER_LOSS_WEIGHT: 0.0005, LR_SCHEDULER_NAME: multistep_lr, LR_STEPS: [40, 70],
                 QUERY_XENT_WEIGHT: 1.0, QUERY_CONTRASTIVE_WEIGHT: 1.0, CLUSTER_MARGIN: 0.3}
        TEST: {IMS_PER_BATCH: 128, FEAT_NORM: true, ONLY_TEST: false}
        LOG_DIR: ./logs
        """
    )
    config = load(file)
    assert config.MODEL.BACKBONE.NAME == "resnet50" and config.MODEL.WEIGHTS == "./models/r50.pth"
    assert config.INPUT.REA_PROB == 0.4 and config.INPUT.PADDING == 8
    assert config.DATASETS.ROOT == "../datasets"
    assert config.SOLVER.OPT == "Adagrad" and config.SOLVER.BASE_LR == 0.001
    assert config.SOLVER.IMS_PER_BATCH == 64  # 16 people there, four pictures each
    assert config.SOLVER.CHECKPOINT_PERIOD == config.TEST.EVAL_PERIOD == 5
    assert config.SOLVER.STEPS == [40, 70]
    assert config.MODEL.LOSSES.TripletLoss.MARGIN == 0.5
    assert config.MODEL.LOSSES.CenterLoss.WEIGHT == 0.0005
    assert "DATASETS.ROOT_DIR ../datasets is read as DATASETS.ROOT ../datasets." in spoken.messages
    assert any("IMS_PER_BATCH counts people" in line for line in spoken.messages)
    assert any("CLUSTER_MARGIN has no effect" in line for line in spoken.messages)


def test_the_documented_fastreid_mix_of_old_and_new_keys(tmp_path):
    """The my_osnet.yml of the track-feature guide, verbatim keys (spec 3.4)."""
    file = tmp_path / "my_osnet.yml"
    file.write_text(
        """
        MODEL:
          BACKBONE: {NAME: "osnet_x1_0"}
          HEADS: {NAME: "BNneckHead", POOL_LAYER: "avgpool"}
        DATASETS:
          NAMES: ("my_dataset",)
          TESTS: ("my_dataset",)
        DATALOADER: {NUM_WORKERS: 4}
        SOLVER: {OPT: "Adam", BASE_LR: 0.00035, MAX_EPOCH: 120, WARMUP_ITERS: 1500}
        INPUT: {SIZE_TRAIN: [256, 128], SIZE_TEST: [256, 128]}
        OUTPUT_DIR: "logs/osnet_my_dataset"
        """
    )
    config = load(file)
    assert config.MODEL.HEADS.NAME == "BNNeck" and config.MODEL.HEADS.POOL_LAYER == "avg"
    assert config.DATASETS.NAMES == config.DATASETS.TESTS == ["my_dataset"]
    assert config.SOLVER.WARMUP_ITERS == 1500


def test_fastreid_s_own_config(tmp_path):
    file = tmp_path / "bagtricks.yml"
    file.write_text(
        """
        MODEL:
          META_ARCHITECTURE: Baseline
          BACKBONE: {NAME: build_resnet_backbone, DEPTH: 50x, NORM: BN, LAST_STRIDE: 1,
                     FEAT_DIM: 2048, WITH_IBN: true, PRETRAIN: true}
          HEADS: {NAME: EmbeddingHead, NORM: BN, WITH_BNNECK: true, POOL_LAYER: GlobalAvgPool,
                  NECK_FEAT: before, CLS_LAYER: Linear}
          LOSSES:
            NAME: ("CrossEntropyLoss", "TripletLoss",)
            CE: {EPSILON: 0.1, SCALE: 1.}
            TRI: {MARGIN: 0.3, HARD_MINING: true, NORM_FEAT: false, SCALE: 2.}
            CIRCLE: {MARGIN: 0.25}
          PIXEL_MEAN: [123.675, 116.28, 103.53]
        INPUT:
          SIZE_TRAIN: [256, 128]
          FLIP: {ENABLED: true, PROB: 0.3}
          PADDING: {ENABLED: true, SIZE: 7}
          REA: {ENABLED: false, PROB: 0.5}
          AUTOAUG: {ENABLED: false, PROB: 0.1}
        DATALOADER: {SAMPLER_TRAIN: NaiveIdentitySampler, NUM_INSTANCE: 4, NUM_WORKERS: 8}
        SOLVER:
          AMP: {ENABLED: true}
          OPT: Adam
          SCHED: MultiStepLR
          STEPS: [40, 90]
          WARMUP_ITERS: 2000
        TEST: {EVAL_PERIOD: 30, IMS_PER_BATCH: 128}
        CUDNN_BENCHMARK: true
        DATASETS:
          NAMES: ("Market1501",)
          TESTS: ("DukeMTMC",)
        """
    )
    config = load(file)
    assert config.MODEL.BACKBONE.NAME == "resnet50_ibn_a" and config.MODEL.BACKBONE.PRETRAIN
    assert config.MODEL.BACKBONE.STEM_CEIL is True  # its stem rounds up, where others pad
    assert config.MODEL.HEADS == {
        "NAME": "BNNeck",
        "POOL_LAYER": "avg",
        "EMBEDDING_DIM": 0,
        "NECK_FEAT": "before",
        "TEST_FEAT": "after",
    }
    assert config.INPUT.INTERPOLATION == "bicubic"  # as theirs always is
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss"}
    assert config.MODEL.LOSSES.CrossEntropyLoss.VARIANT == "fastreid"
    assert config.MODEL.LOSSES.TripletLoss.WEIGHT == 2.0
    assert config.INPUT.PIXEL_MEAN == pytest.approx([0.485, 0.456, 0.406], abs=1e-5)
    assert (config.INPUT.FLIP_PROB, config.INPUT.PADDING, config.INPUT.REA_PROB) == (0.3, 7, 0.0)
    assert config.DATALOADER.SAMPLER.NAME == "RandomIdentitySampler"
    assert config.DATASETS.NAMES == ["market1501"] and config.DATASETS.TESTS == ["dukemtmcreid"]


def test_fastreid_bases_and_defaults_keep_their_meaning(tmp_path):
    (tmp_path / "Base.yml").write_text(
        """
        MODEL:
          META_ARCHITECTURE: Baseline
          BACKBONE: {NAME: build_resnet_backbone, DEPTH: 50x}
          HEADS: {NAME: EmbeddingHead}
          LOSSES:
            NAME: ("CrossEntropyLoss", "TripletLoss")
            CE: {EPSILON: 0.3}
            TRI: {MARGIN: 0.5}
        SOLVER: {STEPS: [40, 90], WARMUP_ITERS: 2000}
        """
    )
    child = tmp_path / "child.yml"
    child.write_text("_BASE_: Base.yml\nMODEL:\n  LOSSES:\n    NAME: ('CrossEntropyLoss',)")
    config = load(child)
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss"}
    assert config.MODEL.LOSSES.CrossEntropyLoss.EPSILON == 0.3
    assert load(tmp_path / "Base.yml").MODEL.LOSSES.TripletLoss.HARD_MINING is False
    # What their defaults are and ours are not.
    assert config.MODEL.HEADS.NAME == "Linear" and config.MODEL.BACKBONE.PRETRAIN is False
    assert config.DATALOADER.SAMPLER.NAME == "RandomSampler"
    assert (config.INPUT.FLIP_PROB, config.INPUT.REA_PROB, config.INPUT.PADDING) == (0, 0, 0)
    assert config.SOLVER.STEPS_FROM == "warmup" and config.SOLVER.WARMUP_FACTOR == 0.1


def test_what_is_typed_in_our_words_wins_over_a_file_in_theirs(tmp_path):
    file = tmp_path / "snu.yml"
    file.write_text(
        "MODEL: {NAME: resnet50_ibn_a, PRETRAIN_PATH: a.pth, BACKBONE_EMB_SIZE: 2048}\n"
        "SOLVER: {MAX_EPOCHS: 120, IMS_PER_BATCH: 16, EVAL_PERIOD: 40, MARGIN: 0.5}\n"
        "DATASETS: {ROOT_DIR: ('../../data')}\nTEST: {WEIGHT: '', VISUALIZE: 'no'}"
    )
    config = load(file)
    assert config.MODEL.WEIGHTS == "a.pth" and config.SOLVER.IMS_PER_BATCH == 64
    assert config.DATASETS.ROOT == "../../data"
    typed = ["MODEL.WEIGHTS", "b.pth", "SOLVER.MAX_EPOCH", "2", "SOLVER.IMS_PER_BATCH", "32"]
    typed += ["TEST.EVAL_PERIOD", "1", "MODEL.LOSSES.TripletLoss.MARGIN", "0.9"]
    config = load(file, typed)
    assert config.MODEL.WEIGHTS == "b.pth" and config.SOLVER.MAX_EPOCH == 2
    assert config.SOLVER.IMS_PER_BATCH == 32 and config.TEST.EVAL_PERIOD == 1
    assert config.MODEL.LOSSES.TripletLoss.MARGIN == 0.9


def test_their_keys_on_the_command_line_over_our_files():
    ours = CONFIGS / "256_resnet50.yml"
    config = load(ours, ["SOLVER.OPTIMIZER_NAME", "SGD", "MODEL.NAME", "osnet_x1_0"])
    assert config.SOLVER.OPT == "SGD" and config.SOLVER.IMS_PER_BATCH == 64
    assert config.MODEL.BACKBONE.NAME == "osnet_x1_0"
    assert load("", ["INPUT.FLIP.ENABLED", "0"]).INPUT.FLIP_PROB == 0
    assert load("", ["DATASETS.NAMES", "PRW"]).DATASETS.NAMES == ["prw"]
    assert load("", ["DATASETS.NAMES", "PRW_reidx4"]).DATASETS.NAMES == ["PRW_reidx4"]  # a folder
    assert load("", ["DATASETS.TESTS", "Market1501@mlr"]).DATASETS.TESTS == ["market1501@mlr"]


def test_what_is_not_here_is_refused_unless_it_is_off():
    load("", ["TEST.PRECISE_BN.ENABLED", "False", "TEST.PRECISE_BN.NUM_ITER", "300"])
    with pytest.raises(ValueError, match=r"PRECISE_BN\.ENABLED True asks for precise batch-norm"):
        load("", ["TEST.PRECISE_BN.ENABLED", "True"])
    with pytest.raises(ValueError, match="build_repvgg_backbone is not here"):
        load("", ["MODEL.BACKBONE.NAME", "build_repvgg_backbone"])


def test_what_fastreid_asks_of_a_test(tmp_path):
    file = tmp_path / "fast.yml"
    file.write_text(
        """
        MODEL: {META_ARCHITECTURE: Baseline, BACKBONE: {NAME: build_resnet_backbone, DEPTH: 50x}}
        TEST: {FLIP: {ENABLED: true}, AQE: {ENABLED: true, QE_TIME: 2, QE_K: 7, ALPHA: 2.0},
               RERANK: {ENABLED: true, K1: 25, K2: 5, LAMBDA: 0.4}, ROC: {ENABLED: true}}
        """
    )
    test = load(file).TEST
    assert test.FLIP == "raw" and test.ROC.ENABLED
    assert dict(test.AQE) == {"ENABLED": True, "TIMES": 2, "K": 7, "ALPHA": 2.0, "SCOPE": "joint"}
    assert dict(test.RERANK) == {
        "ENABLED": True,
        "K1": 25,
        "K2": 5,
        "LAMBDA": 0.4,
        "VARIANT": "fastreid",  # figures as its own evaluator gives them
    }
    assert load("", ["TEST.FLIP_ENABLED", "False"]).TEST.FLIP == "off"
    assert load("", []).TEST.RERANK.VARIANT == "original"


def test_options_of_fastreid_s_vit_that_clip_s_has_here(tmp_path):
    file = tmp_path / "vit.yml"
    file.write_text(
        "MODEL: {META_ARCHITECTURE: Baseline, BACKBONE: {NAME: build_vit_backbone, DEPTH: base,"
        " SIE_COE: 3.0, STRIDE_SIZE: [16, 16]}}"
    )
    for files in ([file], [CONFIGS / "vit_base.yml", file]):
        assert load(files).MODEL.BACKBONE.NAME == "transreid_vit_base"
    clip = load(CONFIGS / "clip_vit_b16.yml", ["MODEL.BACKBONE.SIE_COE", "2"])
    assert clip.MODEL.BACKBONE.SIE_COE == 2.0
    after = load(CONFIGS / "clip_vit_b16.yml", ["MODEL.HEADS.TEST_FEAT", "after"])
    assert after.MODEL.HEADS.TEST_FEAT == "after"


def test_resuming_as_snu_reid_does():
    config = load("", ["MODEL.RESUME_TRAINING", "True", "MODEL.PRETRAIN_PATH", "x/5.pth"])
    assert config.RESUME == "x/5.pth" and config.MODEL.WEIGHTS == ""
    with pytest.raises(ValueError, match=r"needs MODEL\.PRETRAIN_PATH"):
        load("", ["MODEL.RESUME_TRAINING", "True"])


def test_our_own_trees_are_left_alone():
    tree = {"SOLVER": {"BASE_LR": 0.1}, "MODEL": {"LOSSES": {"TripletLoss": {}}}}
    assert translate(tree) == (tree, [])
    assert unflatten(flatten(tree).items()) == tree


def test_use_centroids_is_a_loss_and_a_test(spoken):
    theirs = "MODEL.USE_CENTROIDS True SOLVER.CENTROID_CONTRASTIVE_WEIGHT 0.5 SOLVER.MARGIN 0.4"
    config = load(CONFIGS / "256_resnet50.yml", theirs.split())
    assert config.MODEL.LOSSES.CentroidTripletLoss.WEIGHT == 0.5
    for loss in ("TripletLoss", "CentroidTripletLoss"):
        assert config.MODEL.LOSSES[loss].MARGIN == 0.4
    assert config.TEST.CENTROIDS.ENABLED and config.METHOD == "ctl"
    assert "MODEL.USE_CENTROIDS True is read as CentroidTripletLoss and METHOD ctl." in (
        spoken.messages
    )
    off = load("", ["MODEL.USE_CENTROIDS", "False", "SOLVER.CENTROID_CONTRASTIVE_WEIGHT", "1"])
    assert "CentroidTripletLoss" not in off.MODEL.LOSSES and off.METHOD == "baseline"


def test_pictures_of_ranked_lists_are_asked_for_as_in_snu_reid():
    config = load("", ["TEST.VISUALIZE", "yes", "TEST.VISUALIZE_TOPK", "5"])
    assert config.TEST.VISUALIZE is True and config.TEST.VISUALIZE_TOPK == 5
    assert load("", ["TEST.VISUALIZE", "no"]).TEST.VISUALIZE is False


def test_octuplet_fine_tuning_has_a_tool(spoken):
    assert load("", ["FINETUNE_OCT", "False"])
    with pytest.raises(ValueError, match=r"tools/finetune_octuplet\.py"):
        load("", ["FINETUNE_OCT", "True"])


def test_a_fragment_in_our_words_wins_over_a_file_in_theirs(tmp_path):
    file = tmp_path / "snu.yml"
    file.write_text(
        "MODEL: {NAME: resnet50, BACKBONE_EMB_SIZE: 2048}\n"
        "SOLVER: {MAX_EPOCHS: 120, MARGIN: 0.3, QUERY_XENT_WEIGHT: 1.0, LR_STEPS: [40, 70],"
        " CENTROID_CONTRASTIVE_WEIGHT: 1.0, IMS_PER_BATCH: 16}"
    )
    octuplet = load([file, CONFIGS / "octuplet.yml"])
    assert octuplet.SOLVER.MAX_EPOCH == 10 and octuplet.SOLVER.STEPS == [4, 7, 9]
    assert {n for n, node in octuplet.MODEL.LOSSES.items() if node.WEIGHT} == {"OctupletLoss"}
    assert octuplet.SOLVER.IMS_PER_BATCH == 64 and octuplet.MODEL.BACKBONE.NAME == "resnet50"
    ctl = load([file, CONFIGS / "ctl.yml"])
    assert ctl.MODEL.LOSSES.TripletLoss.MARGIN == ctl.MODEL.LOSSES.CentroidTripletLoss.MARGIN == 0.5
    assert (
        load([file, CONFIGS / "ctl.yml"], ["SOLVER.MARGIN", "0.2"]).MODEL.LOSSES.TripletLoss[
            "MARGIN"
        ]
        == 0.2
    )


def test_empty_paths_and_output_dir_of_snu_reid(tmp_path):
    file = tmp_path / "snu.yml"
    file.write_text(
        "MODEL: {PRETRAIN_PATH: '', KEEP_CAMID_CENTROIDS: true}\nTEST: {WEIGHT: ''}\n"
        "OUTPUT_DIR: ./output_dir\nLOG_DIR: ./logs\nSOLVER: {MONITOR_METRIC_NAME: mAP}"
    )
    config = load(file, ["SOLVER.IMS_PER_BATCH", "16"])
    assert config.MODEL.WEIGHTS == ""
    people = tmp_path / "people.yml"
    people.write_text(file.read_text() + "\n" + "INPUT: {PROB: 0.5}")
    assert load(file, ["OUTPUT_DIR", "mine"]).OUTPUT_DIR == "mine"
