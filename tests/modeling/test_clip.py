"""CLIP's towers and the head of CLIP-ReID, small and from scratch; test_clip_golden.py has the
published ones."""

import pytest
import torch
from torch import nn

from reidtools.modeling import Embedder
from reidtools.modeling.backbones import clip
from reidtools.modeling.embedder import facts_of
from reidtools.modeling.heads.clip_necks import ClipNecks
from reidtools.modeling.text import TextTower
from reidtools.modeling.transformer import Attention, heads_of
from reidtools.modeling.weights import fit
from reidtools.registry import BACKBONES, HEADS

SIZE = (32, 16)
RN50 = {"width": 2, "layers": (1, 1, 1, 1), "joint_dim": 8}
VIT = {"patch": 8, "stride_size": (4, 4), "width": 16, "layers": 2, "joint_dim": 8}
TOWERS = {"clip_rn50": RN50, "clip_vit_b16": VIT}


def tower(name, size=SIZE, **options):
    torch.manual_seed(0)
    return BACKBONES.build(name, {"image_size": size}, TOWERS[name] | options)


def embedder(name="clip_vit_b16", test_feat="before", **options):
    backbone = tower(name, **options)
    head = HEADS.build("ClipNecks", facts_of(backbone), {"test_feat": test_feat})
    return Embedder(backbone, head)


def images(*lead):
    return torch.randn(*lead, 3, *SIZE, generator=torch.Generator().manual_seed(1))


# --- the head ------------------------------------------------------------------------------------


def head(**options):
    return ClipNecks(9, True, (2, 3, 4), **options)


ROWS = torch.arange(18.0).view(2, 9)  # of a tower whose features have 2, 3 and 4 values


def test_three_features_two_necks_and_what_texts_are_compared_with():
    necks = head()
    found = necks.branches(ROWS)
    assert [part[0].tolist() for part in found["features"]] == [*([0, 1], [2, 3, 4], [5, 6, 7, 8])]
    # Each column has two values nine apart: batch norm makes them -1 and 1.
    for part, width in zip(found["embeddings"], (3, 4), strict=True):
        expected = torch.tensor([[-1.0], [1.0]]).expand(2, width)
        torch.testing.assert_close(part, expected)
    assert torch.equal(found["joint"][0], found["features"][2]) and len(found["joint"]) == 1
    widths = {name: tuple(part.shape[1] for part in parts) for name, parts in found.items()}
    assert widths == necks.widths


@pytest.mark.parametrize("test_feat", ["before", "after"])
def test_tests_take_the_last_two_before_or_after_their_necks(test_feat):
    necks = head(test_feat=test_feat).eval()
    for neck in (necks.neck, necks.neck_proj):
        nn.init.constant_(neck.running_mean, 2.0)
    features, embeddings = necks(ROWS)
    assert torch.equal(features, ROWS) and (necks.feature_dim, necks.dim) == (9, 7)
    shift = 0.0 if test_feat == "before" else 2.0
    torch.testing.assert_close(embeddings, ROWS[:, 2:] - shift, rtol=1e-4, atol=1e-4)


def test_necks_as_built_may_be_absent_from_a_file():
    necks = head(test_feat="after").eval()
    assert necks.passthrough == set(necks.state_dict())
    torch.testing.assert_close(necks(ROWS)[1], ROWS[:, 2:], rtol=1e-4, atol=1e-4)
    model = embedder("clip_rn50")
    bare = {f"visual.{name}": tensor for name, tensor in model.backbone.state_dict().items()}
    report = fit(model, bare)
    assert report.complete and sorted(report.passthrough) == sorted(
        f"heads.{name}" for name in model.heads.passthrough
    )


def test_shifts_of_necks_are_not_trained():
    trained = {name for name, weight in head().named_parameters() if weight.requires_grad}
    assert trained == {"neck.weight", "neck_proj.weight"}


def test_a_head_for_clip_wants_clip():
    with pytest.raises(ValueError, match=r"clip_rn50 or clip_vit_b16, or another head"):
        HEADS.build("ClipNecks", {"dim": 8, "pooled": True}, {})
    with pytest.raises(LookupError, match="Did you mean 'before'"):
        head(test_feat="befor")


