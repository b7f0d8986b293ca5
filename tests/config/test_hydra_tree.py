"""A Hydra tree of CLIP-ReID is a config; its keys are those of spec 4.4, the values our own."""

from pathlib import Path

import pytest
import yaml

from reidtools.config.compat import flatten
from reidtools.config.hydra_tree import is_hydra, read_hydra
from reidtools.config.load import load, plain, resolve

PROMPTS = Path(__file__).parents[2] / "configs" / "clip_prompts.yml"
ROOT = """
defaults:
  - _self_
  - preprocessing: street
  - model: rn50
  - training: short
  - dataset: market
  - testing: plain
  - logging: local
output_dir: out/run
export_to_onnx: false
precision: 16-mixed
accelerator: gpu
devices: auto
deterministic: true
early_stopping: {patience: 15, mode: max}
"""
GROUPS = {
    "preprocessing/street": """
        size_train: [128, 64]
        size_test: ${preprocessing.size_train}
        prob: 0.5
        re_prob: 0.3
        pixel_mean: [0.5, 0.5, 0.4]
        pixel_std: [0.5, 0.5, 0.6]
        padding: 4
        re_mode: pixel
        re_max_count: 1
        """,
    "model/rn50": """
        name: RN50
        model_chkp_name_stage1: ${model.name}_stage1_${training.solver.stage1.max_epochs}.pth
        model_chkp_name_stage2: CLIP-ReID_RN50_final.pth
        model_chkp_final_onnx: out.onnx
        last_stride: 1
        pretrain_choice: imagenet
        neck: bnneck
        id_loss_weight: 0.5
        triplet_loss_weight: 1.0
        i2t_loss_weight: 2.0
        metric_loss_type: triplet
        no_margin: false
        if_labelsmooth: 'on'
        cos_layer: false
        feat_dim_center: 2048
        drop_path: 0.1
        stride_size: [16, 16]
        sie_coe: 3.0
        sie_camera: false
        sie_view: false
        """,
    "training/short": """
        solver:
          seed: 77
          margin: 0.2
          log_period: 5
          eval_period: 1
          text_features_viz: true
          text_features_viz_frequency: 30
          stage1: {ims_per_batch: 16, optimizer_name: Adam, base_lr: 0.0004,
                   warmup_lr_init: 0.00001, lr_min: 1e-6, warmup_method: linear,
                   weight_decay: 1e-4, weight_decay_bias: 2e-4, max_epochs: 6, warmup_epochs: 2}
          stage2: {ims_per_batch: 32, optimizer_name: Adam, base_lr: 0.0003, warmup_iters: 3,
                   warmup_factor: 0.01, warmup_method: linear, weight_decay: 0.0005,
                   weight_decay_bias: 0.0006, large_fc_lr: false, max_epochs: 9,
                   bias_lr_factor: 2, steps: [4, 7], gamma: 0.1, center_lr: 0.5,
                   center_loss_weight: 0.0005}
        dataloader: {num_workers: 2, sampler: softmax_triplet, num_instance: 4,
                     use_graph_sampling: false, graph_sampling_verbose: true}
        """,
    "dataset/market": """
        names: market1501
        dataset_dir: Market-1501-v15.09.15
        files_dir: additional_files
        data_dir: data
        root_dir: /srv/people
        from_dvc: true
        captions_json: CUHK-PEDES/captions_parsed.json
        """,
    "testing/plain": """
        eval: true
        ims_per_batch: 32
        re_ranking: false
        weight: ${model.model_chkp_name_stage2}
        neck_feat: before
        feat_norm: 'yes'
        dist_mat: dist_mat.npy
        load_from_article: false
        article_name_weight: published.pth
        """,
    "logging/local": """
        tesorboard_dir: tb
        output_log_dir: model_logs
        mlflow_dir: mlflow
        experiment_name: CLIP ReID
        run_name: a first run
        mlflow_tracking_uri: http://127.0.0.1:8080
        """,
}
# What of it is in CLIP-ReID's keys and ours; the rest is told.
READ = """
MODEL:
  {NAME: RN50, LAST_STRIDE: 1, PRETRAIN_CHOICE: imagenet, NECK: bnneck, ID_LOSS_WEIGHT: 0.5,
   TRIPLET_LOSS_WEIGHT: 1.0, I2T_LOSS_WEIGHT: 2.0, METRIC_LOSS_TYPE: triplet, NO_MARGIN: false,
   IF_LABELSMOOTH: 'on', COS_LAYER: false, FEAT_DIM_CENTER: 2048, DROP_PATH: 0.1,
   STRIDE_SIZE: [16, 16], SIE_COE: 3.0, SIE_CAMERA: false, SIE_VIEW: false}
INPUT:
  {SIZE_TRAIN: [128, 64], SIZE_TEST: [128, 64], PROB: 0.5, RE_PROB: 0.3, PADDING: 4,
   PIXEL_MEAN: [0.5, 0.5, 0.4], PIXEL_STD: [0.5, 0.5, 0.6], RE_MODE: pixel, RE_MAX_COUNT: 1}
SOLVER:
  SEED: 77
  MARGIN: 0.2
  LOG_PERIOD: 5
  AMP: {ENABLED: true, DTYPE: fp16}
  STAGE1: {IMS_PER_BATCH: 16, OPTIMIZER_NAME: Adam, BASE_LR: 0.0004, WARMUP_LR_INIT: 0.00001,
           LR_MIN: 1e-6, WARMUP_METHOD: linear, WEIGHT_DECAY: 1e-4, WEIGHT_DECAY_BIAS: 2e-4,
           MAX_EPOCHS: 6, WARMUP_EPOCHS: 2}
  STAGE2: {IMS_PER_BATCH: 32, OPTIMIZER_NAME: Adam, BASE_LR: 0.0003, WARMUP_ITERS: 3,
           WARMUP_FACTOR: 0.01, WARMUP_METHOD: linear, WEIGHT_DECAY: 0.0005,
           WEIGHT_DECAY_BIAS: 0.0006, LARGE_FC_LR: false, MAX_EPOCHS: 9, BIAS_LR_FACTOR: 2,
           STEPS: [4, 7], GAMMA: 0.1, CENTER_LR: 0.5, CENTER_LOSS_WEIGHT: 0.0005}
DATALOADER: {NUM_WORKERS: 2, SAMPLER: softmax_triplet, NUM_INSTANCE: 4}
DATASETS: {NAMES: market1501, ROOT: /srv/people/data,
           CAPTIONS: /srv/people/data/CUHK-PEDES/captions_parsed.json}
TEST: {EVAL: true, IMS_PER_BATCH: 32, RE_RANKING: false, NECK_FEAT: before, FEAT_NORM: 'yes',
       DIST_MAT: dist_mat.npy}
LOG: {EXPERIMENT: CLIP ReID, MLFLOW_URI: 'http://127.0.0.1:8080', TEXT_MAPS: 30}
OUTPUT_DIR: out/run
EXP_NAME: a_first_run
DETERMINISTIC: true
"""


