"""TransReID's networks, small and from scratch; test_transreid_golden.py has the published ones."""

import pytest
import torch
from torch import nn

from reidtools.modeling import Embedder
from reidtools.modeling.backbones import transreid
from reidtools.modeling.backbones.transreid import Shape, TransReID, grid_at, jigsaw
from reidtools.modeling.embedder import facts_of
from reidtools.modeling.transformer import resize_positions
from reidtools.modeling.weights import fit, load_pretrained
from reidtools.registry import BACKBONES, HEADS

timm = pytest.importorskip("timm")
SIZE = (64, 32)  # 4 x 2 patches
NAMES = ("transreid_vit_base", "transreid_vit_small", "transreid_deit_small")


class Small(TransReID):
    shape = Shape(16, 3, 2, 2, True)
    weights = "https://example.org/small-01234567.pth"


def small(size=SIZE, **options):
    torch.manual_seed(0)
    model = Small(size, **options)
    for parameter in model.parameters():  # from scratch tokens hardly see each other
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def images(count, size=SIZE):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def outline(name, size=(256, 128), **options):
    with torch.device("meta"):
        return BACKBONES.build(name, {"image_size": size}, options)


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes(name):
    backbone = outline(name)
    width, blocks = {"transreid_vit_base": (768, 12), "transreid_vit_small": (768, 8)}.get(
        name, (384, 12)
    )
    assert (backbone.dim, len(backbone.blocks), backbone.pooled) == (width, blocks, True)
    assert not hasattr(backbone, "parts") and not backbone.by_camera
    biases = "blocks.0.attn.qkv.bias" in backbone.state_dict()
    assert biases == (name != "transreid_vit_small")
    with torch.device("meta"):
        assert backbone(torch.zeros(2, 3, 256, 128)).shape == (2, width)


def test_jpm_gives_five_features_side_by_side():
    backbone = outline("transreid_vit_base", jpm=True, stride_size=(12, 12))
    assert backbone.parts == (768,) * 5 and backbone.dim == 5 * 768
    assert len(backbone.blocks) == 11 and not hasattr(backbone, "norm")
    head = HEADS.build("PartNecks", facts_of(backbone), {})
    with torch.device("meta"):
        features, embeddings = Embedder(backbone, head)(torch.zeros(2, 3, 256, 128))
    assert features.shape == embeddings.shape == (2, 3840)


@pytest.mark.parametrize(
    ("size", "stride", "patches"),
    [
        ((256, 128), 16, 16 * 8),
        ((256, 128), 12, 21 * 10),
        ((256, 128), 11, 22 * 11),
        ((384, 128), 12, 31 * 10),
        ((256, 256), 16, 16 * 16),
    ],
)
def test_overlapping_patches_and_how_a_file_tells_of_them(size, stride, patches):
    backbone = outline("transreid_vit_base", size, stride_size=(stride, stride))
    assert backbone.pos_embed.shape == (1, 1 + patches, 768)
    told = TransReID.options_of(backbone.state_dict())
    assert told == {"jpm": False, "stride_size": (stride, stride)}


def test_a_file_tells_of_cameras_and_parts():
    backbone = outline("transreid_vit_base", jpm=True, sie_camera=True, cameras=6, divide_length=3)
    model = Embedder(backbone, HEADS.build("PartNecks", facts_of(backbone), {}))
    entries = {name.removeprefix("backbone."): t for name, t in model.state_dict().items()}
    told = {"jpm": True, "divide_length": 3, "sie_camera": True, "cameras": 6}
    assert TransReID.options_of(entries) == told | {"stride_size": (16, 16)}
    with pytest.raises(KeyError):
        TransReID.options_of({"conv1.weight": torch.zeros(1)})


# --- what it computes ----------------------------------------------------------------------------


def test_without_jpm_it_is_the_vit_of_timm():
    theirs = timm.models.VisionTransformer(
        img_size=SIZE, embed_dim=16, depth=3, num_heads=2, mlp_ratio=2, num_classes=0
    ).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    own = small()
    assert fit(own, theirs.state_dict()).complete
    torch.testing.assert_close(own(images(2)), theirs.forward_features(images(2))[:, 0])


