import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.modeling.temporal import Attention, GeM, Max, Mean
from reidtools.modeling.weights import fit
from reidtools.ops.pooling import GeMPool
from reidtools.registry import BACKBONES, TEMPORAL

each = pytest.mark.parametrize("name", sorted(TEMPORAL))


def features(frames=5, dim=6):
    return torch.randn(3, frames, dim, generator=torch.Generator().manual_seed(0))


def pooling(name, **options):
    torch.manual_seed(1)
    made = TEMPORAL.build(name, {"dim": 6}, options)
    if name == "Attention":  # as if it had learned something
        nn.init.normal_(made.score.weight)
    return made


@each
@pytest.mark.parametrize("norm_frames", [False, True])
def test_the_order_of_frames_does_not_matter(name, norm_frames):
    pool, x = pooling(name, norm_frames=norm_frames), features()
    out = pool(x)
    assert out.shape == (3, 6)
    assert torch.allclose(out, pool(x[:, torch.tensor([3, 0, 4, 1, 2])]), atol=1e-6)
    assert torch.allclose(F.normalize(out).norm(dim=1), torch.ones(3))


@each
def test_one_frame_is_itself_and_copies_change_nothing(name):
    pool, x = pooling(name), features(1)
    assert torch.allclose(pool(x), x[:, 0], atol=3e-6)
    assert torch.allclose(pool(x.expand(-1, 4, -1)), x[:, 0], atol=3e-6)


@each
def test_it_learns(name):
    pool, x = pooling(name), features().requires_grad_()
    pool(x).square().sum().backward()
    for value in (x, *pool.parameters()):
        assert torch.isfinite(value.grad).all() and value.grad.abs().sum() > 0


def test_what_each_computes():
    x = torch.tensor([[[1.0, -8.0], [2.0, 0.0], [0.0, 2.0]]])
    assert Mean(2)(x).tolist() == [[1.0, -2.0]]
    assert Max(2)(x).tolist() == [[2.0, 2.0]]
    assert torch.allclose(GeM(2, p=1.0)(x), Mean(2)(x), atol=1e-5)
    # ((1 + 8) / 3)^(1/3), and (8 / 3)^(1/3) - (512 / 3)^(1/3)
    expected = torch.tensor([[3 ** (1 / 3), (8 / 3) ** (1 / 3) - (512 / 3) ** (1 / 3)]])
    assert torch.allclose(GeM(2)(x), expected, atol=1e-5)
    lengths = torch.tensor([[[3.0, 4.0], [0.0, 10.0]]])
    assert torch.allclose(Mean(2, norm_frames=True)(lengths), torch.tensor([[0.3, 0.9]]))


def test_gem_over_time_is_gem_over_space():
    x = features().abs()
    assert torch.allclose(GeM(6)(x), GeMPool()(x.transpose(1, 2)[..., None]), atol=1e-5)


def test_attention_begins_as_the_mean():
    x = features()
    assert torch.allclose(Attention(6)(x), Mean(6)(x), atol=1e-6)


@pytest.mark.parametrize(("maker", "options"), [(GeM, {"p": 0.5}), (Attention, {"hidden": 0})])
def test_options_that_mean_nothing_are_refused(maker, options):
    with pytest.raises(ValueError, match="is 0"):
        maker(6, **options)


class Flatten(nn.Module):
    def forward(self, images):
        return images.flatten(1)


@each
def test_a_tracklet_is_a_picture_with_one_more_axis(name):
    model = Embedder(Flatten(), BNNeck(6, True), pooling(name)).eval()
    nn.init.uniform_(model.heads.neck.running_mean)
    images = torch.randn(2, 4, 3, 2, 1)
    whole = model(images)
    parts = [model(images[i : i + 1]) for i in range(2)]
    for got, own in zip(whole, zip(*parts, strict=True), strict=True):
        assert got.shape == (2, 6) and torch.allclose(got, torch.cat(own), atol=1e-6)
    alone = model(images[:, 0])[1]
    assert torch.allclose(alone, model(images[:, :1])[1])


def test_weights_of_pictures_fill_an_attention_that_is_the_mean():
    plain = Embedder(Flatten(), BNNeck(6, True)).eval()
    plain.backbone.weight = nn.Parameter(torch.ones(1))
    attentive = Embedder(Flatten(), BNNeck(6, True), Attention(6)).eval()
    attentive.backbone.weight = nn.Parameter(torch.zeros(1))
    report = fit(attentive, plain.state_dict())
    assert report.complete and "not in the file: attention (the mean as built)" in str(report)
    images = torch.randn(2, 4, 3, 2, 1)
    assert torch.allclose(attentive(images)[1], plain(images)[1], atol=1e-6)
    learned = Embedder(Flatten(), BNNeck(6, True), GeM(6))
    learned.backbone.weight = nn.Parameter(torch.zeros(1))
    assert fit(learned, plain.state_dict()).missing == ["temporal.p"]


@pytest.mark.parametrize("size", [(256, 128), (384, 192)])
def test_a_vit_takes_tracklets_of_any_shape(size):
    backbone = BACKBONES.build("timm", {"image_size": size}, {"timm_name": "vit_tiny_patch16_224"})
    torch.manual_seed(0)
    model = Embedder(backbone, BNNeck(192, True, embedding_dim=512), Mean(512, norm_frames=True))
    with torch.inference_mode():
        features, embeddings = model.eval()(torch.randn(2, 3, 3, *size))
    assert features.shape == embeddings.shape == (2, 512)
    assert torch.allclose(F.normalize(embeddings).norm(dim=1), torch.ones(2))
    assert features.norm(dim=1).max() <= 1 + 1e-5  # a mean of vectors of length 1


@pytest.mark.parametrize("p", [1.0, 3.0, 8.0, 40.0])
def test_no_exponent_leaves_the_numbers(p):
    pool, x = GeM(6, p=p), features().requires_grad_()
    out = pool(x)
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()
    assert torch.isfinite(pool.p.grad).all()
