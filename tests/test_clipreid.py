"""CLIP-ReID typed as documented, with towers so small that a stage takes a second."""

import json
from pathlib import Path

import pytest
import torch

import reidtools as rt
from reidtools import build
from reidtools.files import locked
from reidtools.modeling.weights import read, state_of
from reidtools.texts import new_tower

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = (
    "DATASETS.NAMES toy DATASETS.TOY.PEOPLE 4 DATASETS.TOY.CAMERAS 2 DATASETS.TOY.PICTURES 2 "
    "INPUT.SIZE_TRAIN [32,16] INPUT.PADDING 2 SOLVER.IMS_PER_BATCH 8 MODEL.DEVICE cpu "
    "MODEL.TEXT.WIDTH 16 MODEL.TEXT.LAYERS 1 MODEL.TEXT.CONTEXT_LENGTH 16 "
    "SOLVER.STAGE1.MAX_EPOCH 2 SOLVER.MAX_EPOCH 2 SOLVER.WARMUP_EPOCHS 1"
).split()
RN50 = [*TINY, *"MODEL.BACKBONE.WIDTH 2 MODEL.BACKBONE.LAYERS [1,1,1,1]".split()]
RN50 += ["MODEL.BACKBONE.JOINT_DIM", "8"]
VIT = [*TINY, *"MODEL.BACKBONE.WIDTH 16 MODEL.BACKBONE.LAYERS 2 MODEL.BACKBONE.JOINT_DIM 8".split()]
VIT += (
    "MODEL.BACKBONE.PATCH 8 MODEL.BACKBONE.STRIDE_SIZE [4,4] MODEL.BACKBONE.PRETRAIN False".split()
)
HOME = Path("logs/toy/clip_rn50/clipreid")
SMALL = ("--config-file", CONFIGS / "clip_small.yml")
VIT_FILE = ("--config-file", CONFIGS / "clip_vit_b16_sie_olp.yml")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return tmp_path_factory.mktemp("clip")


@pytest.fixture
def at_home(drawn, tmp_path, monkeypatch):
    """An empty folder, with the toy people of the others."""
    (drawn / "datasets").mkdir(exist_ok=True)
    (tmp_path / "datasets").symlink_to(drawn / "datasets")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def captions(folder, of=".jpg"):
    """A caption for every picture of the toy people whose file name has `of`."""
    names = sorted(p.name for p in (folder / "datasets/toy/bounding_box_train").glob(f"*{of}*"))
    told = {name: [f"person {name[:4]} walks", f"{name[5:7]} sees somebody"] for name in names}
    path = folder / "captions_parsed.json"
    path.write_text(json.dumps(told | {"9999_c9s1_000001_00.jpg": ["nobody"]}))
    return path


def test_two_stages_then_nothing_left_then_a_test(at_home, type_tool):
    torch.manual_seed(5)
    tower = build.embedder(rt.get_config(CONFIGS / "clip_small.yml", RN50)).state_dict()
    torch.save(tower, "tower.pth")
    begin = [*RN50, "MODEL.WEIGHTS", "tower.pth"]
    code, out, err = type_tool("train_clipreid.py", *SMALL, *begin)
    assert code == 0, err
    files = [HOME / "RN50_stage1_2.pth", HOME / "CLIP-ReID_RN50_final.pth"]
    assert all(file.is_file() for file in files)
    assert out.index("stage1, 2 epochs") < out.index("stage2, 2 epochs")
    assert "Embedded 16 training samples once" in out
    one, two = (state_of(read(file)) for file in files)

    # Stage 1 has moved nothing but the words; stage 2 nothing but the tower, the necks and heads.
    for name, tensor in tower.items():
        theirs = name.replace("backbone.", "image_encoder.")
        assert not name.startswith("backbone.") or torch.equal(one[theirs], tensor), name
    texts = [name for name in two if name.startswith(("text_encoder.", "prompt_learner."))]
    assert texts and all(torch.equal(one[name], two[name]) for name in texts)
    assert not torch.equal(one["image_encoder.conv1.weight"], two["image_encoder.conv1.weight"])
    assert "text_encoder.token_embedding.weight" in one.keys() - two.keys()
    assert two["classifier.weight"].shape == (4, 64) and two["prompt_learner.cls_ctx"].shape[0] == 4
    assert torch.load(files[1], weights_only=True).keys() == two.keys()  # as their code reads it

    code, out, _ = type_tool("train_clipreid.py", *SMALL, *begin)
    assert code == 0 and out.count("Loading from checkpoint") == 2 and "epoch 0" not in out
    torch.save({**tower, "heads.neck.bias": tower["heads.neck.bias"] + 1}, "tower.pth")
    code, _, err = type_tool("train_clipreid.py", *SMALL, *begin)
    assert code == 1 and "began with other weights or captions" in err

    code, out, err = type_tool("test_clipreid.py", *SMALL, *RN50)
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.startswith("| toy")).split("|")
    rank1, rank5, mean = (float(row[place]) for place in (2, 3, 7))
    assert f"Test Results - Rank-1: {rank1:.2f}%" in out
    assert f"Test Results - Rank-5: {rank5:.2f}%" in out
    assert f"Test Results - mAP: {mean:.2f}%" in out
    # The file alone says all of it, and so would one without its note.
    _, alone, _ = type_tool("test_clipreid.py", "MODEL.WEIGHTS", files[1])
    assert f"Test Results - mAP: {mean:.2f}%" in alone
    torch.save(dict(two), "published.pth")
    words = ["MODEL.WEIGHTS", "published.pth", *TINY[:8], "INPUT.SIZE_TRAIN", "[32,16]"]
    words += ["INPUT.INTERPOLATION", "area"]  # without a note: as the authors
    code, plain, err = type_tool("test_clipreid.py", *words)
    assert code == 0, err
    assert f"Test Results - mAP: {mean:.2f}%" in plain


