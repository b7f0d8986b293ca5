"""A model that is built without drawing weights, and then filled, is the one that was drawn."""

import pytest
import torch
from torch import nn

import reidtools as rt
from reidtools import build
from reidtools.config import load as configs
from reidtools.engine.checkpoints import save
from reidtools.modeling import weights
from reidtools.modeling.blank import Blank
from reidtools.registry import BACKBONES

SIZE = (64, 32)
OPTIONS = {"timm": {"timm_name": "convnext_atto"}}
# Too slow to run here, and the same code as a smaller one of their family.
LARGE = {"resnet101", "resnet152", "resnet101_ibn_a", "densenet169", "densenet201"}
LARGE |= {"resnest101", "solider_swin_small", "solider_swin_base", "transreid_vit_base"}
LARGE |= {"vit_base_patch16"}


def make(name):
    return BACKBONES.build(name, {"image_size": SIZE}, OPTIONS.get(name, {})).eval()


def zeros(model):
    """The share of values of the model that are 0."""
    values = torch.cat([weight.flatten() for weight in model.parameters()])
    return (values == 0).float().mean()


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - LARGE))
def test_every_backbone_is_the_same_once_it_is_filled(name):
    torch.manual_seed(0)
    drawn = make(name)
    with Blank():
        blank = make(name)
    assert zeros(blank) > 0.6 > zeros(drawn)  # else nothing was saved
    constant = dict(drawn.named_buffers())
    for key, buffer in blank.named_buffers():
        assert torch.equal(buffer, constant[key]), key
    blank.load_state_dict(drawn.state_dict())
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        assert torch.equal(blank(images), drawn(images))


def test_what_is_no_weight_is_drawn_and_constants_stay():
    with Blank():
        norm, noise = nn.BatchNorm1d(3), torch.empty(1000).normal_()
        tensor, weight = nn.init.normal_(torch.empty(1000)), nn.Parameter(torch.empty(1000))
        nn.init.trunc_normal_(weight, mean=3.0, a=2.0, b=4.0)  # 0 is out of its bounds
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all()
    assert 0.9 < noise.std() < 1.1 and 0.9 < tensor.std() < 1.1
    assert 0 <= weight.min() and weight.max() <= 4
    assert nn.Linear(3, 3).weight.ne(0).all()  # and afterwards all is as ever


def saved(path):
    """The file of a small model, and the model."""
    words = ["MODEL.BACKBONE.NAME", "osnet_x0_25", "INPUT.SIZE_TRAIN", "[64, 32]"]
    cfg = configs.load("", [*words, "MODEL.TEMPORAL.NAME", "Attention", "MODEL.DEVICE", "cpu"])
    torch.manual_seed(0)
    model = build.embedder(cfg)
    save({"model": model.state_dict(), "config": configs.dump(cfg)}, path)
    return model


def test_a_loaded_model_is_the_saved_one_and_not_drawn(tmp_path, monkeypatch):
    model, begun, fit = saved(tmp_path / "model.pth"), [], weights.fit

    def spied(model, state, format=""):
        begun.append(zeros(model.backbone))
        return fit(model, state, format)

    monkeypatch.setattr(weights, "fit", spied)
    loaded = rt.load(tmp_path / "model.pth", "cpu").state_dict()
    assert len(begun) == 1 and begun[0] > 0.9
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_what_the_file_may_leave_out_is_drawn(tmp_path):
    """Attention over frames begins as their mean, and could not learn from zeros alone."""
    path = tmp_path / "model.pth"
    saved(path)
    content = weights.read(path)
    bare = {k: v for k, v in content["model"].items() if not k.startswith("temporal.")}
    save(content | {"model": bare}, path)
    assert rt.load(path, "cpu").temporal.hidden.weight.ne(0).all()