# --- the towers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts", "dim"),
    [("clip_rn50", (1024, 2048, 1024), 3072), ("clip_vit_b16", (768, 768, 512), 1280)],
)
def test_published_sizes(name, parts, dim):
    with torch.device("meta"):
        backbone = BACKBONES.build(name, {"image_size": (256, 128)}, {})
        model = Embedder(backbone, HEADS.build("ClipNecks", facts_of(backbone), {})).eval()
        features, embeddings = model(torch.zeros(2, 3, 256, 128))
    assert backbone.parts == parts and features.shape == (2, sum(parts))
    assert model.dim == dim and embeddings.shape == (2, dim)


@pytest.mark.parametrize(
    ("stride", "tokens"), [((16, 16), 16 * 8), ((12, 12), 21 * 10), ((16, 12), 16 * 10)]
)
def test_overlapping_patches(stride, tokens):
    with torch.device("meta"):
        options = {"stride_size": stride, "layers": 1}
        backbone = BACKBONES.build("clip_vit_b16", {"image_size": (256, 128)}, options)
    assert backbone.positional_embedding.shape == (1 + tokens, 768)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_torch_with_the_same_weights(causal):
    torch.manual_seed(0)
    own, theirs = Attention(128, causal), nn.MultiheadAttention(128, 2, batch_first=True)
    assert own.state_dict().keys() == theirs.state_dict().keys()
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    own.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 128)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    expected, _ = theirs(x, x, x, attn_mask=later, need_weights=False)
    torch.testing.assert_close(own(x), expected)


def test_no_word_sees_later_ones():
    """The text of a sentence is read at its end; what comes after changes nothing."""
    torch.manual_seed(0)
    text = TextTower(8, width=16, layers=2, context_length=16)
    tokens = text.read(["a man in blue"])
    end = tokens.argmax(1).item()
    words = text.token_embedding(tokens)
    other = words.clone()
    other[:, end + 1 :] = torch.randn_like(other[:, end + 1 :])
    at = torch.tensor([end])
    torch.testing.assert_close(text(words, at), text(other, at))
    torch.testing.assert_close(text(words, at), text.encode(tokens))
    other[:, 1] = torch.randn(16)
    assert not torch.allclose(text(words, at), text(other, at), atol=1e-3)


def test_activations_of_the_text_tower_computed_again():
    gradients = []
    for again in (False, True):
        torch.manual_seed(0)
        text = TextTower(8, width=16, layers=2, context_length=16, grad_checkpoint=again)
        text.encode(text.read(["a man", "a red bag"])).square().sum().backward()
        gradients.append([weight.grad for weight in text.parameters()])
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("clip_rn50", {"layers": (1, 1, 1)}, r"LAYERS is \[1, 1, 1\]; a ResNet has four"),
        ("clip_rn50", {"size": (15, 16)}, r"multiples of 16"),
        ("clip_rn50", {"width": 3}, "width of 96 cannot be shared by heads of 64"),
        ("clip_vit_b16", {"width": 100}, "width of 100 cannot be shared by heads of 64"),
        ("clip_vit_b16", {"size": (32, 7)}, r"Patches of 8 .* do not fit pictures of \(32, 7\)"),
        ("clip_vit_b16", {"stride_size": (0, 4)}, r"every \[0, 4\] do not fit.*STRIDE_SIZE"),
        ("clip_vit_b16", {"stride_size": (4,)}, r"STRIDE_SIZE is \[4\]; give two"),
        ("clip_vit_b16", {"sie_camera": True}, r"number of cameras.*MODEL\.BACKBONE\.CAMERAS"),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, options, says):
    with pytest.raises(ValueError, match=says):
        tower(name, **options)


def test_heads_are_of_64_values_and_one_where_there_are_fewer():
    assert [heads_of(width) for width in (16, 64, 512, 768, 2048)] == [1, 1, 8, 12, 32]


