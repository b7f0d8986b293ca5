import pytest
import torch
from torch import nn

from reidtools.modeling import Embedder
from reidtools.registry import HEADS

MAPS = torch.tensor([[[[1.0, 3.0]], [[4.0, 0.0]]], [[[5.0, 5.0]], [[2.0, 2.0]]]])  # (2, 2, 1, 2)
MEANS = torch.tensor([[2.0, 2.0], [5.0, 2.0]])


# The others take several features side by side: see test_clip.py, test_transreid.py, and below.
PLAIN = sorted(set(HEADS) - {"ClipNecks", "PartNecks", "MGN"})


@pytest.mark.parametrize("name", PLAIN)
def test_every_head_gives_features_and_embeddings_of_its_dim(name):
    for pooled, x in ((False, torch.rand(4, 8, 3, 2)), (True, torch.rand(4, 8))):
        for embedding_dim, dim in ((0, 8), (5, 5)):
            head = HEADS.build(name, {"dim": 8, "pooled": pooled}, {"embedding_dim": embedding_dim})
            x.requires_grad_()
            features, embeddings = head(x)
            assert head.dim == dim
            assert features.shape == embeddings.shape == (4, dim)
            (features.square().sum() + embeddings.square().sum()).backward()
            assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PLAIN)
def test_passthrough_names_exist_and_turn_no_vector_as_built(name):
    head = HEADS[name](8, True).eval()
    assert head.passthrough <= set(head.state_dict())
    vectors = torch.rand(4, 8)
    _, embeddings = head(vectors)
    assert torch.allclose(
        nn.functional.normalize(embeddings), nn.functional.normalize(vectors), atol=1e-6
    )


def test_pool_layers():
    def features(pool_layer):
        return HEADS["Linear"](2, False, pool_layer=pool_layer)(MAPS)[0]

    assert torch.equal(features("avg"), MEANS)
    assert torch.equal(features("max"), torch.tensor([[3.0, 4.0], [5.0, 2.0]]))
    # p = 3: the cube root of (1 + 27) / 2; a constant map is its own mean.
    assert features("gem")[0, 0].item() == pytest.approx(14 ** (1 / 3), rel=1e-5)
    assert features("gem")[1, 0].item() == pytest.approx(5, rel=1e-5)


def test_bnneck_embeds_with_batch_norm_and_leaves_features_alone():
    head = HEADS["BNNeck"](2, False)
    features, embeddings = head(MAPS)
    assert torch.equal(features, MEANS)
    # Channel 0 has mean 3.5 and deviation 1.5: -1 and 1. Channel 1 is constant: 0.
    assert torch.allclose(embeddings, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), atol=1e-5)


def test_the_shift_of_bnneck_is_stored_but_not_trained():
    head = HEADS["BNNeck"](2, False)
    assert not head.neck.bias.requires_grad and head.neck.weight.requires_grad
    assert "neck.bias" in head.state_dict()
    assert torch.equal(head.neck.weight, torch.ones(2)) and torch.equal(
        head.neck.bias, torch.zeros(2)
    )


def test_projection_has_no_bias():
    head = HEADS["Linear"](2, True, embedding_dim=1)
    with torch.no_grad():
        head.projection.weight.copy_(torch.tensor([[1.0, -1.0]]))
    features, embeddings = head(MEANS)
    assert features.tolist() == [[0.0], [3.0]]
    assert features is embeddings


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    head = HEADS["Linear"](1000, True, dropout=0.25)
    ones = torch.ones(1, 1000)
    dropped = head(ones)[0]
    assert dropped.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert 200 < (dropped == 0).sum() < 300
    assert torch.equal(head.eval()(ones)[0], ones)


def test_a_backbone_that_pools_leaves_nothing_to_pool():
    with pytest.raises(ValueError, match=r"POOL_LAYER 'gem' would have no effect; leave it at avg"):
        HEADS["BNNeck"](2, True, pool_layer="gem")


def test_bad_options_are_errors_when_the_head_is_built():
    with pytest.raises(LookupError, match="Did you mean 'gem'"):
        HEADS["Linear"](2, False, pool_layer="gen")
    with pytest.raises(ValueError, match="EMBEDDING_DIM is -1"):
        HEADS["Linear"](2, False, embedding_dim=-1)


