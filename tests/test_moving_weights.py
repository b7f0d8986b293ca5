"""Runs in which weights rest, are clipped, averaged or taught, as one types them."""

from contextlib import chdir
from pathlib import Path

import pytest
import torch

import reidtools as rt
from reidtools.api.teaching import teacher_of
from reidtools.registry import BACKBONES

SMALL = {
    "MODEL.DEVICE": "cpu",
    "DATASETS.NAMES": "toy",
    "DATASETS.TOY.PEOPLE": "4",
    "DATASETS.TOY.CAMERAS": "2",
    "DATASETS.TOY.PICTURES": "2",
    "MODEL.BACKBONE": "{NAME: osnet_x0_25, PRETRAIN: false}",
    "MODEL.LOSSES": "{CrossEntropyLoss: {}, TripletLoss: {}}",
    "INPUT.SIZE_TRAIN": "[32, 16]",
    "INPUT.PADDING": "2",
    "SOLVER.MAX_EPOCH": "3",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.STEPS": "[9]",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "TEST.EVAL_PERIOD": "1",
    "DATALOADER.SAMPLER.NUM_INSTANCE": "2",
    "DATALOADER.NUM_WORKERS": "2",
}
FREEZE = {"MODEL.FREEZE_LAYERS": "[backbone]", "SOLVER.FREEZE_EPOCHS": "2"}
EMA = {"SOLVER.EMA": "{ENABLED: true, DECAY: 0.9}"}
CLIP = {"SOLVER.CLIP_GRADIENTS": "{ENABLED: true, CLIP_VALUE: 0.01}"}
TAUGHT = "{CrossEntropyLoss: {}, DistillationLoss: {KIND: %s, WEIGHT: 5}}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(**changes):
    return [word for pair in (SMALL | changes).items() for word in pair]


def settings(*parts, **changes):
    chosen = {k.replace("__", "."): v for k, v in changes.items()}
    for part in parts:
        chosen |= part
    return rt.get_config("", words(**chosen))


def read(path):
    return torch.load(path, weights_only=True)


def model(path):
    return read(path)["model"]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def of_backbone(state):
    return {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}


def test_a_frozen_backbone_thaws_after_its_epochs_also_when_resumed(type_tool):
    frozen = words(**FREEZE, OUTPUT_DIR="a")
    code, out, err = type_tool("train_net.py", *frozen)
    assert code == 0, err
    assert "on frozen: backbone" in out and "on trained: backbone" in out
    zero, one, two = (model(f"a/{epoch}.pth") for epoch in range(3))
    assert equal(of_backbone(zero), of_backbone(one)) and not equal(zero, one)
    assert not equal(of_backbone(one), of_backbone(two))
    for epoch in (0, 1):
        rt.train(settings(FREEZE, OUTPUT_DIR=f"b{epoch}", RESUME=f"a/{epoch}.pth"))
        assert equal(model(f"b{epoch}/2.pth"), two)


def test_a_run_with_an_average_tests_and_keeps_it(type_tool):
    code, _, err = type_tool("train_net.py", *words(**EMA, OUTPUT_DIR="a"))
    assert code == 0, err
    last, final = read("a/2_last.pth"), model("a/model_final.pth")
    assert equal(last["model"], final) and not equal(last["moving"]["model"], final)
    trained = rt.train(settings(EMA, OUTPUT_DIR="b", RESUME="a/1.pth"))
    assert equal(model("b/model_final.pth"), final)
    assert equal(read("b/2_last.pth")["moving"]["model"], last["moving"]["model"])
    tested = rt.evaluate(rt.get_config("", ["MODEL.WEIGHTS", "a/model_final.pth"]))
    assert tested.figures == trained.figures


