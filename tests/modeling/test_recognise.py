"""Which network a file is of, from names and shapes alone: all tensors are on torch's meta device.

The manifests list the state dicts of the public projects; see tests/golden/README.md.
"""

import sys
from types import ModuleType

import pytest
import torch
from golden_models import MANIFESTS

from reidtools.modeling import Embedder
from reidtools.modeling.layouts import layout_of, of_objective, translate
from reidtools.modeling.recognise import named_in, recognise
from reidtools.registry import BACKBONES, HEADS, TEMPORAL

OSNETS = [name for name in MANIFESTS if name.startswith("torchreid.")]


def listed(manifest):
    keys = MANIFESTS[manifest]["keys"]
    return {name: torch.empty(shape, device="meta") for name, shape, _ in keys}


def built(backbone, head="Linear", temporal="Mean", *, backbone_options=None, **head_options):
    """The state dict of a model of ours."""
    with torch.device("meta"):
        body = BACKBONES.build(backbone, {"image_size": (256, 128)}, backbone_options or {})
        heads = HEADS[head](body.dim, body.pooled, **head_options)
        return Embedder(body, heads, TEMPORAL[temporal](heads.dim)).state_dict()


def bare(backbone, **options):
    """The state dict of a backbone, with a classifier: how torchreid saves one."""
    with torch.device("meta"):
        state = BACKBONES[backbone](**options).state_dict()
    return state | {"classifier.weight": torch.empty(10, 512, device="meta")}


@pytest.mark.parametrize("manifest", OSNETS)
def test_every_osnet_of_torchreid_by_its_tensors_alone(manifest):
    found = recognise(listed(manifest))
    name = manifest.removeprefix("torchreid.")
    assert found == ("torchreid", name, {}, "Linear", {}, (), (), None, "bilinear")


def test_there_are_six_of_them():
    assert len(OSNETS) == 6


@pytest.mark.parametrize(
    ("manifest", "backbone", "options"),
    [
        ("ctl.resnet50", "resnet50", {"stem_relu": False}),
        ("ctl.resnet50_ibn_a", "resnet50_ibn_a", {}),
        ("fastreid.bot_R50", "resnet50", {"stem_ceil": True}),
        ("fastreid.bot_R50_ibn", "resnet50_ibn_a", {"stem_ceil": True}),
        ("fastreid.agw_R50", "resnet50", {"stem_ceil": True, "with_nl": True}),
        ("fastreid.sbs_R50_ibn_nl_gem", "resnet50_ibn_a", {"stem_ceil": True, "with_nl": True}),
    ],
)
def test_one_resnet_is_another_in_each_toolbox(manifest, backbone, options):
    found = recognise(listed(manifest))
    assert found.backbone == backbone and found.backbone_options == options
    pool = "gem" if "gem" in manifest else "gem_fixed" if "agw" in manifest else "avg"
    assert found.head == "BNNeck"
    assert found.head_options == ({} if pool == "avg" else {"pool_layer": pool})
    assert found.interpolation == ("bicubic" if "fastreid" in manifest else "bilinear")
    assert "No tensor tells LAST_STRIDE 1, STEM_RELU" in str(found)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_ibn_a"])
def test_torchreid_and_torchvision_keep_the_last_stride(name):
    found = recognise(bare(name))
    assert (found.backbone, found.backbone_options) == (name, {"last_stride": 2})
    assert found.interpolation == "bilinear"
    assert str(found) == (
        f"{name} with Linear (torchvision layout). No tensor tells LAST_STRIDE 2, STEM_RELU True, "
        "STEM_CEIL False, POOL_LAYER avg: set what is otherwise in yours."
    )


def test_a_file_of_ours_without_its_config():
    found = recognise(built("densenet121", "BNNeck", embedding_dim=64, pool_layer="gem"))
    assert (found.layout, found.backbone, found.backbone_options) == (
        "reidtools",
        "densenet121",
        {},
    )
    assert (found.head, found.head_options) == (
        "BNNeck",
        {"embedding_dim": 64, "pool_layer": "gem"},
    )
    assert recognise(built("resnet18", "BNNeck")).backbone_options == {}


def test_a_resnet_alone_may_be_fastreid_s_or_ours():
    """A head without tensors leaves no trace, and the stems of both differ."""
    alone = built("resnet18")
    with pytest.raises(
        ValueError,
        match=r"a\.pth has a resnet18 and nothing .*STEM_CEIL True.*"
        r"MODEL\.WEIGHTS_FORMAT FastReID or reidtools",
    ):
        recognise(alone, "a.pth")
    assert recognise(alone, format="reidtools").backbone_options == {}
    assert recognise(alone, format="fastreid").backbone_options == {"stem_ceil": True}
    with pytest.raises(ValueError, match="MODEL.WEIGHTS_FORMAT"):
        recognise(built("resnet50", backbone_options={"with_nl": True}))
    ours = recognise(built("resnet50", "BNNeck", backbone_options={"with_nl": True}))
    assert ours.backbone_options == {"with_nl": True}
    assert recognise(built("osnet_x0_5")).backbone == "osnet_x0_5"  # the same in both
    with pytest.raises(LookupError, match="Did you mean 'FastReID'"):
        recognise(alone, format="fastreit")