def test_only_the_words_of_stage_1_are_trained(at_home):
    from reidtools.api.training import _trainer
    from reidtools.api.training_data import training_data

    files = CONFIGS / "clip_small.yml"
    cfg = rt.get_config(files, RN50, fragment=CONFIGS / "clip_prompts.yml", stage=1)
    samples, captions, _ = training_data(cfg)
    trainer = _trainer(cfg, samples, captions, torch.device("cpu"))
    before = {n: w.clone() for n, w in trainer.model.state_dict().items()}
    texts = {n: w.clone() for n, w in trainer.objective.state_dict().items()}
    assert trainer.state_dict()["optimizer_names"] == ["objective.losses.PromptLoss.context"]
    rates = [progress.lr for progress in trainer if progress.epoch_done]
    # The first epoch is number 1, after a warm-up of one: halfway down the cosine, then its end.
    assert rates == pytest.approx([(0.0035 + 1e-6) / 2, 1e-6])
    assert all(torch.equal(w, before[n]) for n, w in trainer.model.state_dict().items())
    moved = [n for n, w in trainer.objective.state_dict().items() if not torch.equal(w, texts[n])]
    assert moved == ["losses.PromptLoss.context"]


def test_a_stopped_stage_goes_on_and_another_config_is_refused(at_home, type_tool, monkeypatch):
    monkeypatch.setattr("reidtools.api.running.FROZEN_PAUSE", -1)
    period = ["SOLVER.STAGE1.CHECKPOINT_PERIOD", "1"]
    type_tool("train_clipreid.py", *SMALL, *RN50, *period, "--only", "1")
    code, _, err = type_tool("train_clipreid.py", *SMALL, *RN50, "SEED", "5")
    assert code == 1 and "is of another config: SEED was 1, is 5" in err
    assert not (HOME / "stage2").exists()

    # As if it had died before its file was written: there is nothing left to train.
    whole = state_of(read(HOME / "RN50_stage1_2.pth"))
    (HOME / "RN50_stage1_2.pth").unlink()
    code, out, _ = type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "1")
    assert code == 0 and "trained to its end" in out and "epoch 1/1" not in out
    again = state_of(read(HOME / "RN50_stage1_2.pth"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)

    # As if it had died after its first epoch: it ends as if it had not.
    (HOME / "RN50_stage1_2.pth").unlink()
    (HOME / "stage1/1_last.pth").unlink()
    (HOME / "stage1/1.pth").unlink()
    code, _, err = type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "1", "SEED", "5")
    assert code == 1 and "stage1 is of another config" in err
    code, out, _ = type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "1")
    assert code == 0 and "Resuming" in out and "epoch 1/1" in out and "epoch 0/1" not in out
    again = state_of(read(HOME / "RN50_stage1_2.pth"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_two_trainings_do_not_share_a_folder(at_home, type_tool):
    with locked(HOME):
        code, _, err = type_tool("train_clipreid.py", *SMALL, *RN50)
    assert code == 1 and "Another process is at work" in err and not HOME.exists()
    code, _, err = type_tool("train_clipreid.py", *SMALL, *RN50, "EXP_NAME", "../x")
    assert code == 1 and "cannot name a folder" in err


def test_the_text_tower_comes_from_the_file_whole_or_not_at_all(at_home, type_tool):
    cfg = rt.get_config(CONFIGS / "clip_small.yml", RN50)
    model = build.embedder(cfg)
    images = {n.replace("backbone.", "visual."): t for n, t in model.state_dict().items()}
    images = {n: t for n, t in images.items() if n.startswith("visual.")}
    words = [*RN50, "--only", "1", "SOLVER.STAGE1.MAX_EPOCH", "1"]
    torch.save(images | new_tower(cfg, model).state_dict(), "clip.pt")
    theirs = torch.load("clip.pt")["text_projection"]
    for n, key in enumerate(("MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAIN_PATH")):
        more = [key, "clip.pt", "MODEL.BACKBONE.PRETRAIN", str(n == 1), "OUTPUT_DIR", f"run{n}"]
        code, _, err = type_tool("train_clipreid.py", *SMALL, *words, *more)
        assert code == 0 and "text tower is new" not in err, err
        made = state_of(read(f"run{n}/RN50_stage1_1.pth"))
        assert torch.equal(made["text_encoder.text_projection"], theirs)
    more = ["MODEL.BACKBONE.PRETRAIN_PATH", "clip.pt", "MODEL.BACKBONE.PRETRAIN", "True"]
    torch.save(images, "clip.pt")
    code, _, err = type_tool("train_clipreid.py", *SMALL, *words, *more)
    assert code == 1 and "no text tower of the sizes in MODEL.TEXT" in err
    deep = rt.get_config(CONFIGS / "clip_small.yml", [*RN50, "MODEL.TEXT.LAYERS", "2"])
    torch.save(images | new_tower(deep, model).state_dict(), "clip.pt")
    code, _, err = type_tool("train_clipreid.py", *SMALL, *words, *more)
    assert code == 1 and "resblocks.1" in err


def test_prompts_are_of_these_people_and_this_template(at_home, type_tool):
    type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "1")
    made = HOME / "RN50_stage1_2.pth"
    words = [*RN50, "--only", "2", "MODEL.WEIGHTS", made, "OUTPUT_DIR", "other"]
    template = ["MODEL.LOSSES.PromptLoss.TEMPLATE", "A photo of a X X X X car on a road."]
    code, _, err = type_tool("train_clipreid.py", *SMALL, *words, *template)
    assert code == 1 and "was learned with the TEMPLATE 'A photo of a X X X X person.'" in err
    (at_home / "datasets/others").unlink(missing_ok=True)
    (at_home / "datasets/others").symlink_to("toy")
    code, _, err = type_tool("train_clipreid.py", *SMALL, *words, "DATASETS.NAMES", "others")
    assert code == 1 and "prompts of the people of toy" in err, err
    # An option of the network that a file is of may be typed without naming the network.
    after = ["MODEL.WEIGHTS", made, "MODEL.HEADS.TEST_FEAT", "after"]
    code, _, err = type_tool("test_clipreid.py", *after)
    assert code == 0, err


def test_stage_2_needs_prompts_of_these_people(at_home, type_tool):
    code, _, err = type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "2")
    assert code == 1 and "prompts that were learned before" in err and "train_clipreid.py" in err
    assert not list(HOME.glob("stage2/*.pth"))
    type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "1")
    state = state_of(read(HOME / "RN50_stage1_2.pth"))
    state["prompt_learner.cls_ctx"] = torch.cat([state["prompt_learner.cls_ctx"]] * 2)
    torch.save(state, "others.pth")
    words = [*RN50, "MODEL.WEIGHTS", "others.pth", "--only", "2"]
    code, _, err = type_tool("train_clipreid.py", *SMALL, *words)
    assert code == 1 and "has prompts of 8 people, and the training set has 4" in err


