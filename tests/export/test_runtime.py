"""The same vectors from what runs faster, as long as the weights are the same."""

import copy
import io
import logging
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from reidtools.evaluation import embed
from reidtools.evaluation.features import fingerprint
from reidtools.export import runtime
from reidtools.export.runtime import LONG, MANY, Quick, quick
from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.modeling.onnx_network import OnnxNetwork

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
def clock(monkeypatch):
    """Says what a picture takes, in seconds, by the kind of network; and who was timed."""
    says, reads = {"folded": 0.1, "onnxruntime": 0.02}, []

    def seconds(rounds, runners, images, *_):
        kinds = ["onnxruntime" if isinstance(r, OnnxNetwork) else "folded" for r in runners]
        reads.append(kinds)
        return [says[kind] * len(images) for kind in kinds]

    monkeypatch.setattr(runtime, "_seconds", seconds)
    return SimpleNamespace(says=says, reads=reads)


@pytest.mark.usefixtures("exported")
def test_what_takes_a_minute_runs_in_onnxruntime_if_that_is_faster(model, images, clock):
    clock.says["folded"] = LONG / 2000
    few = quick(model, 1999)
    assert close(few, model, images) and kind(few) == "folded"
    many = quick(model, 2000)
    assert close(many, model, images) and kind(many) == "onnxruntime"
    assert clock.reads == [["folded"], ["folded"], ["folded", "onnxruntime"]]
    again = quick(model, 1)  # as it is there already
    assert close(again, model, images) and kind(again) == "onnxruntime"
    assert close(quick(model, 10**6), model, images) and len(clock.reads) == 3


@pytest.mark.usefixtures("exported")
def test_onnxruntime_is_left_where_it_is_slower(model, images, clock):
    clock.says["onnxruntime"] = 0.11
    found = quick(model, MANY)
    assert close(found, model, images) and kind(found) == "folded"
    assert (
        close(quick(model, 10**6), model, images) and len(clock.reads) == 2
    )  # and not tried again


@pytest.mark.usefixtures("exported")
def test_a_clock_decides_nothing_where_a_run_has_to_repeat(model, images, clock):
    torch.use_deterministic_algorithms(True)
    try:
        found = quick(model, 10**6)
        assert close(found, model, images) and kind(found) == "folded" and not clock.reads
    finally:
        torch.use_deterministic_algorithms(False)
    assert close(later := quick(model, 10**6), model, images) and kind(later) == "onnxruntime"


def test_a_process_counts_its_own_pictures(model, monkeypatch):
    monkeypatch.setattr(runtime.processes, "count", lambda: 2)
    monkeypatch.setattr(runtime.processes, "rank", lambda: 1)
    assert quick(model, 2001).ahead == 1001


@pytest.mark.usefixtures("exported")
def test_networks_without_norms_to_fold_stay_what_they_are(images, clock):
    bare = Small()
    bare.norm = nn.Identity()
    model = made(bare)
    found = quick(model, 10**6)
    assert torch.equal(found(images)[1], model(images)[1]) and not clock.reads


def test_the_best_time_of_each_counts(monkeypatch):
    times = iter([0, 5, 5, 6, 6, 8, 8, 12])  # 5 and 1 in the first round, 2 and 4 in the second
    monkeypatch.setattr(runtime, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    assert runtime._seconds(2, [torch.neg, torch.abs], torch.zeros(1)) == [2, 1]


def test_without_onnxruntime_many_pictures_are_embedded_as_well(model, images, monkeypatch, clock):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda package: None)
    found = quick(model, 10**6)
    assert close(found, model, images) and kind(found) == "folded" and not clock.reads
    with pytest.raises(ImportError, match=r"reidtools\[export\]"):
        quick(model, 10**6, runtime="onnxruntime")


@pytest.mark.usefixtures("clock")
def test_an_export_that_fails_is_told_and_done_without(model, images, monkeypatch, caplog):
    def write(*_):
        raise RuntimeError("no such operator\nin line 7")

    monkeypatch.setattr(runtime, "write_onnx", write)
    monkeypatch.setattr(runtime, "require_onnx", lambda: None)
    with caplog.at_level(logging.WARNING, "reidtools"):
        found = quick(model, 10**6)
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


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_of_training_is_seen(model, images, fused):
    """Fused optimizers, which are what is used here, leave torch's count of versions as it is."""
    model.eval()
    before = quick(model, 4)(images)[1].detach()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    after = quick(model, 4)(images)[1].detach()
    torch.testing.assert_close(after, model(images)[1].detach(), rtol=1e-3, atol=1e-3)
    assert (after - before).abs().max() > 0.01


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