def test_an_osnet_that_ends_in_maps_has_no_fc():
    """As FastReID's, with the neck under its name there."""
    state = built("osnet_x0_5", "BNNeck", backbone_options={"fc": False})
    state = {name.replace("heads.neck", "heads.bottleneck.0"): t for name, t in state.items()}
    found = recognise(state)
    assert (found.layout, found.backbone) == ("FastReID", "osnet_x0_5")
    assert found.backbone_options == {"fc": False} and found.head == "BNNeck"


def test_an_osnet_whose_fc_is_torn_is_none_without_fc():
    state = bare("osnet_x0_25")
    del state["fc.0.weight"]
    with pytest.raises(ValueError, match=r"nearest is osnet_x0_25.*missing: backbone\.fc\.0"):
        recognise(state)


def test_tensors_decide_where_the_name_of_the_file_says_otherwise():
    state = listed("torchreid.osnet_x1_0")
    name = "osnet_x0_25_market_256x128_amsgrad_ep150_stp60_lr0.0015_b64_fb10_softmax.pth"
    found = recognise(state, f"models/{name}")
    assert found.backbone == "osnet_x1_0"
    (doubt,) = found.doubts
    assert "name says osnet_x0_25, but its tensors are those of osnet_x1_0" in doubt
    assert recognise(state, name.replace("x0_25", "x1_0")).doubts == ()
    assert recognise(state, "best.pth").doubts == ()


@pytest.mark.parametrize(
    ("file_name", "backbone"),
    [
        ("osnet_x1_0_market_256x128.pth", "osnet_x1_0"),
        ("/nets/OSNet_x0_25_msmt17.pt", "osnet_x0_25"),
        ("resnet50_ibn_a-d9d0bb7b.pth", "resnet50_ibn_a"),
        ("market_resnet50.pth", "resnet50"),
        ("resnet50-19c8e357.pth", "resnet50"),
        ("resnet500.pth", ""),
        ("osnet_x1_0/best.pth", ""),
        ("timm.pth", ""),
        ("", ""),
    ],
)
def test_what_the_name_of_a_file_says(file_name, backbone):
    assert named_in(file_name) == backbone


def test_models_of_timm_need_their_name():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        state = timm.create_model("mobilenetv3_small_050").state_dict()
    found = recognise(state, "nets/mobilenetv3_small_050.safetensors")
    assert (found.backbone, found.backbone_options) == (
        "timm",
        {"timm_name": "mobilenetv3_small_050"},
    )
    assert str(found).startswith("timm's mobilenetv3_small_050 with Linear")
    with pytest.raises(ValueError, match=r"MODEL\.BACKBONE\.TIMM_NAME"):
        recognise(state, "best.pth")


def test_a_vit_of_timm_is_ours():
    pytest.importorskip("timm")
    state = built("vit_small_patch16")
    plain = {name.removeprefix("backbone.model."): tensor for name, tensor in state.items()}
    assert recognise(plain).backbone == recognise(state).backbone == "vit_small_patch16"


def test_resnets_of_the_strong_baseline_have_no_relu_in_their_stem():
    state = built("resnet50", "BNNeck")
    rename = {"backbone.": "base.", "heads.neck.": "bottleneck."}
    for ours, theirs in rename.items():
        state = {name.replace(ours, theirs): tensor for name, tensor in state.items()}
    found = recognise(state | {"classifier.weight": torch.empty(751, 2048, device="meta")})
    assert (found.layout, found.backbone, found.head) == ("strong-baseline", "resnet50", "BNNeck")
    assert found.backbone_options == {"stem_relu": False}


def in_fastreid_s_words(state):
    """The state dict of an MGN of ours as FastReID would have it."""
    trunk = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3.0": 6}
    pairs = {f"backbone.whole.{ours}.": f"backbone.{theirs}." for ours, theirs in trunk.items()}
    for branch in ("b1", "b2", "b3"):
        pairs |= {f"backbone.{branch}.layer{3 + i}.": f"{branch}.{i}." for i in range(2)}
    for part in ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33"):
        names = {"projection": "bottleneck.0", "neck": "bottleneck.1", "pool": "pool_layer"}
        pairs |= {f"heads.{part}.{o}.": f"{part}_head.{t}." for o, t in names.items()}
    found = {}
    for name, tensor in state.items():
        ours, theirs = next(pair for pair in pairs.items() if name.startswith(pair[0]))
        found[name.replace(ours, theirs)] = tensor
    return found | {"b21_head.weight": torch.empty(751, 256, device="meta")}