@pytest.fixture
def tree(tmp_path):
    """The root of such a tree."""
    root = tmp_path / "configs" / "config.yaml"
    write(root, ROOT)
    for name, text in GROUPS.items():
        write(root.parent / f"{name}.yaml", text)
    return root


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def change(root, group, old, new):
    """Other text in a file of the tree; the name of the root is its own file."""
    path = root if group == "root" else root.parent / f"{group}.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def flat(config):
    return flatten(plain(config))


def notes_of(root):
    notes = []
    read_hydra(root, notes)
    return notes


def test_a_tree_is_known_by_its_defaults():
    assert is_hydra(yaml.safe_load(ROOT))
    assert is_hydra({"defaults": ["_self_"]})
    assert not is_hydra({"SOLVER": {"MAX_EPOCH": 1}})
    assert not is_hydra({"data": {"root": "x"}, "defaults": {"a": 1}})


def test_stage_2_of_a_tree(tree):
    config = load(tree)
    assert flat(config).items() >= {
        ("SEED", 77),
        ("OUTPUT_DIR", "out/run"),
        ("EXP_NAME", "a_first_run"),
        ("DETERMINISTIC", True),
        ("MODEL.BACKBONE.NAME", "clip_rn50"),
        ("MODEL.HEADS.TEST_FEAT", "before"),
        ("MODEL.WEIGHTS", ""),
        ("MODEL.LOSSES.CrossEntropyLoss.WEIGHT", 0.5),
        ("MODEL.LOSSES.TripletLoss.MARGIN", 0.2),
        ("MODEL.LOSSES.PromptLoss.WEIGHT", 2.0),
        ("INPUT.REA_PROB", 0.3),
        ("INPUT.REA_MODE", "pixel"),
        ("INPUT.PADDING", 4),
        ("DATASETS.ROOT", "/srv/people/data"),
        ("DATASETS.CAPTIONS", "/srv/people/data/CUHK-PEDES/captions_parsed.json"),
        ("DATALOADER.SAMPLER.NAME", "RandomIdentitySampler"),
        ("DATALOADER.NUM_WORKERS", 2),
        ("SOLVER.IMS_PER_BATCH", 32),
        ("SOLVER.MAX_EPOCH", 9),
        ("SOLVER.WARMUP_EPOCHS", 3),
        ("SOLVER.LOG_PERIOD", 5),
        ("SOLVER.AMP.ENABLED", True),
        ("SOLVER.AMP.DTYPE", "fp16"),
        ("LOG.TEXT_MAPS", 30),
        ("LOG.EXPERIMENT", "CLIP ReID"),
        ("LOG.MLFLOW_URI", "http://127.0.0.1:8080"),
        ("LOG.STAGE", "stage2"),
    }
    assert set(config.MODEL.LOSSES) == {"CrossEntropyLoss", "TripletLoss", "PromptLoss"}
    assert config.INPUT.SIZE_TEST == config.INPUT.SIZE_TRAIN == [128, 64]
    assert config.SOLVER.STEPS == [4, 7]


