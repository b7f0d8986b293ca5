import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reidtools.registry import BACKBONES


def resnet18(**options):
    torch.manual_seed(0)
    return BACKBONES["resnet18"](**options)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_equals_torchvision_with_the_same_weights(name):
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.get_model(name, weights=None).eval()
    ours = BACKBONES[name](last_stride=2).eval()
    left = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert left.missing_keys == [] and left.unexpected_keys == ["fc.weight", "fc.bias"]
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        assert torch.allclose(theirs.fc(ours(images).mean((2, 3))), theirs(images), atol=1e-5)


def test_last_stride_doubles_the_map():
    images = torch.zeros(1, 3, 256, 128)
    assert resnet18()(images).shape == (1, 512, 16, 8)
    assert resnet18(last_stride=2)(images).shape == (1, 512, 8, 4)


def test_stem_relu():
    images = torch.randn(1, 3, 64, 32)
    stems = {}
    for stem_relu in (True, False):
        backbone = resnet18(stem_relu=stem_relu).eval()
        backbone.layer1.register_forward_pre_hook(
            lambda module, inputs, key=stem_relu: stems.update({key: inputs[0]})
        )
        backbone(images)
    assert stems[False].min() < 0
    # Clipping and taking the maximum can change places.
    assert torch.equal(stems[True], F.relu(stems[False]))


def test_stem_ceil_takes_maxima_from_the_corner_on():
    """Of a map 0 … 15 (4 x 4), windows 3 x 3 begin at rows and columns 0 and 2, cut at the edge."""
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resnet18(stem_ceil=True).maxpool(maps).flatten().tolist() == [10, 11, 14, 15]
    assert resnet18().maxpool(maps).flatten().tolist() == [5, 7, 13, 15]  # padded on top and left


def test_ibn_normalises_half_of_the_channels_per_picture():
    backbone = BACKBONES["resnet50_ibn_a"]()
    kinds = {name for name, module in backbone.named_modules() if hasattr(module, "IN")}
    first_three = ("layer1", "layer2", "layer3")
    assert kinds == {
        f"{layer}.{index}.bn1"
        for layer, count in zip(first_three, (3, 4, 6), strict=True)
        for index in range(count)
    }
    ibn = backbone.layer1[0].bn1.eval()
    maps = torch.randn(2, 64, 5, 5) * 3 + 1
    output = ibn(maps)
    assert torch.allclose(output[:, :32].mean((2, 3)), torch.zeros(2, 32), atol=1e-5)
    # In evaluation, fresh batch norms change next to nothing.
    assert torch.allclose(output[:, 32:], maps[:, 32:], rtol=1e-4)


def test_nothing_is_frozen_by_default():
    backbone = resnet18()
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(m.training for m in backbone.train().modules() if isinstance(m, nn.BatchNorm2d))


def test_bad_options_are_errors():
    with pytest.raises(ValueError, match=r"LAST_STRIDE of resnet18 is 3; set it to 1 or 2"):
        resnet18(last_stride=3)