def test_clipped_gradients_move_weights_otherwise(type_tool):
    """SGD, so that the length of a gradient counts: the whole run moves no farther than the rate
    times the limit times the number of steps, and without a momentum."""
    still = {"SOLVER.OPT": "SGD", "SOLVER.MOMENTUM": "0", "SOLVER.WEIGHT_DECAY": "0"}
    still |= {"SOLVER.BASE_LR": "1", "SOLVER.WARMUP_EPOCHS": "0"}
    code, _, err = type_tool("train_net.py", *words(**CLIP, **still, OUTPUT_DIR="a"))
    assert code == 0, err
    names = read("a/0.pth")["optimizer_names"]
    steps = read("a/2.pth")["iteration"] - read("a/0.pth")["iteration"]

    def learned(path):
        state = read(path)
        both = {f"{part}.{n}": t for part in ("model", "objective") for n, t in state[part].items()}
        return torch.cat([both[name].flatten() for name in names])

    moved = (learned("a/2.pth") - learned("a/0.pth")).norm().item()
    assert 0 < moved <= 1.001 * steps * 0.01


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A trained network of another kind: checkpoint of its only epoch."""
    changes = {"MODEL__HEADS.EMBEDDING_DIM": "24", "INPUT__SIZE_TRAIN": "[40, 20]"}
    changes |= {"INPUT__PIXEL_MEAN": "[0.5, 0.5, 0.5]", "SOLVER__MAX_EPOCH": "1"}
    folder = tmp_path_factory.mktemp("teacher")
    with chdir(folder):
        rt.train(settings(OUTPUT_DIR="t", **changes))
    return str(folder / "t/0.pth")


@pytest.mark.parametrize("kind", ["relations", "features", "logits"])
def test_a_student_learns_from_a_checkpoint(type_tool, teacher, kind):
    taught = {"MODEL.LOSSES": TAUGHT % kind, "MODEL.TEACHER": teacher, "SOLVER.MAX_EPOCH": "2"}
    code, out, err = type_tool("train_net.py", *words(**taught, OUTPUT_DIR="a"))
    assert code == 0, err
    assert f"Teacher: osnet_x0_25 of {teacher}, 24 values" in out and "DistillationLoss" in out
    state = read("a/1.pth")
    maps = {n: tuple(t.shape) for n, t in state["objective"].items() if "Distillation" in n}
    shapes = {"relations": {}, "features": (24, 512), "logits": (4, 512)}
    name = "losses.DistillationLoss.map.weight"
    assert maps == ({name: shapes[kind]} if shapes[kind] else {})
    rt.train(settings(taught, OUTPUT_DIR="b", RESUME="a/0.pth"))
    assert equal(model("b/1.pth"), state["model"])


@pytest.mark.parametrize("with_classifier", [True, False])
def test_a_teacher_of_others_teaches_too(with_classifier):
    """Of torchreid: its names, no config. Its classifier is taken for a linear one."""
    torch.manual_seed(0)
    network = BACKBONES.build("osnet_x0_25", {}, {})
    state = network.state_dict()
    if with_classifier:
        state |= {"classifier.weight": torch.randn(9, 512), "classifier.bias": torch.randn(9)}
    torch.save({"state_dict": {f"module.{n}": t for n, t in state.items()}}, "theirs.pth")
    cfg = settings(MODEL__LOSSES=TAUGHT % "logits", MODEL__TEACHER="theirs.pth")
    if not with_classifier:
        with pytest.raises(ValueError, match="no classifier"):
            rt.train(cfg)
        return
    teacher = teacher_of(cfg, torch.device("cpu"))
    assert (teacher.dim, teacher.people) == (512, 9)
    x = torch.randn(3, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    larger = torch.nn.functional.interpolate(x, (256, 128), mode="bilinear", antialias=True)
    with torch.no_grad():
        vectors = network.eval()(larger)
    logits = vectors @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(teacher(x)["logits"], logits, rtol=1e-4, atol=1e-4)


def test_a_teacher_changes_what_is_learned_but_not_where_it_begins(teacher):
    """With a rate of next to nothing a student stays where it would be without a teacher."""
    slow = {"SOLVER.MAX_EPOCH": "1", "SOLVER.BASE_LR": "1e-12", "SOLVER.ETA_MIN_LR": "1e-13"}
    alone = {"MODEL.LOSSES": "{CrossEntropyLoss: {}}"}
    rt.train(settings(slow, alone, OUTPUT_DIR="a"))
    rt.train(
        settings(slow, OUTPUT_DIR="b", MODEL__LOSSES=TAUGHT % "logits", MODEL__TEACHER=teacher)
    )
    torch.testing.assert_close(model("b/0.pth"), model("a/0.pth"), rtol=0, atol=1e-9)


def test_all_of_it_together_resumes_bit_for_bit(teacher):
    parts = (FREEZE, EMA, CLIP, {"MODEL.LOSSES": TAUGHT % "relations", "MODEL.TEACHER": teacher})
    more = {"SOLVER.MICRO_BATCH": "3", "SOLVER.ACCUMULATE": "2"}
    more |= {"SOLVER.AMP": "{ENABLED: true, DTYPE: bf16}"}
    rt.train(settings(*parts, more, OUTPUT_DIR="a"))
    rt.train(settings(*parts, more, OUTPUT_DIR="b", RESUME="a/1.pth"))
    a, b = read("a/2.pth"), read("b/2.pth")
    assert equal(a["model"], b["model"]) and equal(a["objective"], b["objective"])
    assert equal(a["moving"]["model"], b["moving"]["model"])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"SOLVER.FREEZE_ITERS": "3"}, ValueError, "MODEL.FREEZE_LAYERS.*names none"),
        ({"MODEL.FREEZE_LAYERS": "[backbon]"}, LookupError, "Did you mean 'backbone'"),
        (FREEZE | {"SOLVER.FREEZE_ITERS": "3"}, ValueError, "set one of"),
        (
            {"MODEL.FREEZE_LAYERS": "[backbone, heads]", "MODEL.LOSSES": "TripletLoss"},
            ValueError,
            "leaves nothing that learns",
        ),
        (FREEZE | {"SOLVER.FREEZE": "model"}, ValueError, "leave out"),
        (EMA | {"SOLVER.FREEZE": "model"}, ValueError, "SOLVER.EMA would average"),
        ({"SOLVER.EMA": "{ENABLED: true, DECAY: 1}"}, ValueError, "decay is 1"),
        ({"SOLVER.CLIP_GRADIENTS": "{ENABLED: true, CLIP_TYPE: nrm}"}, LookupError, "'norm'"),
        ({"MODEL.LOSSES": TAUGHT % "relations"}, ValueError, "checkpoint in MODEL.TEACHER"),
        ({"MODEL.TEACHER": "t.pth"}, ValueError, "add DistillationLoss"),
        (
            {"MODEL.LOSSES": TAUGHT % "relations", "MODEL.TEACHER": "t.pth"},
            FileNotFoundError,
            "t.pth",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(folder, changes, error, message):
    with pytest.raises(error, match=message):
        rt.train(settings(changes, OUTPUT_DIR="a"))
    assert not (folder / "a").exists()


def test_a_teacher_that_is_not_whole_or_has_no_classifier_is_refused(folder, teacher):
    state = read(teacher)
    del state["model"]["backbone.conv1.conv.weight"]
    torch.save(state, "part.pth")
    relations, logits = ({"MODEL.LOSSES": TAUGHT % kind} for kind in ("relations", "logits"))
    with pytest.raises(ValueError, match="part.pth does not fill"):
        rt.train(settings(relations, OUTPUT_DIR="a", MODEL__TEACHER="part.pth"))
    bare = str(Path(teacher).with_name("model_final.pth"))
    with pytest.raises(ValueError, match="has no classifier"):
        rt.train(settings(logits, OUTPUT_DIR="a", MODEL__TEACHER=bare))
    (folder / "page.pth").write_text("<!DOCTYPE html><html>Quota exceeded</html>")
    with pytest.raises(ValueError, match="web page"):
        rt.train(settings(relations, OUTPUT_DIR="a", MODEL__TEACHER="page.pth"))
    assert not (folder / "a").exists()
