"""SOLIDER's Swin transformers: their parts against slow ones, the whole against timm's Swin."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reidtools.modeling import Embedder
from reidtools.modeling.backbones import solider
from reidtools.modeling.backbones.solider import Block, Merging, SoliderSwin, WindowAttention
from reidtools.modeling.weights import fit, load_pretrained
from reidtools.registry import BACKBONES, HEADS

timm = pytest.importorskip("timm")
NAMES = ("solider_swin_tiny", "solider_swin_small", "solider_swin_base")
TIMM = "swin_tiny_patch4_window7_224"


class Small(SoliderSwin):
    width, depths, heads, drive_id = 8, (2, 1, 1, 2), (1, 2, 2, 2), "0123456789"


def drawn(model):
    """With weights that differ from each other: those from scratch are close to none."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float("norm" in name), std=0.2)
    return model.eval()


def images(count, *size):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


# --- shapes and names ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes(name):
    with torch.device("meta"):
        model = BACKBONES.build(name, {}, {})
        assert model(torch.zeros(2, 3, 384, 128)).shape == (2, model.dim, 12, 4)
    assert model.dim == (1024 if name.endswith("base") else 768) and not model.pooled
    blocks = [len(stage.blocks) for stage in model.stages]
    assert blocks == [2, 2, 6 if name.endswith("tiny") else 18, 2]


def test_pictures_of_any_size_are_padded_to_whole_patches():
    assert drawn(Small())(images(1, 70, 50)).shape == (1, 64, 3, 2)  # 18 x 13, 9 x 7, 5 x 4, 3 x 2
    one, other = images(1, 70, 50), F.pad(images(1, 70, 50), (0, 2, 0, 2))
    model = drawn(Small())
    torch.testing.assert_close(model(one), model(other))