def test_captions_in_all_stages(at_home, type_tool, monkeypatch):
    type_tool("check_data.py", *SMALL, *RN50)  # draws the people
    told = captions(at_home, of="_c1")
    words = [*RN50, "DATASETS.CAPTIONS", told, "LOG.TEXT_MAPS", "2", "SOLVER.LOG_PERIOD", "1"]
    words += ["SOLVER.STAGE1.LOG_PERIOD", "1", "MODEL.LOSSES.PromptLoss.REDRAW", "1"]
    code, out, err = type_tool("train_clipreid.py", *SMALL, *words, "--stage0")
    assert code == 0, err
    assert "8 of 16 pictures (50.0 %)" in out and "1 captions, of 1 pictures, belong to no" in out
    assert {file.name for file in HOME.glob("*.pth")} == {
        *("RN50_stage0_2.pth", "RN50_stage1_2.pth", "CLIP-ReID_RN50_final.pth")
    }
    zero, one = (state_of(read(HOME / f"RN50_stage{n}_2.pth")) for n in (0, 1))
    same = [n for n in zero if n.startswith(("image_encoder.", "text_encoder."))]
    assert len(same) > 20 and all(torch.equal(zero[n], one[n]) for n in same)
    # The template's words are those of the table that stage 0 has trained.
    table = zero["text_encoder.token_embedding.weight"]
    assert torch.equal(one["prompt_learner.token_prefix"][0, 0], table[49406])
    maps = sorted(path.name for path in (HOME / "stage1/text_features_viz").glob("*.png"))
    assert maps[0] == "epoch_0_step_1_2d_viz.png" and len(maps) >= 2


