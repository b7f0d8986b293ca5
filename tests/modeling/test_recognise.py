"""Which network a file is of, from names and shapes alone: all tensors are on torch's meta device.

The manifests list the state dicts of the public projects; see tests/golden/README.md.
"""

import gzip
import json
from pathlib import Path

import pytest
import torch

from reidtools.modeling import Embedder
from reidtools.modeling.recognise import named_in, recognise
from reidtools.registry import BACKBONES, HEADS, TEMPORAL

GOLDEN = Path(__file__).parents[1] / "golden"
MANIFESTS = json.loads(gzip.decompress((GOLDEN / "manifests.json.gz").read_bytes()))
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
    assert found == ("torchreid", name, {}, "Linear", {}, (), (), None)


def test_there_are_six_of_them():
    assert len(OSNETS) == 6


@pytest.mark.parametrize(
    ("manifest", "backbone", "options"),
    [
        ("ctl.resnet50", "resnet50", {"stem_relu": False}),
        ("ctl.resnet50_ibn_a", "resnet50_ibn_a", {}),
        ("fastreid.bot_R50", "resnet50", {"stem_ceil": True}),
        ("fastreid.bot_R50_ibn", "resnet50_ibn_a", {"stem_ceil": True}),
    ],
)
def test_one_resnet_is_another_in_each_toolbox(manifest, backbone, options):
    found = recognise(listed(manifest))
    assert found.backbone == backbone and found.backbone_options == options
    assert found.head == "BNNeck" and found.head_options == {}
    assert "No tensor tells LAST_STRIDE 1, STEM_RELU" in str(found)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_ibn_a"])
def test_torchreid_and_torchvision_keep_the_last_stride(name):
    found = recognise(bare(name))
    assert (found.backbone, found.backbone_options) == (name, {"last_stride": 2})
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
    assert recognise(built("resnet18")).backbone_options == {}


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


@pytest.mark.parametrize("manifest", ["fastreid.agw_R50", "fastreid.sbs_R50_ibn_nl_gem"])
def test_non_local_blocks_are_refused(manifest):
    with pytest.raises(ValueError, match="non-local blocks.*nothing of the file is loaded"):
        recognise(listed(manifest), "resnet50.pth")


@pytest.mark.parametrize("manifest", ["transreid.vit_base"])
def test_other_toolboxes_are_none_of_ours(manifest):
    with pytest.raises(ValueError, match=r"fill no network here whole.*MODEL\.BACKBONE\.NAME"):
        recognise(listed(manifest), "vit_base_patch16.pth")


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
