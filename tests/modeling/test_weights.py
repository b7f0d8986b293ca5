import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from reidtools.modeling import Embedder
from reidtools.modeling.weights import fit, load_pretrained, read, state_of
from reidtools.registry import BACKBONES, HEADS


def osnet_embedder(head="BNNeck", **options):
    backbone = BACKBONES["osnet_x0_25"]()
    return Embedder(backbone, HEADS[head](backbone.dim, backbone.pooled, **options))


def torchreid_state():
    """As torchreid would save osnet_x0_25 trained on 10 people."""
    state = dict(BACKBONES["osnet_x0_25"]().state_dict())
    return state | {"classifier.weight": torch.zeros(10, 512), "classifier.bias": torch.zeros(10)}


# --- files ---------------------------------------------------------------------------------------


def test_read_gives_back_what_was_saved(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(3)}, "epoch": 7}, tmp_path / "a.pth")
    content = read(tmp_path / "a.pth")
    assert content["epoch"] == 7
    assert state_of(content)["a"].tolist() == [0, 1, 2]


def test_numpy_numbers_beside_the_weights_do_no_harm(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "rank1": np.float32(0.5)}, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth")["rank1"] == 0.5


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert read(tmp_path / "a.safetensors")["a"].tolist() == [1, 1]


def test_a_missing_file_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "no.pth")):
        read("no.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_a_file_cut_short_is_recognised(tmp_path, zipped, share):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(5000)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"a\.pth is cut short or damaged"):
        read(path)


def test_a_web_page_saved_as_weights_is_recognised(tmp_path):
    (tmp_path / "a.pth").write_text("\n<!DOCTYPE html><html><body>Quota exceeded</body></html>")
    with pytest.raises(ValueError, match="is a web page, not weights"):
        read(tmp_path / "a.pth")


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_run(tmp_path, zipped):
    content = {"a": torch.zeros(1), "b": Harm(tmp_path / "harm")}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="holds Python objects besides tensors"):
        read(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError):
        read(tmp_path / "b.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(1)], torch.zeros(1), {}])
def test_a_file_without_a_state_dict_is_an_error(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds no tensors with names"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_of_finds_the_tensors(key, prefix):
    state = {f"{prefix}a.weight": torch.zeros(1), f"{prefix}b": torch.ones(1)}
    checkpoint = {key: state, "epoch": 3} if key else state | {"epoch": 3}
    assert list(state_of(checkpoint)) == ["a.weight", "b"]


def test_a_prefix_that_not_all_names_have_stays():
    assert list(state_of({"module.a": torch.zeros(1), "b": torch.zeros(1)})) == ["module.a", "b"]


# --- what fits -----------------------------------------------------------------------------------


def test_our_own_checkpoint_fits_whole():
    source, target = osnet_embedder(), osnet_embedder()
    report = fit(target, source.state_dict())
    assert report.complete and report.layout == "reidtools"
    assert report.matched == list(source.state_dict())
    assert not report.passthrough
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_torchreid_weights_fit_a_bnneck_that_they_lack():
    model, state = osnet_embedder(), torchreid_state()
    report = fit(model, state)
    assert report.complete
    assert str(report) == (
        "torchreid layout: 565 of 565 tensors matched; not in the file: neck (identity as built); "
        "not needed: classifier.weight, classifier.bias"
    )
    assert torch.equal(model.backbone.fc[0].weight, state["fc.0.weight"])


def test_a_projection_that_the_file_lacks_is_missing():
    report = fit(osnet_embedder(embedding_dim=64), torchreid_state())
    assert report.missing == ["heads.projection.weight"]
    assert not report.complete
    assert "missing: heads.projection.weight" in str(report)


def test_half_a_neck_is_no_neck():
    state = osnet_embedder().state_dict()
    del state["heads.neck.running_mean"]
    report = fit(osnet_embedder(), state)
    assert report.missing == ["heads.neck.running_mean"]
    assert not report.complete and not report.passthrough


def test_a_renamed_layer_is_reported_on_both_sides():
    state = torchreid_state()
    state["conv5.convolution.weight"] = state.pop("conv5.conv.weight")
    report = fit(osnet_embedder("Linear"), state)
    assert report.missing == ["backbone.conv5.conv.weight"]
    assert report.unused == ["conv5.convolution.weight"]
    assert not report.complete
    assert "missing: backbone.conv5.conv.weight" in report.details().splitlines()
    assert "unused: conv5.convolution.weight" in report.details().splitlines()


def test_another_width_is_reported_with_both_shapes():
    state = BACKBONES["osnet_x0_5"]().state_dict()
    report = fit(osnet_embedder("Linear"), state)
    assert ("backbone.conv1.conv.weight", (32, 3, 7, 7), (16, 3, 7, 7)) in report.mismatched
    assert not report.complete
    assert (
        "other shape: backbone.conv1.conv.weight is (32, 3, 7, 7) in the file, (16, 3, 7, 7) "
        "in the model"
    ) in report.details()


def test_counts_of_batches_may_be_absent():
    state = {k: v for k, v in torchreid_state().items() if "num_batches_tracked" not in k}
    report = fit(osnet_embedder("Linear"), state)
    assert report.complete
    assert len(report.matched) == len(state) - 2  # all but the classifier


def test_a_fully_connected_layer_that_the_backbone_owns_is_no_classifier():
    assert "backbone.fc.0.weight" in fit(osnet_embedder("Linear"), torchreid_state()).matched
    maps_only = BACKBONES["osnet_x0_25"](fc=False)
    report = fit(maps_only, torchreid_state())
    assert report.complete and "fc.0.weight" in report.classifier


def test_a_file_of_another_model_is_an_error_with_names_of_both_sides():
    with pytest.raises(ValueError, match=r"None of the 2 tensors fits.*0\.weight.*conv1\.conv"):
        fit(osnet_embedder(), nn.Sequential(nn.Linear(2, 2)).state_dict())


def test_an_embedder_checkpoint_fills_a_bare_backbone():
    source = osnet_embedder()
    backbone = BACKBONES["osnet_x0_25"]()
    assert fit(backbone, source.state_dict()).complete
    assert torch.equal(backbone.conv1.conv.weight, source.backbone.conv1.conv.weight)


# --- FastReID ------------------------------------------------------------------------------------


def fastreid_state(neck="heads.bottleneck.0", classifier="heads.weight"):
    """As FastReID would save an osnet_x0_25, which has no fc there, trained on 10 people."""
    model = Embedder(BACKBONES["osnet_x0_25"](fc=False), HEADS["BNNeck"](128, False))
    state = {k.replace("heads.neck", neck): v for k, v in model.state_dict().items()}
    return state | {classifier: torch.zeros(10, 128)}


def maps_embedder(**options):
    return Embedder(BACKBONES["osnet_x0_25"](fc=False), HEADS["BNNeck"](128, False, **options))


@pytest.mark.parametrize(
    ("neck", "classifier"),
    [
        ("heads.bottleneck.0", "heads.weight"),
        ("heads.bnneck", "heads.classifier.weight"),  # before its version 1.0
    ],
)
def test_fastreid_s_neck_and_classifier(neck, classifier):
    state = fastreid_state(neck, classifier) | {"pixel_mean": torch.zeros(1, 3, 1, 1)}
    state[f"{neck}.running_mean"] = torch.arange(128.0)
    model = maps_embedder()
    report = fit(model, state)
    assert report.complete and report.layout == "FastReID" and not report.passthrough
    assert report.classifier == [classifier, "pixel_mean"]
    assert model.heads.neck.running_mean.tolist() == list(range(128))


def test_fastreid_s_embedding_dim_is_a_convolution_before_the_neck():
    state = {k: v for k, v in fastreid_state("gone").items() if not k.startswith("gone")}
    state["heads.bottleneck.0.weight"] = torch.arange(8 * 128.0).reshape(8, 128, 1, 1)
    neck = nn.BatchNorm2d(8).state_dict()
    state |= {f"heads.bottleneck.1.{name}": tensor for name, tensor in neck.items()}
    model = maps_embedder(embedding_dim=8)
    report = fit(model, state)
    assert report.complete and not report.passthrough
    assert torch.equal(model.heads.projection.weight.flatten(), torch.arange(8 * 128.0))


def test_two_tensors_for_one_place_are_not_both_taken():
    state = fastreid_state() | {"heads.bnneck.weight": torch.zeros(128)}
    report = fit(maps_embedder(), state)
    assert report.unused == ["heads.bnneck.weight"] and not report.complete


@pytest.mark.parametrize(
    "name",
    ["backbone.NL_2.0.g.weight", "backbone.layer1.0.se.fc.0.weight", "heads.pool_layer.p"],
)
def test_a_part_that_the_model_lacks_is_never_left_out_in_silence(name):
    report = fit(maps_embedder(), fastreid_state() | {name: torch.ones(1)})
    assert report.unused == [name] and not report.complete


def test_copies_fill_what_nothing_else_fills():
    """The branches of MGN begin as copies of the end of a ResNet."""
    model = BACKBONES["mgn"]()
    state = BACKBONES["resnet50"]().state_dict()
    report = fit(model, state | {"fc.weight": torch.zeros(1000, 2048)})
    assert report.complete and report.layout == "torchvision"
    for branch in (model.b1, model.b2, model.b3):
        ours = branch["layer3"][4].conv3.weight, branch["layer4"][2].conv3.weight
        theirs = state["layer3.5.conv3.weight"], state["layer4.2.conv3.weight"]
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    with torch.no_grad():
        model.b2["layer4"][2].conv3.weight.zero_()
    own = model.state_dict()
    again = BACKBONES["mgn"]()
    assert fit(again, {f"backbone.{name}": tensor for name, tensor in own.items()}).complete
    assert not again.b2["layer4"][2].conv3.weight.any() and again.b1["layer4"][2].conv3.weight.any()
    whole = {f"backbone.{name}": tensor for name, tensor in own.items()}
    more = {f"backbone.{n}": t for n, t in state.items() if n.startswith("layer4.2.conv3")}
    assert fit(BACKBONES["mgn"](), whole | more).classifier == list(more)  # not needed
    torn = {**state, "layer4.2.conv3.weight": torch.zeros(3)}
    other = {name for name, _, _ in fit(BACKBONES["mgn"](), torn).mismatched}
    assert other == {f"backbone.b{i}.layer4.2.conv3.weight" for i in (1, 2, 3)}


def test_layers_between_a_resnet_and_its_embedding_are_no_classifier():
    """torchreid's resnet50_fc512 gives 512 values: its first 2048 are not what it was trained for.

    The fc of torchvision is a classifier.
    """
    state = BACKBONES["resnet18"]().state_dict()
    model = Embedder(BACKBONES["resnet18"](), HEADS["Linear"](512, False))
    assert fit(model, state | {"fc.weight": torch.zeros(3, 512)}).complete
    assert fit(model, state | {"fc.0.weight": torch.zeros(3, 512)}).unused == ["fc.0.weight"]


@pytest.mark.parametrize("wrapped", ["module.", "module.module.", "_orig_mod.", "model._orig_mod."])
def test_what_wraps_a_model_leaves_no_trace(wrapped):
    """Data-parallel training, torch.compile, Lightning, and one in another."""
    state = {"layer1.0.weight": torch.ones(1), "model.bias": torch.zeros(2)}
    found = state_of({"state_dict": {f"{wrapped}{name}": t for name, t in state.items()}})
    assert found.keys() == state.keys()
    assert state_of({}) == {}


# --- pretrained backbones ------------------------------------------------------------------------


def test_pretrained_from_a_local_file(tmp_path):
    state = BACKBONES["resnet18"]().state_dict() | {"fc.weight": torch.zeros(1000, 512)}
    torch.save(state, tmp_path / "resnet18.pth")
    backbone = BACKBONES["resnet18"]()
    assert load_pretrained(backbone, tmp_path / "resnet18.pth").complete
    assert torch.equal(backbone.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_pretrained_weights_that_fit_in_part_are_an_error(tmp_path):
    state = BACKBONES["resnet18"]().state_dict()
    del state["layer4.1.conv2.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(
        ValueError, match=r"part\.pth does not fill resnet18(.|\n)*layer4\.1\.conv2"
    ):
        load_pretrained(BACKBONES["resnet18"](), tmp_path / "part.pth")


@pytest.mark.parametrize("name", ["resnet18", "resnet50_ibn_a", "densenet121"])
def test_fetch_downloads_what_fills_the_backbone(name, monkeypatch):
    backbone = BACKBONES[name]()
    published = backbone.state_dict() | {
        "fc.weight": torch.zeros(1),
        "classifier.bias": torch.ones(1),
    }
    wanted = []

    def download(url, **options):
        wanted.append(url)
        assert options["weights_only"]
        return dict(published)

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    assert set(backbone.state_dict()) <= set(backbone.fetch())
    assert load_pretrained(BACKBONES[name]()).complete
    assert f"/{name}-" in wanted[0] and wanted[0].startswith("https://")


def test_without_a_connection_the_error_says_what_to_do(monkeypatch):
    def refuse(url, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(
        OSError,
        match=r"Could not download weights of resnet18 \(Name or service not known\); pass a local "
        r"file with MODEL.BACKBONE.PRETRAIN_PATH, or .* MODEL.BACKBONE.PRETRAIN False",
    ):
        load_pretrained(BACKBONES["resnet18"]())
