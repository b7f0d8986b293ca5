"""The same vectors from what runs faster, as long as the weights are the same."""

import copy
import io
import logging

import pytest
import torch
from torch import nn

from reidtools.evaluation import embed
from reidtools.evaluation.features import fingerprint
from reidtools.export import runtime
from reidtools.export.runtime import WORTH, Quick, quick
from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.modeling.onnx_network import OnnxNetwork
from reidtools.registry import BACKBONES

SIZE = (64, 32)


class Small(nn.Module):
    """A convolution with its norm; where a camera is told, it is added."""

    dim, pooled = 8, False

    def __init__(self, by_camera=False):
        super().__init__()
        self.by_camera = by_camera
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.cameras = nn.Embedding(4, 8)
        nn.init.uniform_(self.norm.running_mean)

    def forward(self, images, camids=None):
        maps = self.norm(self.conv(images))
        if camids is None:
            return maps
        # Cameras that are not known, -1, add nothing.
        told = self.cameras(camids.clamp(min=0)) * (camids >= 0)[:, None]
        return maps + told[:, :, None, None]


def made(backbone=None):
    torch.manual_seed(0)
    backbone = backbone or Small()
    return Embedder(backbone, BNNeck(backbone.dim, backbone.pooled)).eval()


@pytest.fixture
def model():
    return made()


@pytest.fixture
def images():
    return torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def exported():
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


def norms(frames):
    """How many norms a network of `Quick.made` still has; of a method, those of its model."""
    network = frames if isinstance(frames, nn.Module) else frames.__self__.backbone
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def kind(found, size=SIZE):
    """What a `Quick` has chosen for pictures of this size."""
    frames = found.made[torch.Size(size)]
    if isinstance(frames, OnnxNetwork):
        return "onnxruntime"
    return "torch" if norms(frames) else "folded"


