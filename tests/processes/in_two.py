"""What two processes find, against what one finds alone; typed by `test_processes`.

    python -m torch.distributed.run --nproc-per-node 2 tests/processes/in_two.py FILE

Each check is done outside of `joined`, where a process is by itself, and then within. The first
process writes how far both are apart as JSON.
"""

import json
import os
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from reidtools import processes
from reidtools.data.frames import one_by_one
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samplers import RandomIdentitySampler, SharedSampler
from reidtools.data.samples import Sample
from reidtools.data.transforms import Normalize
from reidtools.engine.average import MovingAverage
from reidtools.engine.freezing import Freezing
from reidtools.engine.frozen import embed_once
from reidtools.engine.objective import Objective
from reidtools.engine.parallel import Parallel, Step
from reidtools.engine.trainer import Trainer
from reidtools.evaluation import embed, rank, rerank
from reidtools.losses import (
    CenterLoss,
    CentroidTripletLoss,
    CrossEntropyLoss,
    OctupletLoss,
    TripletLoss,
)
from reidtools.modeling import Embedder
from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.modeling.sync_norm import synchronize
from reidtools.solver import make_clipper, make_optimizer

PEOPLE, EACH, SIZE = 12, 6, (16, 8)


class Small(nn.Sequential):
    """Two convolutions, with batch norms if asked for, and one that nothing uses."""

    dim, pooled = 6, False

    def __init__(self, norms=True):
        parts = [
            (
                nn.Conv2d(a, b, 3, bias=not norms),
                nn.BatchNorm2d(b) if norms else nn.Identity(),
                nn.ReLU(),
            )
            for a, b in ((3, 5), (5, self.dim))
        ]
        super().__init__(*parts[0], *parts[1])
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        for layer in list(self)[:-1]:
            x = layer(x)
        return x


class Block(nn.Module):
    """Adds something to what it is given."""

    def __init__(self, dim):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(dim), nn.Linear(dim, dim)

    def forward(self, x):
        return x + self.layer(self.norm(x)).relu()


class Tower(nn.Module):
    """Patches and blocks, as a transformer."""

    dim, pooled = 6, True

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, self.dim, 4, 4)
        self.position = nn.Parameter(torch.randn(8, self.dim))
        self.blocks = nn.Sequential(*(Block(self.dim) for _ in range(3)))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.blocks(x).mean(1)


def samples(frames=1):
    return [
        Sample(tuple(f"{pid} {k} {t}" for t in range(1 + (k + pid) % frames)), pid, k % 3)
        for pid in range(PEOPLE)
        for k in range(EACH)
    ]


def arrays(of):
    rng = np.random.default_rng(0)
    names = [path for sample in of for path in sample.paths]
    return {name: rng.integers(0, 256, (*SIZE, 3), np.uint8) for name in names}


def in_double(images):
    """Pixels of double precision: what is left is a matter of formulas, not of rounding."""
    return Normalize()(images).double()


def train_batches(transform=in_double):
    of = samples()
    pictures = Pictures(of, SIZE, {pid: pid for pid in range(PEOPLE)}, arrays=arrays(of))
    sampler = RandomIdentitySampler([s.pid for s in of], 24, seed=1)
    each = sampler.each
    sampler = SharedSampler(sampler, each) if processes.count() > 1 else sampler
    return Batches(pictures, sampler, transform, workers=0)


def test_batches(frames):
    of, ends = samples(frames), None
    filled = arrays(of)
    if frames > 1:
        of, ends = one_by_one(of)
    pictures = Pictures(of, SIZE, arrays=filled, ends=ends)
    return Batches(pictures, in_order(len(of), 10), Normalize(), workers=0)


def network(norms=True):
    torch.manual_seed(0)
    return Embedder(Small(norms), BNNeck(Small.dim, False))


def training(gather=True, norms=True, micro_batch=0, accumulate=1, more=False):
    """Gradients after the first move of the weights, and what is there after two epochs.

    With `more` a part of the model is frozen for two steps, and an average follows it.
    """
    model = network(norms).double()
    average = MovingAverage(model) if more else None
    losses = {"CrossEntropyLoss": CrossEntropyLoss(Small.dim, PEOPLE)}
    if gather:
        losses |= {
            "CenterLoss": CenterLoss(Small.dim, PEOPLE),
            "CentroidTripletLoss": CentroidTripletLoss(),
            "OctupletLoss": OctupletLoss(),
            "TripletLoss": TripletLoss(),
        }
        if processes.count() > 1:
            synchronize(model.backbone)
    else:
        model.heads.neck = nn.Identity()
    objective = Objective(losses, dict.fromkeys(losses, 1.0), 2, micro_batch, gather=gather)
    both = {"model": model, "objective": objective}
    optimizer = torch.optim.SGD([w for m in both.values() for w in m.parameters()], lr=0.01)
    trainer = Trainer(
        model,
        objective,
        train_batches(),
        optimizer,
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 1.0),
        torch.Generator(),
        max_epoch=2,
        log_period=1,
        accumulate=accumulate,
        freezing=Freezing(model, ["backbone.0"], iterations=2) if more else None,
        average=average,
    )
    found = {}
    for progress in trainer:
        if progress.iteration == accumulate:
            named = [(f"{m}.{n}", w) for m in both for n, w in both[m].named_parameters()]
            grads = {f"gradient of {n}": w.grad for n, w in named if w.grad is not None}
            found = {name: grad.clone() for name, grad in grads.items()}
            found["total"] = torch.tensor(progress.losses["total"])
    for name, module in both.items():
        found |= {f"{name}.{k}": v.float().clone() for k, v in module.state_dict().items()}
    if average:
        found |= {f"average.{k}": v.float() for k, v in average.model.state_dict().items()}
    return found


