"""What holds for every registered backbone; registering one enrols it here."""

import inspect
from copy import deepcopy

import pytest
import torch

import reidtools.modeling  # noqa: F401  registers the backbones
from reidtools.ops.recompute import piece_by_piece
from reidtools.registry import BACKBONES

SIZE = (64, 32)
OPTIONS = {"timm": {"timm_name": "convnext_atto"}}
# Too slow to run here, and the same code as a smaller one of their family.
ONLY_SHAPES = {"resnet101", "resnet152", "resnet101_ibn_a", "densenet169", "densenet201"}
ONLY_SHAPES |= {"resnest101", "solider_swin_small", "solider_swin_base"}


# Options under which a backbone has other segments.
BRANCHED = [("transreid_vit_small", {"jpm": True}), ("resnet50", {"with_nl": True})]
BRANCHED += [("timm", {"timm_name": name}) for name in ("densenet121", "hrnet_w18_small")]


def build(name, **more):
    return BACKBONES.build(name, {"image_size": SIZE}, OPTIONS.get(name, {}) | more)


def gradients(backbone, images):
    """What a step gives, and how many numbers autograd keeps for the way back, weights aside."""
    kept, weights = {}, {weight.data_ptr() for weight in backbone.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    torch.manual_seed(1)  # of branches that are dropped
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = backbone(images)
    numbers = sum(kept.values())  # before the way back computes some again
    output.square().mean().backward()
    return output, numbers, {name: weight.grad for name, weight in backbone.named_parameters()}


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


@pytest.mark.parametrize(
    ("name", "options"), [(name, {}) for name in sorted(set(BACKBONES) - ONLY_SHAPES)] + BRANCHED
)
def test_activations_computed_again_give_the_same(name, options):
    torch.manual_seed(0)
    plain = build(name, **options)
    again = deepcopy(plain)
    piece_by_piece(again.segments)
    again = deepcopy(again)  # as the moving average has it
    images = torch.randn(4, 3, *SIZE)
    output, kept, own = gradients(plain, images)
    other_output, kept_again, other = gradients(again, images)
    assert torch.equal(output, other_output)
    # timm's own list of layers knows but the last stages of HRNet.
    assert kept_again < (0.95 if "hrnet" in options.get("timm_name", "") else 0.6) * kept
    scale = max(gradient.abs().max() for gradient in own.values() if gradient is not None)
    for weight, gradient in own.items():
        if gradient is None:
            assert other[weight] is None, weight
        else:
            assert (gradient - other[weight]).abs().max() <= 1e-6 * scale, weight
    counted = again.state_dict()
    assert all(torch.equal(tensor, counted[key]) for key, tensor in plain.state_dict().items())


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