def test_mgn_of_fastreid():
    with torch.device("meta"):
        body = BACKBONES["mgn"](base="resnet50_ibn_a", stem_ceil=True)
        state = Embedder(body, HEADS["MGN"](body.dim, False, body.parts)).state_dict()
    theirs = in_fastreid_s_words(state)
    found = recognise(theirs, "market_mgn_R50-ibn.pth")
    assert (found.layout, found.backbone, found.head) == ("FastReID", "mgn", "MGN")
    assert found.backbone_options == {"base": "resnet50_ibn_a", "stem_ceil": True}
    assert found.head_options == {}
    translated = {translate(k, t, layout_of(theirs), body.adapt)[0] for k, t in theirs.items()}
    assert translated == {*state, "b21_head.weight"}


def test_fastreid_s_embedding_without_a_neck():
    state = built("resnet18", "Linear", backbone_options={"stem_ceil": True})
    state |= {"heads.bottleneck.0.weight": torch.empty(64, 512, 1, 1, device="meta")}
    found = recognise(state | {"heads.weight": torch.empty(9, 64, device="meta")})
    assert (found.layout, found.head) == ("FastReID", "Linear")
    assert found.head_options == {"embedding_dim": 64}


def test_the_classifiers_of_a_file_by_their_branches():
    theirs = {f"b{i}_head.weight": torch.full((3, 2), float(i)) for i in (1, 22, 33)}
    found = of_objective(theirs, layout_of(theirs | {"b1_head.bottleneck.1.bias": torch.zeros(1)}))
    assert {name: int(tensor[0, 0]) for name, tensor in found.items()} == {
        "CrossEntropyLoss.0.classifier.weight": 1,
        "CrossEntropyLoss.4.classifier.weight": 22,
        "CrossEntropyLoss.7.classifier.weight": 33,
    }


def test_a_network_that_is_not_here():
    state = {f"base.layer{i}.conv9.weight": torch.empty(3, device="meta") for i in range(4)}
    with pytest.raises(ValueError, match=r"fill no network here whole.*MODEL\.BACKBONE\.NAME"):
        recognise(state, "other.pth")


def test_what_is_too_much_or_too_little_is_no_network():
    whole = bare("resnet18")
    renamed = dict(whole)
    renamed["layer4.1.conv3.weight"] = renamed.pop("layer4.1.conv2.weight")
    fc512 = whole | {"fc.0.weight": torch.empty(512, 512, device="meta")}
    over_time = built("resnet18", temporal="Attention")
    for state, says in (
        (renamed, r"missing: backbone\.layer4\.1\.conv2.*unused: layer4\.1\.conv3"),
        (fc512, r"unused: fc\.0\.weight"),
        (over_time, r"unused: temporal\."),
    ):
        with pytest.raises(ValueError, match=f"nearest is resnet18 with Linear.*{says}"):
            recognise(state, "resnet18.pth")


def test_a_file_that_is_nothing_says_what_was_seen():
    with pytest.raises(ValueError, match=r"a\.pth has 2 tensors \(plain layout: w, b\), which"):
        recognise({"w": torch.zeros(3, 3), "b": torch.zeros(3)}, "somewhere/a.pth")


def test_looking_draws_no_random_numbers():
    before = torch.random.get_rng_state()
    recognise(bare("resnet18"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_network_of_timm_that_has_our_tensors_is_timm_s():
    """resnetaa50 has the tensors of a ResNet-50, and blurs before it halves a map."""
    timm = pytest.importorskip("timm")
    state = timm.create_model("resnetaa50").state_dict()
    found = recognise(state, "resnetaa50.pth")
    assert (found.backbone, found.backbone_options) == ("timm", {"timm_name": "resnetaa50"})
    assert recognise(state, "mine.pth").backbone == "resnet50"  # nothing tells


def test_the_mean_and_deviation_of_pixels_are_those_the_file_or_timm_tells():
    timm = pytest.importorskip("timm")
    vit = timm.create_model("vit_small_patch16_224").state_dict()
    assert recognise(vit, "vit_small_patch16_224.pth").pixels == ([0.5] * 3, [0.5] * 3)
    assert recognise(vit, "mine.pth").pixels is None


def test_timm_is_not_imported_for_a_file_that_is_none_of_its(monkeypatch):
    """It takes seconds, and brings torchvision and torch's compiler."""
    monkeypatch.setitem(sys.modules, "timm", NoTimm("timm"))
    assert recognise(bare("osnet_x0_25"), "osnet_x0_25_msmt17.pth").backbone == "osnet_x0_25"
    with pytest.raises(AssertionError, match="asked"):
        recognise(BACKBONES.build("resnet18", {}, {}).state_dict(), "resnet18.a1_in1k.pth")


class NoTimm(ModuleType):
    def __getattr__(self, name):
        raise AssertionError(f"timm was asked for {name}")
