import sys
from types import SimpleNamespace

import pytest
import torch

from reidtools.modeling.backbones.osnet import OSBlock
from reidtools.modeling.weights import load_pretrained
from reidtools.registry import BACKBONES


def osnet(**options):
    torch.manual_seed(0)
    return BACKBONES["osnet_x0_25"](**options)


def test_vectors_are_never_negative():
    vectors = osnet().eval()(torch.randn(2, 3, 64, 32))
    assert vectors.shape == (2, 512)
    assert vectors.min() >= 0


def test_without_fc_the_output_is_the_map_that_fc_would_pool():
    with_fc, without = osnet().eval(), osnet(fc=False).eval()
    without.load_state_dict(with_fc.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 32)
    maps = without(images)
    assert (without.dim, without.pooled) == (128, False)
    assert maps.shape == (2, 128, 4, 2)
    assert not any(name.startswith("fc.") for name in without.state_dict())
    assert torch.allclose(with_fc.fc(maps.mean((2, 3))), with_fc(images), atol=1e-6)


def test_streams_are_weighted_by_their_gates_and_added():
    torch.manual_seed(0)
    block = OSBlock(64, 64)
    images = torch.randn(4, 64, 8, 4, requires_grad=True)
    middle = block.conv1(images)
    streams = [
        stream(middle) for stream in (block.conv2a, block.conv2b, block.conv2c, block.conv2d)
    ]
    mixed = torch.stack([block.gate(stream) * stream for stream in streams]).sum(0)
    right = torch.relu(block.conv3(mixed) + images)
    found = block(images)
    assert torch.allclose(found, right, atol=1e-6)
    wanted = [images, *block.parameters()]
    gradients = [torch.autograd.grad(out.square().sum(), wanted) for out in (found, right)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("name", ["osnet_x1_0", "osnet_ibn_x1_0", "osnet_ain_x1_0"])
def test_has_as_many_parameters_as_the_paper_says(name):
    count = sum(parameter.numel() for parameter in BACKBONES[name]().parameters())
    assert 2.1e6 < count < 2.3e6


def google_drive(monkeypatch, tmp_path, write):
    """Stands in for gdown, which writes what `write` says to the given path."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    fake = SimpleNamespace(download=lambda id, output, quiet, resume: write(output))
    monkeypatch.setitem(sys.modules, "gdown", fake)


def test_weights_come_from_google_drive_once(monkeypatch, tmp_path):
    published = {f"module.{name}": tensor for name, tensor in osnet().state_dict().items()}
    published |= {"module.classifier.weight": torch.zeros(1000, 512)}
    downloads = []

    def write(output):
        downloads.append(output)
        torch.save(published, output)

    google_drive(monkeypatch, tmp_path, write)
    for options in ({}, {"fc": False}):
        backbone = BACKBONES["osnet_x0_25"](**options)
        assert load_pretrained(backbone).complete
        assert torch.equal(backbone.conv1.conv.weight, published["module.conv1.conv.weight"])
    assert len(downloads) == 1
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.pth")] == [
        "osnet_x0_25_imagenet.pth"
    ]


def test_a_quota_page_is_not_taken_for_weights(monkeypatch, tmp_path):
    def write(output):
        with open(output, "w") as file:  # noqa: PTH123  as gdown does
            file.write("<!DOCTYPE html><html>Too many users have viewed this file</html>")

    google_drive(monkeypatch, tmp_path, write)
    with pytest.raises(OSError, match=r"web page, not the file.*PRETRAIN_PATH.*PRETRAIN False"):
        load_pretrained(osnet())
    assert not list((tmp_path / "checkpoints").glob("*.pth"))