def test_names_are_those_of_solider():
    block = {f"norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    block |= {f"attn.w_msa.relative_position_{what}" for what in ("bias_table", "index")}
    block |= {
        f"attn.w_msa.{part}.{kind}" for part in ("qkv", "proj") for kind in ("weight", "bias")
    }
    block |= {f"ffn.layers.{part}.{kind}" for part in ("0.0", "1") for kind in ("weight", "bias")}
    names = {f"patch_embed.{p}.{k}" for p in ("projection", "norm") for k in ("weight", "bias")}
    names |= {"norm3.weight", "norm3.bias"}
    for stage, depth in enumerate(Small.depths):
        names |= {f"stages.{stage}.blocks.{i}.{name}" for i in range(depth) for name in block}
    for stage in range(3):
        names |= {f"stages.{stage}.downsample.{n}" for n in ("norm.weight", "norm.bias")}
        names |= {f"stages.{stage}.downsample.reduction.weight"}
        names |= {f"semantic_embed_{p}.{stage}.{k}" for p in "wb" for k in ("weight", "bias")}
    assert Small().state_dict().keys() == names


# --- what it computes ----------------------------------------------------------------------------


def slow_attention(attention, x, shift):
    """Attention on a map (H, W, C), position by position; 14 x 7 after it has been padded."""
    height, width, dim = x.shape
    rows, columns = -(-height // 7) * 7, -(-width // 7) * 7
    padded = torch.zeros(rows, columns, dim)  # a padded position is one like any other
    padded[:height, :width] = x
    query, key, value = attention.qkv(padded).view(rows, columns, 3, attention.heads, -1).unbind(2)
    places = [(row, column) for row in range(rows) for column in range(columns)]

    def window(row, column):
        """Window and region: what came round by the shift is apart from its new neighbours."""
        row, column = (row - shift) % rows, (column - shift) % columns
        ends = row >= rows - shift and shift > 0, column >= columns - shift and shift > 0
        return row // 7, column // 7, *ends

    def bias(one, two):
        row = (one[0] - shift) % rows % 7 - (two[0] - shift) % rows % 7
        column = (one[1] - shift) % columns % 7 - (two[1] - shift) % columns % 7
        return attention.relative_position_bias_table[(row + 6) * 13 + column + 6]

    found = torch.zeros_like(x)
    for place in places:
        if place[0] >= height or place[1] >= width:
            continue
        seen = [other for other in places if window(*other) == window(*place)]
        keys, values = (torch.stack([what[other] for other in seen]) for what in (key, value))
        scores = (keys * query[place]).sum(2) / query.shape[-1] ** 0.5
        scores = scores + torch.stack([bias(place, other) for other in seen])
        mixed = (scores.softmax(0)[:, :, None] * values).sum(0)
        found[place] = attention.proj(mixed.flatten())
    return found


@pytest.mark.parametrize("size", [(10, 4), (7, 7), (3, 9)])
@pytest.mark.parametrize("shifts", [False, True])
@torch.no_grad()
def test_a_block_against_a_slow_one(size, shifts):
    """A map as high as 384 x 128 makes it is padded; one of 7 x 7 is shifted all the same."""
    block = drawn(Block(8, 2, shifts, 0.0))
    x = torch.randn(2, *size, 8)
    rows, columns = (-(-side // 7) * 7 for side in size)
    found = block(x, solider.apart(rows, columns, x.device))
    attention = block.attn["w_msa"]
    for own, row in zip(found, x, strict=True):
        y = row + slow_attention(attention, block.norm1(row), 3 if shifts else 0)
        expected = y + block.ffn["layers"](block.norm2(y))
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_the_index_of_biases():
    """As stored in published files: (6, 6) steps apart is the first row and 13 a row."""
    index = WindowAttention(8, 2).relative_position_index
    assert index.shape == (49, 49) and index.diagonal().unique().tolist() == [6 * 13 + 6]
    assert index[0, 48] == 0 and index[48, 0] == 168
    assert index[0, 1] == 6 * 13 + 5 and index[0, 7] == 5 * 13 + 6


def test_merged_neighbours_are_in_the_order_of_unfold():
    merging = drawn(Merging(8))
    x = torch.randn(2, 5, 3, 8)  # padded to 6 x 4
    columns = F.unfold(F.pad(x, (0, 0, 0, 1, 0, 1)).permute(0, 3, 1, 2), 2, stride=2)
    expected = merging.reduction(merging.norm(columns.mT)).view(2, 3, 2, 16)
    torch.testing.assert_close(merging(x), expected)


@pytest.mark.parametrize("weight", [0.2, 0.0, 1.0])
@torch.no_grad()
def test_meaning_and_appearance_between_the_stages(weight):
    model = drawn(Small(semantic_weight=weight))
    into, out_of = [], []
    for stage in model.stages:
        stage.register_forward_hook(lambda _, inputs, output: out_of.append(output))
        stage.register_forward_pre_hook(lambda _, inputs: into.append(inputs[0]))
    found = model(images(2, 64, 64))
    pair = torch.tensor([weight, 1 - weight])
    for place in range(3):
        scale = model.semantic_embed_w[place](pair)
        expected = out_of[place] * (1 + scale.exp()).log() + model.semantic_embed_b[place](pair)
        torch.testing.assert_close(into[place + 1], expected)
    torch.testing.assert_close(found, model.norm3(out_of[3]).permute(0, 3, 1, 2))


def test_what_was_learned_of_meaning_is_not_trained_further():
    frozen = {name for name, weight in Small().named_parameters() if not weight.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"semantic_embed_w", "semantic_embed_b"}
    plain = Small(semantic_weight=-1)
    assert not any(name.startswith("semantic") for name in plain.state_dict())
    assert all(weight.requires_grad for weight in plain.parameters())


@pytest.mark.parametrize("weight", [-0.5, 1.5])
def test_a_share_of_meaning_is_a_share(weight):
    with pytest.raises(ValueError, match=r"SEMANTIC_WEIGHT is .*; set it to 0 \(appearance\)"):
        Small(semantic_weight=weight)


def test_deeper_branches_are_dropped_more_often():
    model = Small(drop_path=0.5)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs():
    """timm's Swin-T, shifting maps of one window as well, which it does not do otherwise."""
    return drawn(timm.create_model(TIMM, num_classes=0, always_partition=True))


def test_weights_of_timm_give_what_they_give_there(theirs, tmp_path):
    torch.save(theirs.state_dict() | {"head.fc.bias": torch.zeros(9)}, tmp_path / "swin.pth")
    model = BACKBONES["solider_swin_tiny"](semantic_weight=-1).eval()
    report = load_pretrained(model, tmp_path / "swin.pth")
    assert report.complete and report.classifier == ["head.fc.bias"]
    with torch.inference_mode():
        found = model(images(1, 224, 224))
        expected = theirs.forward_features(images(1, 224, 224)).permute(0, 3, 1, 2)
    assert expected.abs().max() > 1  # maps of 56, 28, 14 and 7: no padding
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_microsoft_numbers_mergings_by_the_stage_before(theirs):
    state = theirs.state_dict()
    for stage in range(3):
        for name in ("norm.weight", "norm.bias", "reduction.weight"):
            moved = state.pop(f"layers.{stage + 1}.downsample.{name}")
            state[f"layers.{stage}.downsample.{name}"] = moved
    one, other = (BACKBONES["solider_swin_tiny"](semantic_weight=-1) for _ in range(2))
    fit(one, state)
    fit(other, theirs.state_dict())
    for (name, own), same in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(own, same), name


def test_weights_of_imagenet_know_nothing_of_meaning(theirs, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "swin.pth")
    with pytest.raises(ValueError, match=r"missing: backbone\.semantic_embed_w\.0\.weight"):
        load_pretrained(BACKBONES["solider_swin_tiny"](), tmp_path / "swin.pth")


def solider_s(model):
    """The names in a file of SOLIDER, which has norms and layers that nothing here asks for."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state |= {f"norm{i}.weight": torch.ones(8 * 2**i) for i in range(3)}
    return state | {f"semantic_embed_{p}.3.bias": torch.zeros(64) for p in "wb"}


def test_a_trained_file_of_solider():
    model = drawn(Small())
    state = {f"base.{name}": tensor for name, tensor in solider_s(model).items()}
    neck = HEADS["BNNeck"](64, False).state_dict()
    state |= {name.replace("neck", "bottleneck"): tensor for name, tensor in neck.items()}
    state["classifier.weight"] = torch.zeros(10, 64)
    other = Embedder(Small(), HEADS["BNNeck"](64, False)).eval()
    report = fit(other, state)
    assert report.complete and report.layout == "SOLIDER"
    assert sorted(report.classifier) == [
        *(f"base.norm{i}.weight" for i in range(3)),
        *(f"base.semantic_embed_{p}.3.bias" for p in "bw"),
        "classifier.weight",
    ]
    torch.testing.assert_close(other.backbone(images(1, 64, 32)), model(images(1, 64, 32)))


def test_a_file_tells_whether_it_knows_of_meaning():
    assert SoliderSwin.options_of(Small().state_dict()) == {}
    plain = Small(semantic_weight=-1).state_dict()
    assert SoliderSwin.options_of(plain) == {"semantic_weight": -1.0}
    with pytest.raises(KeyError):
        SoliderSwin.options_of({"conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize("weight", [0.2, -1])
def test_what_is_downloaded_fills_it(weight, tmp_path, monkeypatch):
    """The teacher of pre-training, with its head."""
    model, asked = drawn(Small()), []
    teacher = {f"backbone.{name}": tensor for name, tensor in solider_s(model).items()}
    teacher |= {"head.mlp.0.weight": torch.zeros(2, 64), "head.last_layer.weight_g": torch.ones(1)}

    def download(path, what, **settings):
        asked.append((path.name, settings["drive_id"]))
        path.parent.mkdir(parents=True)
        torch.save({"teacher": teacher, "epoch": 100}, path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(solider, "fetch", download)
    other = Small(semantic_weight=weight)
    assert load_pretrained(other).complete and load_pretrained(other).complete
    assert asked == [("Small_luperson.pth", "0123456789")]  # once
    assert torch.equal(other.stages[2].blocks[0].norm1.bias, model.stages[2].blocks[0].norm1.bias)