def chance():
    """How far two losses are apart that draw by chance: all processes are to draw the same."""
    model = network()
    losses = {"CrossEntropyLoss": CrossEntropyLoss(Small.dim, PEOPLE, hidden=4, dropout=0.5)}
    objective = Objective(losses, {"CrossEntropyLoss": 1.0}).train()
    torch.manual_seed(processes.rank())
    (batch, *_) = train_batches(Normalize())
    totals = processes.of_all(objective(model, batch)["CrossEntropyLoss"].item())
    own = processes.of_all(torch.rand(1).item())
    assert len(set(own)) == processes.count()  # what comes after is their own again
    return {"loss": torch.tensor(max(totals) - min(totals))}


def divided(folder):
    """Two epochs of weights that are divided among processes; the second from a checkpoint."""

    def make(sharded):
        torch.manual_seed(0)
        model = Embedder(Tower(), BNNeck(Tower.dim, True))
        losses = {"CrossEntropyLoss": CrossEntropyLoss(Tower.dim, PEOPLE), "T": TripletLoss()}
        objective = Objective(losses, dict.fromkeys(losses, 1.0))
        parallel = Parallel(Step(model, objective), deepcopy(model) if sharded else None)
        parts = {"embedder": model, "objective": objective}
        optimizer = make_optimizer(parts, opt="Adam", base_lr=0.01)
        return Trainer(
            model,
            objective,
            train_batches(Normalize()),
            optimizer,
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.9**i),
            torch.Generator(),
            max_epoch=2,
            accumulate=2,
            clip=make_clipper(clip_type="norm", clip_value=0.1),
            parallel=parallel,
        )

    sharded = processes.count() > 1
    path = folder / ("state.pth" if sharded else f"alone_{os.environ['RANK']}.pth")
    first = make(sharded)
    for progress in first:
        if progress.epoch_done and progress.epoch == 0:
            state = first.state_dict()
            if processes.first() or not sharded:
                torch.save(state, path)
    found = {}
    processes.of_all(None)  # the file is there
    for name, again in (("divided", sharded), ("whole", False)):
        trainer = make(again)
        trainer.load_state_dict(torch.load(path, weights_only=True))
        list(trainer)
        last = trainer.state_dict()
        for part in ("model", "objective"):
            found |= {f"{name} {part}.{k}": v.double() for k, v in last[part].items()}
    last = first.state_dict()
    assert all(type(value) is torch.Tensor for value in last["model"].values())
    return found | {f"straight {k}": v.double() for k, v in last["model"].items()}


def evaluation(frames, **how):
    """What all pictures are embedded to, and how every third of a person's finds the others."""
    model = network().eval()
    vectors = embed(model, test_batches(frames), flip="normalized")
    query = torch.arange(len(vectors)) % 3 == 0
    sides = [
        type(vectors)(vectors.vectors[rows], vectors.pids[rows], vectors.camids[rows])
        for rows in (query, ~query)
    ]
    ranked = (rerank if how.pop("again", False) else rank)(*sides, topk=7, **how)
    found = {"vectors": vectors.vectors, "pids": vectors.pids, "camids": vectors.camids}
    found |= {name: getattr(ranked, name) for name in ("cmc", "ap", "topk", "topk_distances")}
    found["names"] = torch.tensor([sum(map(ord, path)) for path in vectors.paths])
    return found | {"figures": torch.tensor([ranked.mAP, ranked.mINP], dtype=torch.double)}


def frozen():
    """Features that are embedded once."""
    found = embed_once(network(), test_batches(1), ["features"])
    return {"features": found["features"][0], "index": found["index"]}


CHECKS = {
    "training": training,
    # Without batch norm, which would see other parts.
    "training in parts": lambda: training(norms=False, micro_batch=5, accumulate=2),
    "training of a part, and an average": lambda: training(more=True),
    "chance": chance,
    "training of divided weights": lambda: divided(Path(sys.argv[1]).parent),
    "training, each process mines alone": lambda: training(norms=False, gather=False),
    "evaluation": lambda: evaluation(1),
    "evaluation of tracklets": lambda: evaluation(3),
    "evaluation, single shot": lambda: evaluation(1, single_shot=3),
    "evaluation, re-ranked": lambda: evaluation(1, again=True),
    "frozen": frozen,
}


def apart(one, two):
    """The largest difference of two tensors, by the largest value; infinite for other shapes."""
    if one.shape != two.shape:
        return float("inf")
    if one.isnan().ne(two.isnan()).any():
        return float("inf")
    one, two = (x.double().nan_to_num(0, 1e9, -1e9) for x in (one, two))
    return float((one - two).abs().max() / one.abs().max().clamp(min=1e-3))


def main():
    torch.set_num_threads(1)
    alone = {name: check() for name, check in CHECKS.items()}
    with processes.joined():
        assert processes.count() == 2
        together = {name: check() for name, check in CHECKS.items()}
        of_both = processes.of_all(together)
    assert of_both[0].keys() == of_both[1].keys()
    found = {
        name: {
            key: max(apart(value, own[name][key]) for own in of_both)
            for key, value in alone[name].items()
        }
        for name in CHECKS
    }
    if processes.first():
        Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
