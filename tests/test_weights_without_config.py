"""Weights that bring no config: their network is read off, told, and is under what was typed."""

import shutil
from pathlib import Path

import pytest
import torch
from test_api import CONFIGS, folder, settings  # noqa: F401  (its folder is used here as well)
from test_tools import QUICK, run

import reidtools as rt
from reidtools.modeling import Embedder
from reidtools.registry import BACKBONES, HEADS

TOY = ["DATASETS.NAMES", "toy", *QUICK]


def osnet(name="osnet_x0_25"):
    """The state dict of an OSNet, as torchreid saves one that was trained on 4 people."""
    torch.manual_seed(0)
    state = BACKBONES[name]().state_dict()
    return state | {"classifier.weight": torch.zeros(4, 512), "classifier.bias": torch.zeros(4)}


@pytest.fixture
def foreign(folder):  # noqa: F811
    torch.save({"state_dict": osnet(), "epoch": 3}, "osnet_x0_25_msmt17.pth")
    return "osnet_x0_25_msmt17.pth"


def test_the_network_is_under_what_was_typed(foreign, capsys):
    cfg = rt.get_config("", ["MODEL.WEIGHTS", foreign, "DATASETS.NAMES", "toy"])
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_25" and cfg.MODEL.BACKBONE.FC is True
    assert cfg.MODEL.HEADS.NAME == "Linear" and cfg.DATASETS.NAMES == ["toy"]
    assert cfg.INPUT.SIZE_TRAIN == [256, 128]
    said = capsys.readouterr().out
    assert said.count(f"{foreign} is osnet_x0_25 with Linear (torchreid layout).") == 1
    typed = ["MODEL.WEIGHTS", foreign, "MODEL.HEADS.NAME", "BNNeck"]
    assert rt.get_config("", typed).MODEL.HEADS.NAME == "BNNeck"


def test_options_without_tensors_may_be_typed(folder):  # noqa: F811
    torch.save(BACKBONES["resnet18"]().state_dict(), "resnet18.pth")
    words = ["MODEL.WEIGHTS", "resnet18.pth"]
    assert rt.get_config("", words).MODEL.BACKBONE.LAST_STRIDE == 2
    assert rt.get_config("", [*words, "MODEL.BACKBONE.LAST_STRIDE", "1"]).MODEL.BACKBONE == {
        **rt.get_config("", words).MODEL.BACKBONE,
        "LAST_STRIDE": 1,
    }


def test_a_config_file_decides_alone(foreign):
    cfg = rt.get_config(CONFIGS / "256_resnet50.yml", ["MODEL.WEIGHTS", foreign])
    assert cfg.MODEL.BACKBONE.NAME == "resnet50" and cfg.MODEL.HEADS.NAME == "BNNeck"


@pytest.mark.parametrize("key", ["MODEL.BACKBONE.NAME", "MODEL.BACKBONE", "MODEL.NAME"])
def test_another_network_that_was_typed_is_refused_when_the_weights_are_loaded(foreign, key):
    cfg = rt.get_config("", [*TOY, "MODEL.WEIGHTS", foreign, key, "osnet_x0_5"])
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_5"
    with pytest.raises(ValueError, match=r"msmt17\.pth does not fill osnet_x0_5"):
        rt.evaluate(cfg)


def test_the_same_network_may_be_typed(foreign):
    cfg = rt.get_config("", ["MODEL.WEIGHTS", foreign, "MODEL.BACKBONE.NAME", "osnet_x0_25"])
    assert cfg.MODEL.HEADS.NAME == "Linear"


def test_a_name_of_a_file_that_says_another_network_is_a_warning(foreign, capsys):
    shutil.copy(foreign, "osnet_x1_0_market.pth")
    cfg = rt.get_config("", ["MODEL.WEIGHTS", "osnet_x1_0_market.pth"])
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_25"
    assert "name says osnet_x1_0, but its tensors are those of osnet_x0_25" in (
        capsys.readouterr().err
    )


def test_weights_of_nothing_are_refused_unless_a_network_is_named(folder):  # noqa: F811
    torch.save({"w": torch.zeros(3)}, "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth has 1 tensors.*MODEL\.BACKBONE\.NAME"):
        rt.get_config("", ["MODEL.WEIGHTS", "w.pth"])
    with pytest.raises(ValueError, match=r"w\.pth has 1 tensors"):
        rt.load("w.pth")
    named = rt.get_config("", ["MODEL.WEIGHTS", "w.pth", "MODEL.BACKBONE.NAME", "resnet18"])
    assert named.MODEL.BACKBONE.NAME == "resnet18"


def test_loading_and_torchreid_s_call_give_the_numbers_of_the_network(foreign):
    pictures = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    backbone = BACKBONES["osnet_x0_25"]().eval()
    backbone.load_state_dict(osnet(), strict=False)
    with torch.inference_mode():
        expected = backbone(pictures)
        model = rt.load(foreign, "cpu")
        assert torch.allclose(model(pictures)[1], expected, atol=1e-6)
        assert not model.training and model.config.MODEL.BACKBONE.NAME == "osnet_x0_25"
    extract = rt.FeatureExtractor(model_path=foreign, image_size=(64, 32), device="cpu")
    assert torch.allclose(extract(pictures), expected, atol=1e-6)
    assert extract.model.config.INPUT.SIZE_TRAIN == [64, 32]


def test_a_fastreid_file_keeps_its_neck(folder):  # noqa: F811
    torch.manual_seed(0)
    ours = Embedder(BACKBONES["resnet18"](stem_ceil=True), HEADS["BNNeck"](512, False)).eval()
    torch.nn.init.normal_(ours.heads.neck.running_mean)
    state = {k.replace("heads.neck", "heads.bottleneck.0"): v for k, v in ours.state_dict().items()}
    torch.save({"model": state | {"heads.weight": torch.zeros(4, 512)}}, "market_bot_R18.pth")
    model = rt.load("market_bot_R18.pth", "cpu")
    pictures = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(model(pictures)[1], ours(pictures)[1], atol=1e-5)
    assert model.config.MODEL.BACKBONE.STEM_CEIL is True


def test_figures_are_those_with_the_config_typed_out(foreign):
    whole = settings(MODEL__HEADS="Linear", MODEL__WEIGHTS=foreign)
    read_off = rt.get_config("", [*TOY, "MODEL.WEIGHTS", foreign])
    assert rt.evaluate(read_off).figures == rt.evaluate(whole).figures


def test_training_goes_on_from_them(foreign):
    words = [*TOY, "SOLVER.MAX_EPOCH", "1", "OUTPUT_DIR", "a", "MODEL.LOSSES", "[TripletLoss]"]
    rt.train(rt.get_config("", [*words, "MODEL.WEIGHTS", foreign]))
    saved = rt.get_config("", ["MODEL.WEIGHTS", "a/model_final.pth"])  # now with a config
    assert saved.MODEL.BACKBONE.NAME == "osnet_x0_25" and saved.MODEL.HEADS.NAME == "Linear"
    log = Path("a/log.txt").read_text()
    assert "torchreid layout: 565 of 565 tensors matched" in log


def test_the_documented_command(foreign, folder):  # noqa: F811
    done = run("test.py", "MODEL.WEIGHTS", foreign, *TOY, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "mAP" in done.stdout
    refused = run(
        "test.py", "MODEL.WEIGHTS", foreign, *TOY, "MODEL.BACKBONE", "osnet_x1_0", cwd=folder
    )
    assert refused.returncode == 1 and "does not fill osnet_x1_0" in refused.stderr