def test_the_scale_of_attention_of_the_small_vit():
    """Its heads have 96 values each, but products are divided by the root of all 768."""
    block = transreid._block(transreid.transreid_vit_small.shape, 0.0, 0.0).eval()
    x = torch.randn(1, 5, 768)
    query, key, value = block.attn.qkv(x).view(1, 5, 3, 8, 96).permute(2, 0, 3, 1, 4)
    seen = (query @ key.transpose(2, 3) / 768**0.5).softmax(3) @ value
    expected = block.attn.proj(seen.transpose(1, 2).reshape(1, 5, 768))
    torch.testing.assert_close(block.attn(x), expected)


@pytest.mark.parametrize(
    ("count", "shift", "groups"), [(8, 5, 2), (11, 5, 2), (9, 1, 3), (7, 4, 4)]
)
def test_shuffled_patches(count, shift, groups):
    """As in tests/golden/README.md: index 0 is the class token."""
    tokens = list(range(count + 1))
    order = tokens[shift:] + tokens[1:shift]
    if len(order) % groups:
        order.append(order[-2])
    each = len(order) // groups
    expected = [order[group * each + place] for place in range(each) for group in range(groups)]
    patches = torch.arange(1.0, count + 1).view(1, count, 1)
    assert jigsaw(patches, shift, groups).flatten().tolist() == expected


def test_a_shift_of_one_and_one_group_shuffle_nothing():
    patches = torch.randn(2, 7, 3)
    assert torch.equal(jigsaw(patches, 1, 1), patches)


@pytest.mark.parametrize("parts", [4, 3])
def test_local_features_one_by_one(parts):
    """8 patches: four parts of 2, or three of 2 and a rest that no part has."""
    model, pictures = small(jpm=True, divide_length=parts), images(2)
    seen = []
    model.b1[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = model(pictures).split(16, 1)
    (tokens,) = seen  # of all but the last block
    assert tokens.shape == (2, 9, 16) and len(found) == 1 + parts
    torch.testing.assert_close(found[0], model.b1[1](model.b1[0](tokens))[:, 0])
    patches = jigsaw(tokens[:, 1:], 5, 2)
    for part in range(parts):
        own = torch.cat([tokens[:, :1], patches[:, 2 * part : 2 * part + 2]], 1)
        expected = model.b2[1](model.b2[0](own))[:, 0]
        torch.testing.assert_close(found[1 + part], expected)


def test_options_reach_the_blocks():
    model = Small(SIZE, drop_path=0.2, dropout=0.3, jpm=True)
    assert model.pos_drop.p == model.blocks[0].mlp.drop1.p == pytest.approx(0.3)
    rates = [getattr(block.drop_path1, "drop_prob", 0) for block in (*model.blocks, model.b2[0])]
    assert rates == pytest.approx([0, 0.1, 0.2])  # of 3 blocks, the last of which is in b1 and b2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": (64, 15)}, r"16 pixels every \[16, 16\] do not fit pictures of \(64, 15\)"),
        ({"stride_size": (0, 4)}, r"every \[0, 4\] do not fit.*STRIDE_SIZE"),
        ({"stride_size": (4,)}, r"STRIDE_SIZE is \[4\]; give two"),
        ({"sie_camera": True}, r"number of cameras.*MODEL\.BACKBONE\.CAMERAS"),
        ({"jpm": True, "shift_num": 0}, "cannot shuffle 8 patches with SHIFT_NUM 0"),
        ({"jpm": True, "shuffle_groups": 5}, "SHUFFLE_GROUPS 5; set them to 5 and 2"),
        ({"jpm": True, "divide_length": 9}, "cannot cut 8 patches into 9 parts.*DIVIDE_LENGTH"),
    ],
)
def test_what_cannot_be_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        small(**options)


# --- cameras -------------------------------------------------------------------------------------


@pytest.mark.parametrize("unknown", [-1, 3, 14])
def test_a_camera_changes_a_picture_and_one_that_is_not_known_does_not(unknown):
    model, pictures = small(sie_camera=True, cameras=3), images(3)
    without = model(pictures)
    torch.testing.assert_close(model(pictures, torch.tensor([unknown] * 3)), without)
    some = model(pictures, torch.tensor([2, unknown, 0]))
    changed = (some - without).abs().amax(1) > 1e-3
    assert changed.tolist() == [True, False, True]


def test_the_coefficient_times_the_embedding_is_added_to_every_token():
    model, pictures = small(sie_camera=True, cameras=3, sie_coe=2.0), images(1)
    expected = model(pictures, torch.tensor([1]))
    assert model.by_camera and model.sie_embed.shape == (3, 1, 16)
    with torch.no_grad():
        model.pos_embed += 2.0 * model.sie_embed[1]
    torch.testing.assert_close(model(pictures), expected)


