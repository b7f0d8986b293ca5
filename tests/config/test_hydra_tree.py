"""A Hydra tree of CLIP-ReID is a config; its keys are those of spec 4.4, the values our own."""

import pytest
import yaml

from reidtools.config.compat import flatten
from reidtools.config.hydra_tree import is_hydra, read_hydra
from reidtools.config.load import load, plain, resolve

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
        pixel_mean: [0.5, 0.5, 0.5]
        pixel_std: [0.5, 0.5, 0.5]
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
                   weight_decay: 1e-4, weight_decay_bias: 1e-4, max_epochs: 6, warmup_epochs: 2}
          stage2: {ims_per_batch: 32, optimizer_name: Adam, base_lr: 0.0003, warmup_iters: 3,
                   warmup_factor: 0.01, warmup_method: linear, weight_decay: 0.0005,
                   weight_decay_bias: 0.0005, large_fc_lr: false, max_epochs: 9,
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
    return read_hydra(root)["HYDRA"]["NOTES"]


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
        ("MODEL.HEADS.NECK_FEAT", "before"),
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
    config, _ = resolve(tree, stage=1)
    assert config.MODEL.LOSSES.PromptLoss.LEARN and set(config.MODEL.LOSSES) == {"PromptLoss"}
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
    config, _ = resolve(tree, stage=stage)
    ours = write(tmp_path / "ours.yml", config.dump())
    assert resolve(ours, stage=stage) == (config, [])


def test_a_tool_reads_it_and_prints_it(tree, tmp_path, type_tool):
    typed = ["--config-file", tree, "--print-config", "SOLVER.MAX_EPOCH", "3"]
    code, printed, _ = type_tool("train_net.py", *typed)
    assert code == 0
    assert load(write(tmp_path / "ours.yml", printed)) == load(tree, ["SOLVER.MAX_EPOCH", "3"])


def test_graph_sampling_is_of_stage_1(tree):
    change(tree, "training/short", "use_graph_sampling: false", "use_graph_sampling: true")
    prompts = {"DATALOADER": {"SAMPLER": {"NAME": "RandomSampler", "DROP_LAST": False}}}
    fragment = write(tree.parent / "prompts.yml", yaml.safe_dump(prompts))
    for files in ([tree], [tree, fragment]):  # a fragment of ours does not take it away
        first, second = (resolve(files, stage=stage)[0].DATALOADER.SAMPLER for stage in (1, 2))
        assert (first.NAME, first.NUM_INSTANCE, first.BEGIN) == ("TextGraphSampler", 4, 3)
        assert first.FIRST == "RandomSampler" and second.NAME != "TextGraphSampler"


def test_every_key_is_told_or_carried_over(tree):
    """What is changed or left out has a sentence that names it, by its own last word."""
    read = read_hydra(tree)
    told = " ".join(read.pop("HYDRA")["NOTES"])
    words = {key.rpartition(".")[2].lower() for key in flatten(read)}
    keys = {key for text in GROUPS.values() for key in flatten(yaml.safe_load(text))}
    keys |= set(flatten(yaml.safe_load(ROOT))) - {"defaults"}
    for key in keys - {"training.solver.text_features_viz_frequency"}:
        last = key.rpartition(".")[2]
        silent = ("load_from_article", "article_name_weight", "text_features_viz_frequency")
        assert (
            last in words or last in told or key in told or last in (*silent, "use_graph_sampling")
        ), key


def test_their_typos_and_defects_are_named(tree):
    change(tree, "dataset/market", "dataset_dir:", "datast_dir:")
    notes = notes_of(tree)
    assert "logging.tesorboard_dir is read as logging.tensorboard_dir." in notes
    assert "dataset.datast_dir is read as dataset.dataset_dir." in notes
    assert any("nothing stops early" in note for note in notes)  # it watched training accuracy
    assert any("nothing was tested in training there" in note for note in notes)


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
        ("model/rn50", "id_loss_weight", "id_los_weight", LookupError, "model.id_loss_weight"),
        ("training/short", "max_epochs: 9", "max_epoch: 9", LookupError, "stage2.max_epochs"),
        ("model/rn50", "name: RN50", "name: ${hydra:job.name}", ValueError, "no key of the tree"),
        ("model/rn50", "name: RN50", "name: ${model.name}", ValueError, "leads back to itself"),
        ("model/rn50", "name: RN50", "name: ${oc.env:A,${b}}", ValueError, "write the value"),
        ("model/rn50", "name: RN50", "name: [RN50", ValueError, "not valid YAML"),
        ("model/rn50", "sie_view: false", "sie_view: true", ValueError, "people have none"),
    ],
)
def test_what_a_tree_cannot_say(tree, group, old, new, kind, message):
    change(tree, group, old, new)
    with pytest.raises(kind) as caught:
        load(tree)
    assert message in str(caught.value)


def test_a_file_that_is_no_list_of_keys(tree):
    write(tree.parent / "model" / "rn50.yaml", "- RN50\n")
    with pytest.raises(ValueError, match="holds no key: value pairs"):
        read_hydra(tree)
