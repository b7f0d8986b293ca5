"""MODEL.BACKBONE.GRAD_CHECKPOINT and MODEL.COMPILE: the same training, lighter or faster."""

import pytest
import torch
from torch import nn

from reidtools import build, learning
from reidtools.config.load import load
from reidtools.data.samples import Sample

WORDS = """MODEL.BACKBONE.NAME osnet_x0_25 MODEL.BACKBONE.PRETRAIN False MODEL.DEVICE cpu
    INPUT.SIZE_TRAIN [64,32] SOLVER.IMS_PER_BATCH 8 SOLVER.MAX_EPOCH 1
    MODEL.LOSSES.CrossEntropyLoss.EPSILON 0.1""".split()
SAMPLES = [Sample((f"{i}.jpg",), i // 4, i % 2) for i in range(8)]
CPU = torch.device("cpu")


class Noise:
    """Two batches of the same eight pictures of noise, of two people."""

    device, choice = CPU, None

    def __len__(self):
        return 2

    def set_epoch(self, epoch, begin=0):
        pass

    def __iter__(self):
        images = torch.randn(8, 3, 64, 32, generator=torch.Generator().manual_seed(0))
        pids = torch.arange(8) // 4
        return iter([{"images": images, "pids": pids, "camids": pids, "index": pids}] * 2)


class Tiny(nn.Module):
    """A backbone that is soon compiled, with a batch norm, of the length of OSNet's features."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8)
        self.last = nn.Linear(8, 512)

    def forward(self, images):
        return self.last(self.norm(self.conv(images)).relu().mean((2, 3)))


def trained(*more, tiny=False):
    """What a network and its average are after two steps, and the last losses."""
    cfg = load([], [*WORDS, "SOLVER.EMA.ENABLED", "True", *more])
    torch.manual_seed(0)
    model = build.embedder(cfg)
    if tiny:
        model.backbone = Tiny()
    loss = build.objective(cfg, model, SAMPLES)
    trainer = learning.trainer(cfg, model, loss, Noise(), torch.Generator())
    progress = list(trainer)[-1]
    return model.state_dict(), trainer.result, progress.losses


def test_activations_computed_again_train_the_same():
    own, average, losses = trained()
    again, other, told = trained("MODEL.BACKBONE.GRAD_CHECKPOINT", "True")
    assert own.keys() == again.keys() == other.state_dict().keys()
    assert told == pytest.approx(losses)
    assert int(again["backbone.conv1.bn.num_batches_tracked"]) == 2
    for name, tensor in own.items():
        torch.testing.assert_close(again[name], tensor)
    for name, tensor in average.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor)


@pytest.mark.parametrize("more", [[], ["SOLVER.MICRO_BATCH", "4"]])
def test_a_compiled_backbone_trains_the_same(monkeypatch, more):
    monkeypatch.setattr(learning, "BACKEND", "aot_eager")  # all but the machine's code
    own, average, losses = trained(*more, tiny=True)
    compiled, other, told = trained("MODEL.COMPILE", "True", *more, tiny=True)
    assert own.keys() == compiled.keys()
    assert told == pytest.approx(losses, rel=1e-4)
    for name, tensor in own.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-3, atol=1e-4)
    images = torch.randn(3, 3, 64, 32)  # another number of pictures than it was compiled for
    with torch.inference_mode():
        torch.testing.assert_close(other(images)[1], average(images)[1], rtol=1e-3, atol=1e-3)


def test_no_compiler_is_said_before_the_first_step(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"MODEL\.COMPILE needs a C\+\+ compiler.*install g\+\+"):
        trained("MODEL.COMPILE", "True")


def test_what_is_computed_again_cannot_be_compiled():
    with pytest.raises(ValueError, match=r"set one of them to False, or .*SOLVER\.MICRO_BATCH"):
        trained("MODEL.COMPILE", "True", "MODEL.BACKBONE.GRAD_CHECKPOINT", "True")


def test_a_backbone_without_segments_cannot_be_cut():
    cfg = load([], [*WORDS, "MODEL.BACKBONE.GRAD_CHECKPOINT", "True"])
    model = build.embedder(cfg)
    model.backbone = nn.Flatten()
    with pytest.raises(ValueError, match="give it `segments`, or use SOLVER.MICRO_BATCH"):
        learning.adjust(cfg, model)