def test_a_tracklet_has_the_mean_features_of_its_frames_before_the_neck():
    model = Embedder(nn.Conv2d(3, 4, 1), HEADS["BNNeck"](4, False))
    tracklets = torch.rand(2, 5, 3, 6, 4)
    features, embeddings = model(tracklets)
    frame_features = torch.stack([model(tracklet)[0] for tracklet in tracklets])  # (2, 5, 4)
    assert torch.allclose(features, frame_features.mean(1), atol=1e-6)
    # The neck sees two vectors, not ten: of each channel one is above the mean, one below.
    assert torch.equal(
        embeddings.sign(), torch.stack([embeddings[0].sign(), -embeddings[0].sign()])
    )
    assert features.shape == embeddings.shape == (2, model.dim)


def test_bnneck_chooses_what_losses_and_tests_see():
    """Channel 0 has mean 3.5 and deviation 1.5, channel 1 is constant."""
    normed = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    for neck_feat, test_feat in (("before", "after"), ("after", "before"), ("after", "after")):
        head = HEADS["BNNeck"](2, False, neck_feat=neck_feat, test_feat=test_feat)
        features, tested = head(MAPS)
        branches = head.branches(features)
        (metric,), (classified,) = branches["features"], branches["embeddings"]
        assert torch.allclose(classified, normed, atol=1e-5)
        assert torch.allclose(metric, MEANS if neck_feat == "before" else normed, atol=1e-5)
        assert torch.allclose(tested, MEANS if test_feat == "before" else normed, atol=1e-5)
    with pytest.raises(LookupError, match="Unknown test_feat 'befor'. Did you mean 'before'"):
        HEADS["BNNeck"](2, False, test_feat="befor")


def test_sum_of_mean_and_maximum_and_a_fixed_exponent():
    def head(pool_layer):
        return HEADS["Linear"](2, False, pool_layer=pool_layer)

    assert torch.equal(head("avg_max")(MAPS)[0], torch.tensor([[5.0, 6.0], [10.0, 4.0]]))
    fixed = head("gem_fixed")
    assert fixed(MAPS)[0][0, 0].item() == pytest.approx(14 ** (1 / 3), rel=1e-5)
    assert not fixed.state_dict() and not list(fixed.parameters())


def mgn(**options):
    return HEADS["MGN"](6, False, (2, 2, 2), pool_layer="max", embedding_dim=2, **options)


def test_mgn_looks_at_stripes_of_three_maps():
    head = mgn().eval()
    for part in head.children():
        if hasattr(part, "projection"):
            torch.nn.init.eye_(part.projection.weight)
    maps = torch.zeros(1, 6, 6, 2)
    maps[:, 0], maps[:, 2], maps[:, 4] = 1.0, 2.0, 3.0  # a channel of each branch
    maps[0, 3, 5, 0], maps[0, 5, 2, 1] = 7.0, 9.0  # at the feet in branch 2, in the middle in 3
    rows = head(maps)[0].view(8, 2).tolist()
    whole = [[1, 0], [2, 7], [3, 9]]
    assert rows == [*whole, [2, 0], [2, 7], [3, 0], [3, 9], [3, 0]]


def test_mgn_has_eight_classifiers_and_five_metrics():
    head, maps = mgn(neck_feat="before"), torch.rand(4, 6, 6, 2)
    features, embeddings = head(maps)
    assert features.shape == embeddings.shape == (4, 16) and head.dim == head.feature_dim == 16
    branches = head.branches(features)
    widths = {name: tuple(len(b[0]) for b in found) for name, found in branches.items()}
    assert widths == head.widths == {"features": (2, 2, 2, 4, 6), "embeddings": (2,) * 8}
    assert torch.equal(branches["features"][3], features[:, 6:10])  # both halves of branch 2
    assert torch.equal(torch.cat(branches["embeddings"], 1), embeddings)
    assert head.shares == {"features": (0.2,) * 5, "embeddings": (0.125,) * 8}
    after = mgn()
    both = after.branches(after.features(maps))
    assert torch.equal(both["features"][0], both["embeddings"][0])
    assert head.passthrough <= set(head.state_dict())


def test_mgn_wants_its_backbone():
    with pytest.raises(ValueError, match=r"three maps.*choose MODEL\.BACKBONE\.NAME mgn"):
        HEADS["MGN"](8, False)
    with pytest.raises(ValueError, match="into thirds, and one of 4 rows falls into 2"):
        mgn()(torch.rand(2, 6, 4, 2))