# --- cameras -------------------------------------------------------------------------------------


def seeing_cameras(coefficient=2.0):
    model = embedder(sie_camera=True, cameras=3, sie_coe=coefficient).eval()
    nn.init.normal_(model.backbone.cv_embed)
    return model


def test_only_a_tower_with_cameras_is_told_of_them():
    plain, seeing, pictures = embedder().eval(), seeing_cameras(), images(2)
    assert not plain.by_camera and seeing.by_camera
    assert torch.equal(plain(pictures, torch.tensor([0, 1]))[0], plain(pictures)[0])
    assert not hasattr(plain.backbone, "cv_embed")


@pytest.mark.parametrize("unknown", [-1, 3, 14])
def test_a_camera_changes_a_picture_and_one_that_is_not_known_does_not(unknown):
    """The table has three; other people may be seen by more cameras than those in training."""
    model, pictures = seeing_cameras(), images(3)
    without, _ = model(pictures)
    torch.testing.assert_close(model(pictures, torch.tensor([unknown] * 3))[0], without)
    some, _ = model(pictures, torch.tensor([2, unknown, 0]))
    changed = (some - without).abs().amax(1) > 1e-3
    assert changed.tolist() == [True, False, True]


def test_the_coefficient_times_the_embedding_is_added_to_the_class_token():
    model, pictures = seeing_cameras(2.0), images(1)
    expected, _ = model(pictures, torch.tensor([1]))
    table = model.backbone.cv_embed
    with torch.no_grad():
        model.backbone.class_embedding += 2.0 * table[1]
    torch.testing.assert_close(model(pictures)[0], expected)


def test_all_frames_of_a_tracklet_are_of_its_camera():
    model, tracklets = seeing_cameras(), images(2, 3)
    frames, camids = model.in_a_row(tracklets, torch.tensor([2, 0]))
    assert frames.shape == (6, 3, *SIZE) and camids.tolist() == [2, 2, 2, 0, 0, 0]
    features, _ = model(tracklets, torch.tensor([2, 0]))
    each = [model(tracklets[1, t : t + 1], torch.tensor([0]))[0][0] for t in range(3)]
    torch.testing.assert_close(features[1], torch.stack(each).mean(0))


def test_only_cameras_of_the_batch_get_a_gradient():
    model = seeing_cameras().train()
    model(images(3), torch.tensor([2, -1, 0]))[0].sum().backward()
    moved = model.backbone.cv_embed.grad.abs().sum(1) > 0
    assert moved.tolist() == [True, False, True]


# --- OpenAI's file -------------------------------------------------------------------------------


def test_the_file_is_taken_from_where_openai_s_package_keeps_it(tmp_path, monkeypatch):
    model, other = tower("clip_rn50"), tower("clip_rn50")
    nn.init.constant_(model.conv1.weight, 0.25)
    whole = {f"visual.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(whole | {"logit_scale": torch.tensor(4.6)}, tmp_path / "RN50.pt")
    monkeypatch.setattr(clip, "CACHE", tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)  # it must not be called
    assert other.fetch().keys() == whole.keys() | {"logit_scale"}
    assert fit(other, other.fetch()).complete
    assert (other.conv1.weight == 0.25).all()


@pytest.mark.parametrize("name", ["clip_rn50", "clip_vit_b16"])
def test_otherwise_it_is_downloaded_there_and_its_sum_is_checked(name, tmp_path, monkeypatch):
    asked, model = [], tower(name)

    def download(url, path, hash_prefix):
        asked.append((url, hash_prefix))
        torch.save({"visual.proj": torch.zeros(1)}, path)

    monkeypatch.setattr(clip, "CACHE", tmp_path / "new" / "clip")
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert model.fetch().keys() == {"visual.proj"} and model.fetch()
    ((url, sha),) = asked  # once
    file = {"clip_rn50": "RN50.pt", "clip_vit_b16": "ViT-B-16.pt"}[name]
    assert url.endswith(f"/{sha}/{file}") and len(sha) == 64
    assert (tmp_path / "new" / "clip" / file).is_file()