def test_stage_1_of_a_tree(tree):
    config, _ = resolve([tree, PROMPTS], stage=1)
    assert [n for n, loss in config.MODEL.LOSSES.items() if loss.WEIGHT] == ["PromptLoss"]
    assert config.MODEL.LOSSES.PromptLoss.LEARN is True
    assert dict(config.DATALOADER.SAMPLER) == {"NAME": "RandomSampler", "DROP_LAST": False}
    assert flat(config).items() >= {
        ("LOG.STAGE", "stage1"),
        ("SOLVER.IMS_PER_BATCH", 16),
        ("SOLVER.MAX_EPOCH", 6),
        ("SOLVER.WARMUP_EPOCHS", 2),
        ("SOLVER.ETA_MIN_LR", 1e-6),
    }
    assert config.SOLVER.WARMUP_FACTOR == pytest.approx(1 / 40)  # 0.00001 of 0.0004


@pytest.mark.parametrize("stage", [1, 2])
def test_the_printed_config_is_the_same_config(tree, tmp_path, stage):
    config, _ = resolve([tree, PROMPTS] if stage == 1 else tree, stage=stage)
    ours = write(tmp_path / "ours.yml", config.dump())
    assert resolve(ours, stage=stage) == (config, [])


def test_a_tool_reads_it_and_prints_it(tree, tmp_path, type_tool):
    typed = ["--config-file", tree, "--print-config", "SOLVER.MAX_EPOCH", "3"]
    code, printed, _ = type_tool("train_net.py", *typed)
    assert code == 0
    assert load(write(tmp_path / "ours.yml", printed)) == load(tree, ["SOLVER.MAX_EPOCH", "3"])


def test_graph_sampling_is_of_stage_1(tree):
    change(tree, "training/short", "use_graph_sampling: false", "use_graph_sampling: true")
    change(tree, "training/short", "num_instance: 4", "num_instance: 2")
    for files in ([tree], [tree, PROMPTS]):  # a fragment of ours does not take it away
        first, second = (resolve(files, stage=stage)[0].DATALOADER.SAMPLER for stage in (1, 2))
        assert (first.NAME, first.NUM_INSTANCE, first.BEGIN) == ("TextGraphSampler", 2, 3)
        assert first.FIRST == "RandomSampler" and second.NAME != "TextGraphSampler"


def test_every_key_is_carried_over(tree):
    assert read_hydra(tree, []) == yaml.safe_load(READ)


def test_every_key_that_is_not_carried_over_is_told(tree):
    """All of ROOT and GROUPS that READ has in other words or not at all, and nothing else."""
    assert {note.split()[0] for note in notes_of(tree)} == {
        *("dataset.root_dir/data_dir", "dataset.captions_json", "dataset.dataset_dir"),
        *("dataset.files_dir", "dataset.from_dvc", "output_dir", "testing.weight"),
        *("logging.experiment_name", "logging.run_name", "logging.mlflow_tracking_uri"),
        *("Figures", "logging.tesorboard_dir", "logging.output_log_dir", "logging.mlflow_dir"),
        *("training.solver.text_features_viz", "training.solver.eval_period"),
        *("training.dataloader.graph_sampling_verbose", "precision", "deterministic"),
        *("export_to_onnx", "accelerator", "devices"),
        *("early_stopping.patience", "early_stopping.mode", "model.model_chkp_name_stage1"),
        *("model.model_chkp_name_stage2", "model.model_chkp_final_onnx"),
    }


def test_their_typos_and_defects_are_named(tree):
    change(tree, "dataset/market", "dataset_dir:", "datast_dir:")
    notes = notes_of(tree)
    assert any(note.startswith("logging.tesorboard_dir tb has no effect") for note in notes)
    assert any(note.startswith("dataset.datast_dir Market-1501-v15.09.15 has") for note in notes)
    assert any("nothing stops early" in note for note in notes)  # it watched training accuracy
    assert any("nothing was tested in training there" in note for note in notes)