# --- files ---------------------------------------------------------------------------------------


def imagenet(size=SIZE, extra=0):
    """As timm writes one: bare names, and a classifier."""
    state = {name: t.clone() for name, t in small(size).state_dict().items()}
    state["pos_embed"] = torch.randn(1, 1 + extra + state["pos_embed"].shape[1] - 1, 16)
    return state | {"head.weight": torch.zeros(10, 16), "head.bias": torch.zeros(10)}


def test_both_branches_begin_as_the_last_block_and_the_norm_of_a_file(tmp_path):
    state = imagenet()
    torch.save(state, tmp_path / "imagenet.pth")
    model = Small(SIZE, jpm=True, sie_camera=True, cameras=2)
    report = load_pretrained(model, tmp_path / "imagenet.pth")
    assert report.complete and sorted(report.classifier) == ["head.bias", "head.weight"]
    for branch in (model.b1, model.b2):
        for name, tensor in branch[0].state_dict().items():
            assert torch.equal(tensor, state[f"blocks.2.{name}"])
        assert torch.equal(branch[1].weight, state["norm.weight"])
    assert model.b1[0].mlp.fc1.weight is not model.b2[0].mlp.fc1.weight
    assert torch.equal(model.blocks[1].mlp.fc1.weight, state["blocks.1.mlp.fc1.weight"])


def test_the_branches_of_a_trained_file_are_its_own():
    """TransReID's files have the last block a third time, which nothing uses."""
    trained, other = small(jpm=True), Small(SIZE, jpm=True).eval()
    own, branches = trained.state_dict(), ("b1.", "b2.")
    whole = {f"base.blocks.2.{name}": t + 1 for name, t in trained.b1[0].state_dict().items()}
    whole |= {f"base.{name}": t for name, t in own.items() if not name.startswith(branches)}
    whole |= {name: t for name, t in own.items() if name.startswith(branches)}
    report = fit(other, whole)
    assert report.complete and report.layout == "TransReID"
    torch.testing.assert_close(other(images(2)), trained(images(2)))


def test_both_branches_begin_alike_from_scratch():
    model = Small(SIZE, jpm=True)
    for one, two in zip(model.b1.parameters(), model.b2.parameters(), strict=True):
        assert torch.equal(one, two) and one is not two


def test_position_tables_are_resized_bilinearly_also_those_of_overlapping_patches():
    backbone = outline("transreid_deit_small", (256, 128))
    for size, stride in (((384, 128), (12, 12)), ((256, 128), (11, 11)), ((224, 224), (16, 16))):
        old = grid_at(size, stride)
        table = torch.randn(1, 1 + old[0] * old[1], 384)
        name, found = backbone.adapt("pos_embed", table)
        assert name == "pos_embed"
        assert torch.equal(found[0], resize_positions(table[0], old, (16, 8)))
    own = torch.randn(1, 129, 384)
    assert backbone.adapt("pos_embed", own)[1] is own
    unknown = torch.randn(1, 8, 384)
    assert backbone.adapt("pos_embed", unknown)[1] is unknown  # which is reported by its shape
    bias = torch.randn(384)
    assert backbone.adapt("norm.bias", bias)[1] is bias


def test_the_second_token_of_a_distilled_deit_has_no_place():
    backbone = outline("transreid_deit_small", (256, 128))
    table = torch.randn(1, 198, 384)
    _, found = backbone.adapt("pos_embed", table)
    plain = torch.cat([table[:, :1], table[:, 2:]], 1)
    assert torch.equal(found, backbone.adapt("pos_embed", plain)[1])


def test_what_is_downloaded_fills_it(monkeypatch):
    """DeiT's file: under `model`, with a second token and its classifier."""
    model, asked = Small(SIZE), []
    token = {"dist_token": torch.zeros(1, 1, 16), "head_dist.weight": torch.zeros(10, 16)}
    whole = {"model": imagenet((224, 224), extra=1) | token}

    def download(url, **settings):
        asked.append((url, settings["check_hash"], settings["weights_only"]))
        return whole

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    assert load_pretrained(model).complete
    assert asked == [(Small.weights, True, True)]
    assert torch.equal(model.norm.weight, whole["model"]["norm.weight"])


def test_published_addresses_end_in_the_sum_that_is_checked():
    for name in NAMES:
        assert torch.hub.HASH_REGEX.search(BACKBONES[name].weights)