@torch.inference_mode()
def close(found, model, *images):
    for one, other in zip(found(*images), model(*images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    return True


def test_norms_are_folded_by_default(model, images):
    found = quick(model, 1)
    assert close(found, model, images) and kind(found) == "folded"


def test_torch_is_the_model_itself(model):
    assert quick(model, 10**9, runtime="torch") is model


@pytest.mark.usefixtures("exported")
def test_any_network_runs_in_onnxruntime_where_that_is_asked_for(model, images):
    found = quick(model, 1, runtime="onnxruntime")
    assert close(found, model, images) and kind(found) == "onnxruntime"
    assert close(found, model, images[:1])


@pytest.fixture
def suited(monkeypatch):
    """Small networks are taken for some that are faster in onnxruntime."""
    monkeypatch.setattr(runtime, "SUITED", (Small,))


@pytest.mark.usefixtures("exported", "suited")
def test_many_pictures_of_a_network_that_is_faster_so_run_in_onnxruntime(model, images):
    few = quick(model, WORTH - 1)
    assert close(few, model, images) and kind(few) == "folded"
    many = quick(model, WORTH)
    assert close(many, model, images) and kind(many) == "onnxruntime"
    assert quick(model, 1) is many  # as it is there already


def test_osnets_are_such_networks_and_resnets_are_not():
    assert isinstance(BACKBONES["osnet_x0_25"](), runtime.SUITED)
    assert not isinstance(BACKBONES["resnet18"](), runtime.SUITED)


def test_many_pictures_of_others_do_not(model, images):
    found = quick(model, WORTH)
    assert close(found, model, images) and kind(found) == "folded"


@pytest.mark.usefixtures("suited")
def test_without_onnxruntime_many_pictures_are_embedded_as_well(model, images, monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda package: None)
    found = quick(model, WORTH)
    assert close(found, model, images) and kind(found) == "folded"
    with pytest.raises(ImportError, match=r"reidtools\[export\]"):
        quick(model, WORTH, runtime="onnxruntime")


@pytest.mark.usefixtures("suited")
def test_an_export_that_fails_is_told_and_done_without(model, images, monkeypatch, caplog):
    def write(*_):
        raise RuntimeError("no such operator\nin line 7")

    monkeypatch.setattr(runtime, "write_onnx", write)
    monkeypatch.setattr(runtime, "require_onnx", lambda: None)
    with caplog.at_level(logging.WARNING, "reidtools"):
        found = quick(model, WORTH)
        assert close(found, model, images) and kind(found) == "folded"
    assert "no such operator." in caplog.text
    with pytest.raises(ValueError, match="no such operator.*TEST.RUNTIME auto"):
        quick(model, 1, runtime="onnxruntime")(images)


def test_what_sees_something_else_is_told_and_not_used(model, images, monkeypatch, caplog):
    right = runtime.folded

    def wrong(network, *seen):
        other = right(network, *seen)
        other.backbone.conv.weight.data *= 1.01
        return other

    monkeypatch.setattr(runtime, "folded", wrong)
    with caplog.at_level(logging.WARNING, "reidtools"):
        found = quick(model, 1)
        assert close(found, model, images) and kind(found) == "torch"
    assert "it gives other vectors" in caplog.text


def test_a_network_with_values_that_are_no_numbers_stays_what_it_is(model, images):
    model.backbone.conv.weight.data[0] = torch.nan
    found = quick(model, 1)
    found(images)
    assert kind(found) == "torch"


def test_it_is_made_once_for_the_weights(model, images):
    found = quick(model, 1)
    found(images)
    assert quick(model, 1) is found
    with torch.no_grad():
        model.backbone.norm.running_mean.add_(1)  # as a step of training does
    later = quick(model, 1)
    assert later is not found and close(later, model, images)


def test_weights_that_are_replaced_count_as_well(model, images):
    quick(model, 1)(images)
    model.load_state_dict(made(Small()).state_dict() | {"backbone.norm.bias": torch.ones(8)})
    assert close(quick(model, 1), model, images)
    model.double()
    assert close(quick(model, 1), model, images.double())


def test_pictures_of_two_sizes(model, images):
    found = quick(model, 1)
    assert close(found, model, images) and close(found, model, images[:, :, :20])
    assert [kind(found, size) for size in (SIZE, (20, 32))] == ["folded"] * 2


@pytest.mark.parametrize("way", ["auto", "onnxruntime"])
def test_cameras_are_told(way, images, request):
    if way == "onnxruntime":
        request.getfixturevalue("exported")
    model = made(Small(by_camera=True))
    found, camids = quick(model, 1, runtime=way), torch.tensor([0, 3, -1, 1, 2])
    assert found.by_camera and close(found, model, images, camids)
    assert not torch.equal(found(images, camids)[1], found(images, camids.flip(0))[1])


def test_tracklets_are_pooled_by_the_model(model, images):
    clips = images[:4].reshape(2, 2, 3, *SIZE)
    assert close(quick(model, 1), model, clips)


def test_no_pictures_are_no_vectors(model):
    assert quick(model, 0).frames(torch.zeros(0, 3, *SIZE)).shape == (0, 8)


def test_names_and_fingerprint_are_those_of_the_model(model, images):
    found = quick(model, 1)
    found(images)
    assert list(found.state_dict()) == list(model.state_dict())
    assert fingerprint(found) == fingerprint(model)
    assert (found.dim, found.device, found.preparation) == (8, torch.device("cpu"), None)


def test_the_model_can_still_be_copied_and_saved(model, images):
    quick(model, 1)(images)
    twin = copy.deepcopy(model)
    torch.save(model, io.BytesIO())
    with torch.no_grad():
        twin.backbone.conv.weight.mul_(2)
    assert close(quick(twin, 1), twin, images) and close(quick(model, 1), model, images)


@pytest.mark.parametrize("training", [False, True])
def test_the_model_goes_on_training(model, images, training):
    model.train(training)
    batch = {"images": images, "pids": torch.arange(5), "camids": torch.arange(5)}
    batch["paths"] = list("abcde")
    found = embed(quick(model, 5), [batch])
    assert {part.training for part in model.modules()} == {training}
    model.eval()
    with torch.inference_mode():
        torch.testing.assert_close(found.vectors, model(images)[1], rtol=1e-4, atol=1e-5)


def test_autocast_is_left_to_the_model(model):
    assert quick(model, 10**9, torch.bfloat16) is model


def test_another_device_is_left_to_the_model(model):
    meta = model.to("meta")
    assert quick(meta, 10**9) is meta


def test_a_slip_in_the_name_is_told(model):
    with pytest.raises(LookupError, match="onnxruntime"):
        quick(model, 1, runtime="onnx")


def test_a_quick_one_is_an_embedder(model):
    assert isinstance(quick(model, 1), Quick) and isinstance(quick(model, 1), Embedder)
