"""What holds for every registered backbone; registering one enrols it here."""

import inspect

import pytest
import torch

import reidtools.modeling  # noqa: F401  registers the backbones
from reidtools.registry import BACKBONES

SIZE = (64, 32)
OPTIONS = {"timm": {"timm_name": "convnext_atto"}}
# Too slow to run here, and the same code as a smaller one of their family.
ONLY_SHAPES = {"resnet101", "resnet152", "resnet101_ibn_a", "densenet169", "densenet201"}
ONLY_SHAPES |= {"resnest101", "solider_swin_small", "solider_swin_base"}


def build(name):
    return BACKBONES.build(name, {"image_size": SIZE}, OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - ONLY_SHAPES))
def test_forward_and_backward(name):
    torch.manual_seed(0)
    backbone = build(name)
    images = torch.randn(2, 3, *SIZE)
    output = backbone(images)
    assert output.shape[:2] == (2, backbone.dim)
    assert output.ndim == (2 if backbone.pooled else 4)
    output.square().mean().backward()
    first = next(parameter for parameter in backbone.parameters() if parameter.requires_grad)
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(ONLY_SHAPES))
def test_shapes_of_the_large_ones(name):
    with torch.device("meta"):
        backbone = build(name)
        output = backbone(torch.zeros(2, 3, *SIZE))
    assert not backbone.pooled
    assert output.shape[:2] == (2, backbone.dim)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_is_documented_with_its_source(name):
    doc = inspect.getdoc(BACKBONES[name])
    assert "arXiv:" in doc or "https://" in doc


@pytest.mark.parametrize(
    ("name", "dim"),
    [
        ("resnet18", 512),
        ("resnet50", 2048),
        ("osnet_x0_25", 512),
        ("densenet121", 1024),
        ("densenet169", 1664),
        ("vit_small_patch16", 384),
    ],
)
def test_dims_are_the_published_ones(name, dim):
    assert build(name).dim == dim
