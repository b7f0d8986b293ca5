"""A frozen model sees each picture once; losses get what it gave."""

import pytest
import torch
from torch import nn

from reidtools.engine.frozen import embed_once
from reidtools.modeling import Embedder
from reidtools.modeling.heads.clip_necks import ClipNecks


class Tower(nn.Module):
    """Three features side by side, with chance and statistics where a model is trained."""

    dim, pooled, by_camera, parts = 9, True, True, (2, 3, 4)

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(12, 9), nn.BatchNorm1d(9)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images, camids=None):
        assert camids is None  # what cameras add is learned together with the model
        return self.dropout(self.norm(self.linear(images.flatten(1))))


def embedder():
    torch.manual_seed(0)
    return Embedder(Tower(), ClipNecks(9, True, Tower.parts))


def batches(*sizes, frames=()):
    generator, start = torch.Generator().manual_seed(1), 0
    for size in sizes:
        index = torch.arange(start, start + size)
        images = torch.randn(size, *frames, 3, 2, 2, generator=generator)
        yield {"images": images, "pids": index // 2, "camids": index % 3, "index": index}
        start += size


def test_it_is_a_naive_loop_over_pictures():
    model = embedder().train()
    found = embed_once(model, batches(4, 3), ["joint", "features", "embeddings"])
    model.eval()
    for batch in batches(4, 3):
        for row, image in zip(batch["index"], batch["images"], strict=True):
            three = model.backbone(image[None]).split(Tower.parts, 1)
            necks = model.heads.neck(three[1]), model.heads.neck_proj(three[2])
            naive = {"features": three, "embeddings": necks, "joint": three[2:]}
            for name, branches in naive.items():
                assert len(found[name]) == len(branches)
                for own, expected in zip(found[name], branches, strict=True):
                    torch.testing.assert_close(own[row], expected[0])


def test_only_what_is_wanted_is_kept_and_labels_come_along():
    found = embed_once(embedder(), batches(4, 3), ["joint"])
    assert found.keys() == {"joint", "pids", "camids", "index"}
    assert found["joint"][0].shape == (7, 4) and not found["joint"][0].requires_grad
    assert found["pids"].tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert found["camids"].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert found["index"].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_tracklets_are_joined():
    model = embedder()
    found = embed_once(model, batches(2, frames=(3,)), ["features"])
    frames = next(batches(2, frames=(3,)))["images"]
    model.eval()
    mean = model.backbone(frames[1]).mean(0)
    torch.testing.assert_close(torch.cat([part[1] for part in found["features"]]), mean)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = embedder().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    embed_once(model, batches(4), ["joint"])
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.state_dict().items())


def test_its_mode_comes_back_also_after_an_error():
    model = embedder().train()
    with pytest.raises(KeyError):
        embed_once(model, batches(4), ["no such branch"])
    assert model.training


def test_features_are_float32_whatever_the_model_computes_in():
    exact, coarse = (
        embed_once(embedder(), batches(4), ["joint"], amp)["joint"][0]
        for amp in (None, torch.bfloat16)
    )
    assert exact.dtype == coarse.dtype == torch.float32
    assert not torch.equal(exact, coarse)
    torch.testing.assert_close(exact, coarse, rtol=0.05, atol=0.05)