def test_a_key_counts_in_its_place_only(tree):
    """A word that is known elsewhere is no word of this section, and takes nothing away there."""
    for group, after, wrong, refused in (
        (
            "model/rn50",
            "        name: RN50",
            "        weight: 0.5",
            "Unknown key in MODEL 'WEIGHT'",
        ),
        ("root", "deterministic: true", "early_stopping_typo: 3", "'early_stopping_typo'"),
        ("root", "deterministic: true", "weight: other.pth", "Hydra tree 'weight'"),
        ("training/short", "          seed: 77", "          bogus: {precision: bf16}", "'BOGUS'"),
        ("logging/local", "        mlflow_dir: mlflow", "        names: x", "'logging.names'"),
    ):
        change(tree, group, after, f"{after}\n{wrong}")
        with pytest.raises(LookupError) as caught:
            load(tree)
        assert refused in str(caught.value)
        change(tree, group, f"{after}\n{wrong}", after)
    assert load(tree).SOLVER.AMP.DTYPE == "fp16"


@pytest.mark.parametrize(
    ("old", "new", "weights"),
    [
        ("weight: ${model.model_chkp_name_stage2}", "weight: other.pth", "out/run/other.pth"),
        ("weight: ${model.model_chkp_name_stage2}", "weight: ''", ""),
    ],
)
def test_weights_lie_in_output_dir(tree, old, new, weights):
    change(tree, "testing/plain", old, new)
    assert load(tree).MODEL.WEIGHTS == weights


def test_the_published_weights(tree):
    change(tree, "testing/plain", "weight: ${model.model_chkp_name_stage2}", "weight: ''")
    change(tree, "testing/plain", "load_from_article: false", "load_from_article: true")
    assert load(tree).MODEL.WEIGHTS == "out/run/published.pth"


@pytest.mark.parametrize(
    ("precision", "half", "dtype"),
    [("bf16-mixed", True, "bf16"), ("32-true", False, "auto"), ("16", True, "fp16")],
)
def test_precisions(tree, precision, half, dtype):
    change(tree, "root", "16-mixed", precision)
    amp = load(tree).SOLVER.AMP
    assert (amp.ENABLED, amp.DTYPE) == (half, dtype)


def test_the_order_of_defaults(tree):
    """What comes later in the list counts; the file itself comes last unless it says _self_."""
    text = ROOT + "training: {solver: {seed: 5}}\n"
    write(tree, text)
    assert load(tree).SEED == 77
    write(tree, text.replace("  - _self_\n", ""))
    assert load(tree).SEED == 5
    write(tree, text.replace("  - _self_\n", "").replace("logging: local", "logging: null"))
    assert load(tree).LOG.EXPERIMENT == ""


@pytest.mark.parametrize(
    ("group", "old", "new", "kind", "message"),
    [
        ("root", "model: rn50", "model: rn51", FileNotFoundError, "choose one of ['rn50']"),
        ("root", "- model: rn50", "- modell: rn50", FileNotFoundError, "put the files of this"),
        ("root", "- model: rn50", "- override model: rn50", ValueError, "only Hydra understands"),
        ("root", "16-mixed", "8-mixed", LookupError, "Unknown precision '8-mixed'"),
        ("root", "16-mixed", "64-true", LookupError, "Unknown precision '64-true'"),
        ("root", "devices", "device", LookupError, "Did you mean 'devices'"),
        ("model/rn50", "id_loss_weight", "id_los_weight", LookupError, "MODEL 'ID_LOS_WEIGHT'"),
        ("training/short", "max_epochs: 9", "max_epoks: 9", LookupError, "mean 'MAX_EPOCH'"),
        ("model/rn50", "name: RN50", "name: ${hydra:job.name}", ValueError, "no key of the tree"),
        ("model/rn50", "name: RN50", "name: ${model.name}", ValueError, "leads back to itself"),
        ("model/rn50", "name: RN50", "name: ${oc.env:A,${b}}", ValueError, "write the value"),
        ("model/rn50", "name: RN50", "name: [RN50", ValueError, "not valid YAML"),
        ("model/rn50", "sie_view: false", "sie_view: true", ValueError, "people have none"),
        ("model/rn50", "imagenet", "self", ValueError, "self needs MODEL.PRETRAIN_PATH"),
    ],
)
def test_what_a_tree_cannot_say(tree, group, old, new, kind, message):
    change(tree, group, old, new)
    with pytest.raises(kind) as caught:
        load(tree)
    assert message in str(caught.value)


def test_a_file_that_is_no_list_of_keys(tree):
    write(tree.parent / "model" / "rn50.yaml", "- RN50\n")
    with pytest.raises(ValueError, match="holds no KEY: value pairs"):
        read_hydra(tree, [])
