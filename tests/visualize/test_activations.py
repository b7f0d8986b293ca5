"""Where a model looks: by hand, and for every kind of backbone."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reidtools.modeling import Embedder
from reidtools.modeling.backbones.timm_models import TimmBackbone
from reidtools.registry import BACKBONES, HEADS
from reidtools.visualize.activations import (
    _attention_of,
    activation_maps,
    overlay,
    rollout,
    write_activations,
)

SIZE = (64, 32)


def embedder(name, **options):
    torch.manual_seed(0)
    backbone = BACKBONES.build(name, {"image_size": SIZE}, options)
    head = HEADS.build("BNNeck", {"dim": backbone.dim, "pooled": backbone.pooled}, {})
    return Embedder(backbone, head)


def pictures(count=2):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))


class Halves(nn.Module):
    """Maps of 2 x 2 places, and then a vector: nothing but the maps counts."""

    def __init__(self):
        super().__init__()
        self.pool, self.flat = nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d(1)

    def forward(self, images):
        return self.flat(self.pool(images)).flatten(1)


def test_the_energy_of_the_last_maps_by_hand():
    images = torch.zeros(1, 3, 4, 4)
    images[0, :, :2, :2] = torch.tensor([1.0, 2.0, 2.0])[:, None, None]  # 9
    images[0, 0, 2:, 2:] = 2  # 4
    (found,) = activation_maps(Halves(), images)
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, torch.tensor([9, 0, 0, 4]) / 9)


def test_every_picture_has_its_own_scale():
    images = pictures()
    model = Halves()
    both = activation_maps(model, torch.cat([images, 100 * images]))
    assert torch.allclose(both[:2], both[2:], atol=1e-4)
    assert (activation_maps(model, torch.ones(1, 3, 8, 8)) == 0).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("osnet_x0_25", {}),  # pools by itself
        ("osnet_x0_25", {"fc": False}),
        ("resnet18", {}),
        ("timm", {"timm_name": "resnet10t"}),
        ("timm", {"timm_name": "test_vit"}),  # as vit_small_patch16, but small
        ("timm", {"timm_name": "test_vit3"}),  # pools by attention
        ("timm", {"timm_name": "test_efficientnet"}),
        ("timm", {"timm_name": "eva02_tiny_patch14_224"}),  # turns its queries and keys
        ("timm", {"timm_name": "deit_tiny_distilled_patch16_224"}),  # two class tokens
        ("timm", {"timm_name": "mixer_s32_224"}),  # tokens without attention
    ],
)
def test_every_kind_of_model_shows_something_and_stays_as_it_was(name, options):
    if options.get("timm_name", "").startswith(("eva02", "mixer")):
        size = (224, 224)
        backbone = TimmBackbone(options["timm_name"], size, {})
        model, images = backbone.train(), torch.randn(1, 3, *size)
    else:
        model, images = embedder(name, **options).train(), pictures()
    fused = [m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")]
    found = activation_maps(model, images)
    assert found.shape == (len(images), *images.shape[2:])
    assert (found.amin((1, 2)) == 0).all() and found.amax((1, 2)).allclose(torch.ones(len(images)))
    assert model.training
    assert fused == [m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")]
    assert not any(module._forward_hooks for module in model.modules())


def test_rollout_by_hand():
    """One token takes all from the second in both layers; half of it goes past each."""
    heads = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    other = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    layers = [torch.stack([heads, heads], 1), torch.stack([heads, other], 1)]
    # First: 0.5 I + 0.5 heads. Second: the mean of heads is 0.5 everywhere.
    first, second = torch.tensor([[0.5, 0.5], [0, 1]]), torch.tensor([[0.75, 0.25], [0.25, 0.75]])
    assert torch.allclose(rollout(layers), (second @ first)[None])
    assert torch.allclose(rollout(layers).sum(2), torch.ones(1, 2))


def test_the_matrices_are_those_of_the_model():
    """Computed again from queries and keys, they say the same; the vectors stay as they were."""
    model = embedder("timm", timm_name="test_vit").eval().backbone.model
    with torch.inference_mode():
        fused = model.forward_features(pictures())
        inputs = []
        layer = model.blocks[-1].attn
        hook = layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        with _attention_of(model) as seen:
            plain = model.forward_features(pictures())
        hook.remove()
        assert torch.allclose(fused, plain, atol=1e-5) and len(seen) == len(model.blocks)
        count, dim = inputs[0].shape[1:]
        qkv = layer.qkv(inputs[0]).reshape(2, count, 3, layer.num_heads, -1)
        q, k, _ = qkv.permute(2, 0, 3, 1, 4)
        q, k = layer.q_norm(q), layer.k_norm(k)
        expected = (q @ k.transpose(2, 3) / (dim / layer.num_heads) ** 0.5).softmax(-1)
    assert torch.allclose(seen[-1], expected, atol=1e-5)


def test_a_class_token_that_looks_at_one_patch():
    """Queries and keys are made so that all attend to the brightest patch; the map finds it."""
    model = embedder("timm", timm_name="test_vit").eval()
    vit = model.backbone.model
    images = 0.1 * torch.randn(1, 3, *SIZE)
    images[:, :, 32:48, 16:32] += 5  # patch in row 2, column 1 of 4 x 2
    with torch.no_grad():
        vit.pos_embed.zero_()
        for block in vit.blocks:
            block.attn.proj.weight.zero_()
            block.attn.proj.bias.zero_()
            block.mlp.fc2.weight.zero_()
            block.mlp.fc2.bias.zero_()
            dim = block.attn.qkv.weight.shape[1]
            target = block.norm1(vit.patch_embed(images).reshape(8, dim)[2 * 2 + 1])
            block.attn.qkv.weight[: 2 * dim] = 0
            block.attn.qkv.weight[dim : 2 * dim] = torch.eye(dim)
            block.attn.qkv.bias[:dim] = 10 * target
    (found,) = activation_maps(model, images)
    row, column = divmod(int(found.argmax()), SIZE[1])
    assert 32 <= row < 48 and 16 <= column < 32
    assert found[:16].mean() < 0.2


@pytest.mark.parametrize("shape", [(2, 4, 3, 64, 32), (0, 3, 64, 32), (3, 64, 32), (1, 1, 64, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="one frame of each tracklet"):
        activation_maps(Halves(), torch.zeros(shape))


def test_a_model_without_maps_is_told():
    with pytest.raises(ValueError, match="Flatten makes no maps .*; use larger pictures"):
        activation_maps(nn.Flatten(), torch.zeros(1, 3, 4, 4))


def test_files(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b" / "a.png"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 50), (0, 0, 200)).save(path)
    maps = torch.zeros(2, 64, 32)
    maps[1] = 1
    files = write_activations(paths, maps, tmp_path / "out")
    assert [file.name for file in files] == ["a.png", "a_2.png"]
    cold, hot = (np.asarray(Image.open(file)).astype(int) for file in files)
    assert cold.shape == hot.shape == (256, 2 * 128 + 4, 3)
    assert (cold[:, :128] == (0, 0, 200)).all() and (cold[:, 128:132] == 255).all()
    assert cold[0, -1, 0] == 0 and hot[0, -1, 0] > 60  # blue on blue, and red on blue
    with pytest.raises(ValueError, match="2 pictures and 1 maps"):
        write_activations(paths, maps[:1], tmp_path / "out")


def test_an_overlay_is_half_picture_half_colour():
    picture = np.full((2, 1, 3), 100, np.uint8)
    mixed = overlay(picture, np.array([[0.0], [1.0]], np.float32))
    assert mixed.tolist() == [[[50, 50, 114]], [[114, 50, 50]]]  # 100 with (0, 0, 128) and back