def test_cameras_strides_graphs_and_half_precision(at_home, type_tool):
    extra = ["--stage1", CONFIGS / "clip_prompts_graph.yml", "SOLVER.AMP.DTYPE", "bf16"]
    extra += ["DATALOADER.SAMPLER.NUM_INSTANCE", "2", "MODEL.BACKBONE.GRAD_CHECKPOINT", "True"]
    extra += ["SOLVER.ACCUMULATE", "2", "SOLVER.STAGE1.MAX_EPOCH", "5"]
    code, _, err = type_tool("train_clipreid.py", *VIT_FILE, *VIT, *extra)
    assert code == 0, err
    home = Path("logs/toy/clip_vit_b16/clipreid")
    final = state_of(read(home / "CLIP-ReID_ViT-B-16_final.pth"))
    assert final["cv_embed"].shape == (2, 16)
    assert final["image_encoder.positional_embedding"].shape == (1 + 7 * 3, 16)
    # Two batches an epoch until epoch 3, then one for each of the four people.
    rows = [json.loads(line) for line in (home / "stage1/metrics.jsonl").open()]
    ends = {row["epoch"]: row["iteration"] for row in rows if "iteration" in row}
    assert [ends[epoch] for epoch in range(5)] == [2, 4, 6, 10, 14]


def test_the_image_tower_as_onnx(at_home, type_tool):
    pytest.importorskip("onnxruntime")
    code, out, err = type_tool("train_clipreid.py", *VIT_FILE, *VIT, "--export")
    assert code == 0, err
    file = Path("logs/toy/clip_vit_b16/clipreid/CLIP-ReID_ViT-B-16_final_onnx_format.onnx")
    assert f"{file}" in out and "vectors (batch, 24)" in out
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    names = [value.name for value in session.get_inputs()]
    assert names == ["images", "camera_label"]
    assert all(isinstance(value.shape[0], str) for value in session.get_inputs())  # any batch
    code, out, err = type_tool("test.py", "MODEL.WEIGHTS", file)
    assert code == 0, err
    code, torchs, err = type_tool("test_clipreid.py", *VIT_FILE, *VIT)
    assert code == 0, err
    rows = [
        next(line for line in o.splitlines() if line.startswith("| toy")) for o in (out, torchs)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", "RN50.pt"], "RN50.pt"),
        (["MODEL.TEXT.VOCAB", "nowhere.txt.gz"], "nowhere.txt.gz.*CLIP"),
        (["MODEL.LOSSES.PromptLoss.TEMPLATE", "A photo of a person."], "has no X"),
        (["MODEL.LOSSES.PromptLoss.TEMPLATE", "A X photo of a X person."], "side by side"),
        (["MODEL.LOSSES.PromptLoss.TEMPLATE", "X " * 20], "22 tokens.*room for 16"),
        (["DATASETS.CAPTIONS", "nowhere.json"], "nowhere.json"),
        (["DATASETS.CAPTIONED_ONLY", "True"], "DATASETS.CAPTIONS"),
        (["MODEL.HEADS.NAME", "BNNeck"], "ClipNecks"),
        (["SOLVER.FREEZE", "all"], "use model"),
    ],
)
def test_what_cannot_be_trained_says_why(at_home, type_tool, words, says):
    import re

    code, _, err = type_tool("train_clipreid.py", *SMALL, *RN50, "--only", "1", *words)
    assert code == 1 and re.search(says, err, re.DOTALL), err
    assert not list(Path("logs").rglob("*.pth"))


def test_runs_in_mlflow_are_called_by_name_and_stage(monkeypatch):
    from reidtools.api import training

    monkeypatch.setattr(training.tracking, "Tracker", lambda run, params, **words: words["name"])
    files, words = CONFIGS / "clip_small.yml", [*RN50, "LOG.MLFLOW", "True"]
    for more, name in (([], "stage2"), (["EXP_NAME", "mine"], "mine_stage2")):
        assert training._tracker(rt.get_config(files, [*words, *more]), Path()) == name
