"""CLIP-ReID: what is computed once and not again, gradient checkpointing, pictures a second.

Steps are those of the trainer and the configs, forward, backward and Adam; ways take turns, and
"times" is the median of the ratios to the first way within a round. Wall time, torch on this CPU
with the threads of OMP_NUM_THREADS. All weights are random.

stage1: pictures embedded once, before, against embedded in each step; drawn people (files).
texts: the text tower sees each person of a batch once, against once for each picture: 16 people
with 4 pictures, as graph sampling has it, and 64 pictures at random of 12,936 of 751 people.
classes: stage 2 with the sentences of 751 people encoded once, against in each step; noise.
memory: a step of ViT-B/16 (8 pictures of noise, without the texts) with all activations kept,
against GRAD_CHECKPOINT; each in a process of its own.
speed: pictures a second of both image towers as at a test; noise.

    python benchmarks/clip.py                 # of a small CLIP (configs/clip_small.yml), then full
    python benchmarks/clip.py --size small    # a first look, in a minute
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from reidtools import build
from reidtools.config.load import load
from reidtools.data.cached import CachedBatches
from reidtools.data.samplers import RandomIdentitySampler, RandomSampler
from reidtools.data.samples import Sample, relabel
from reidtools.engine.environment import describe
from reidtools.engine.frozen import embed_once
from reidtools.engine.objective import Objective
from reidtools.engine.trainer import Progress
from reidtools.losses import PromptLoss
from reidtools.losses.contrast import supcon

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PARTS = ("stage1", "texts", "classes", "memory", "speed")
CPU, PEOPLE, PICTURES = torch.device("cpu"), 751, 12_936  # of Market-1501's training set
SMALL_VIT = ["MODEL.BACKBONE.WIDTH", "128", "MODEL.BACKBONE.LAYERS", "4"]
SAMPLERS = {"16 people x 4": RandomIdentitySampler, "64 at random": RandomSampler}

Way = Callable[[], Any]


def recipe(size: str, tower: str = "rn50", stage: int = 2, *more: str) -> CfgNode:
    """The config of a stage, with random weights and no limit to its epochs."""
    small = size == "small"
    files = [CONFIGS / f"clip_{'small' if small and tower == 'rn50' else tower}.yml"]
    files += [CONFIGS / "clip_prompts.yml"] if stage == 1 else []
    words = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.DEVICE", "cpu", "SOLVER.LOG_PERIOD", "1"]
    words += ["SOLVER.MAX_EPOCH", "1000", "DATALOADER.NUM_WORKERS", "0"]
    return load(files, [*words, *(SMALL_VIT if small and tower != "rn50" else []), *more])


def market_like() -> list[Sample]:
    """As many people and pictures as Market-1501 has to train on, and as unevenly; no files."""
    rng = np.random.default_rng(0)
    share = rng.gamma(2.7, size=PEOPLE)  # 17 pictures a person, give or take 10
    own = 2 + rng.multinomial(PICTURES - 2 * PEOPLE, share / share.sum())
    return [
        Sample((f"{pid}_{i}.jpg",), pid, i % 6) for pid in range(PEOPLE) for i in range(own[pid])
    ]


def in_turns(ways: Mapping[str, Way], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of each way in each round, and what it gave last; one round before warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            found[name] = way()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds, found


def table(seconds: Mapping[str, list[float]], what: str = "steps", count: int = 1) -> None:
    """Print Markdown; `count` is how many of `what` a way does."""
    first = next(iter(seconds.values()))
    print(f"| way | s, median (best) | {what}/s | times |\n|---|---|---|---|")
    for name, own in seconds.items():
        times = median(a / b for a, b in zip(own, first, strict=True))
        told = f"{median(own):.3f} ({min(own):.3f}) | {count / median(own):.2f}"
        print(f"| {name} | {told} | {times:.2f} |", flush=True)


def agree(what: str, apart: float, limit: float) -> None:
    """Print how far ways that should give the same are `apart`, in parts of what they give."""
    verdict = "as it should be" if apart < limit else f"NOT WITHIN {limit}"
    print(f"\n{what} are {apart:.1e} apart, {verdict}.")


def model_of(cfg: CfgNode, samples: list[Sample]) -> tuple[nn.Module, Objective]:
    """Image tower and objective, always the same for the same config."""
    torch.manual_seed(cfg.SEED)
    model = build.embedder(cfg)
    return model, build.objective(cfg, model, samples)


def steps(cfg: CfgNode, model: nn.Module, loss: nn.Module, batches: Any) -> Iterator[Progress]:
    """A step of training each time it is asked for one."""
    return iter(build.trainer(cfg, model, loss, batches, torch.Generator()))


def stage1(size: str, rounds: int, folder: str) -> None:
    """Stage 1 with pictures embedded once, and in each step."""
    drawn = ["DATASETS.NAMES", "toy", "DATASETS.ROOT", folder, "DATASETS.TOY.PEOPLE", "128"]
    cfg = recipe(size, "rn50", 1, *drawn)
    samples = build.splits(cfg, "toy").train[::6][:256]  # of all 128 people, in whole batches
    model, loss = model_of(cfg, samples)
    begin = time.perf_counter()
    cached = build.frozen_batches(cfg, model, loss, samples, {}, CPU)
    took = time.perf_counter() - begin
    again, other = model_of(cfg, samples)
    again.requires_grad_(False)
    sampler = build.make_sampler(cfg, samples, cfg.SOLVER.IMS_PER_BATCH, {})
    pictures = build.plain_batches(cfg, samples, CPU, sampler, relabel(samples))
    ways = {
        "pictures embedded once": steps(cfg, model, loss, cached),
        "pictures embedded in each step": steps(cfg, again, other, pictures),
    }
    seconds, _ = in_turns({name: way.__next__ for name, way in ways.items()}, rounds)
    title(f"Stage 1, {size}: a batch of {cfg.SOLVER.IMS_PER_BATCH}, {cfg.INPUT.SIZE_TRAIN}")
    table(seconds)
    print(f"\nEmbedding {len(samples)} pictures once: {len(samples) / took:.1f} pictures/s")
    fresh = embed_once(again, islice(pictures, 1), ["joint"])
    kept = cached.facts["joint"][0][fresh["index"]]
    most = (fresh["joint"][0] - kept).abs().max() / kept.std(0).max()
    agree("Features of a batch", most.item(), 1e-2)


class OfEachPicture(nn.Module):
    """Stage 1 of CLIP-ReID, the sentence of a picture's person encoded for each picture anew."""

    def __init__(self, prompts: PromptLoss):
        super().__init__()
        self.prompts = prompts

    def forward(self, joint: Tensor, pids: Tensor, amp: torch.dtype | None) -> Tensor:
        texts = self.prompts.prompts(pids, amp)
        return supcon(joint, texts, pids, pids) + supcon(texts, joint, pids, pids)


def texts(size: str, rounds: int, kind: str) -> None:
    """Stage 1 on made-up features with each person's sentence encoded once, and for each picture.

    `kind` says who is in a batch, as in `SAMPLERS`.
    """
    cfg, samples = recipe(size, "rn50", 1), market_like()
    joint = torch.randn(len(samples), cfg.MODEL.BACKBONE.JOINT_DIM) / 16
    pids, index = torch.tensor([s.pid for s in samples]), torch.arange(len(samples))
    facts = {"joint": (joint,), "pids": pids, "index": index}
    sampler = SAMPLERS[kind](pids.tolist(), cfg.SOLVER.IMS_PER_BATCH, cfg.SEED)

    def way(wrap: Callable[[nn.Module], nn.Module]) -> Way:
        model, loss = model_of(cfg, samples)
        own = Objective({"PromptLoss": wrap(loss.losses["PromptLoss"])}, {"PromptLoss": 1.0})
        batches = CachedBatches(facts, [s.paths[0] for s in samples], sampler)
        return steps(cfg, model.requires_grad_(False), own, batches).__next__

    ways = {"once for each person": way(lambda loss: loss), "for each picture": way(OfEachPicture)}
    seconds, found = in_turns(ways, rounds)
    shown = mean(len(pids[batch].unique()) for batch in sampler)
    title(f"Text tower, {size}, {kind}: {shown:.1f} people in a batch")
    table(seconds)
    one, other = (progress.losses["total"] for progress in found.values())
    agree("Losses of the last step", abs(one - other) / one, 1e-5)


def noise(cfg: CfgNode, batch: int) -> CachedBatches:
    """Epochs of one batch: pictures of noise, four of a person."""
    pids = torch.arange(batch) // 4
    images = torch.randn(batch, 3, *cfg.INPUT.SIZE_TRAIN).to(memory_format=torch.channels_last)
    facts = {"images": images, "pids": pids, "camids": pids % 6, "index": pids}
    sampler = RandomIdentitySampler(pids.tolist(), batch, cfg.SEED)
    return CachedBatches(facts, ["noise"] * batch, sampler)


def classes(size: str, rounds: int) -> None:
    """Stage 2 with the sentences of all people encoded once, and in each step."""
    cfg, rounds = recipe(size), rounds if size == "small" else 1  # a minute each
    model, loss = model_of(cfg, market_like())
    prompts = loss.losses["PromptLoss"]
    batch = cfg.SOLVER.IMS_PER_BATCH if size == "small" else 16
    trained = steps(cfg, model, loss, noise(cfg, batch))

    def each() -> Progress:
        prompts.classes = None  # forget them
        return next(trained)

    seconds, _ = in_turns({"once": trained.__next__, "in each step": each}, rounds)
    title(f"Stage 2, {size}: sentences of {PEOPLE} people, batch {batch}, {cfg.INPUT.SIZE_TRAIN}")
    table(seconds)


def memory(size: str, rounds: int) -> None:
    """A training step that keeps its activations, and one that computes them again."""
    told = {}
    for again in ("False", "True"):
        child = ["--child", again, "--size", size, "--rounds", str(rounds)]
        out = subprocess.check_output([sys.executable, __file__, *child], text=True)
        told[again] = json.loads(out.splitlines()[-1])
    first = told["False"]
    title(f"Memory, ViT-B/16, {size}: a training step of 8 pictures of {first['pictures']}")
    print(
        "| GRAD_CHECKPOINT | peak MiB | of it the steps | s a step | times |\n|---|---|---|---|---|"
    )
    for again, row in told.items():
        figures = f"{row['peak']:.0f} | {row['peak'] - row['before']:.0f} | {row['seconds']:.2f}"
        print(f"| {again} | {figures} | {row['seconds'] / first['seconds']:.2f} |", flush=True)
    print(f"\nGradients and Adam's moments alone are {first['state']:.0f} MiB.")
    one, other = (row["gradient"] for row in told.values())
    agree("Gradients of the first layer", abs(one - other) / one, 1e-3)


def remember(size: str, rounds: int, again: str) -> dict[str, Any]:
    """What one of the processes of `memory` tells."""
    words = ["MODEL.BACKBONE.GRAD_CHECKPOINT", again, "MODEL.LOSSES.PromptLoss.WEIGHT", "0"]
    cfg = recipe(size, "vit_b16", 2, *words)
    build.device(cfg)
    model, loss = model_of(cfg, market_like())
    before, seconds = _status("VmRSS"), []
    trained = steps(cfg, model, loss, noise(cfg, 8))
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        next(trained)
        seconds.append(time.perf_counter() - begin)
    told = {"before": before, "peak": _status("VmHWM"), "seconds": median(seconds[1:])}
    gradient = model.backbone.conv1.weight.grad.norm().item()
    weights = sum(weight.numel() for weight in [*model.parameters(), *loss.parameters()])
    told |= {"gradient": gradient, "state": 3 * 4 * weights / 2**20}
    return told | {"pictures": cfg.INPUT.SIZE_TRAIN}


def _status(what: str) -> float:
    """VmHWM, the most memory this process has held, or VmRSS, what it holds now; in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def speed(size: str, rounds: int, batch: int = 32) -> None:
    """Both image towers, as they embed test pictures."""

    def way(tower: str) -> Way:
        cfg = recipe(size, tower)
        model = build.embedder(cfg).eval()
        images = noise(cfg, batch).facts["images"]

        @torch.inference_mode()
        def embed() -> Tensor:
            return model(images)[1]

        return embed

    seconds, _ = in_turns({f"clip_{tower}": way(tower) for tower in ("rn50", "vit_b16")}, rounds)
    title(f"Embedding, {size}: batches of {batch}")
    table(seconds, "pictures", batch)


def title(text: str) -> None:
    print(f"\n{text}, {torch.get_num_threads()} threads\n", flush=True)


def measure(only: Iterable[str], size: str, rounds: int, folder: str) -> None:
    """The parts `only` at one size."""
    rounds = rounds or (10 if size == "small" else 3)
    if "stage1" in only:
        stage1(size, rounds, folder)
    for kind in SAMPLERS if "texts" in only else ():
        texts(size, rounds, kind)
    for part in (classes, memory, speed):
        if part.__name__ in only:
            part(size, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=0, help="default: 10 small, 3 full")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return print(json.dumps(remember(args.size, args.rounds, args.child)))
    build.device(recipe("small"))  # which makes the CPU quick
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        if args.size == "full":
            small = [part for part in args.only if part not in ("memory", "speed")]
            measure(small, "small", args.rounds, folder)
        measure(args.only, args.size, args.rounds, folder)


if __name__ == "__main__":
    main()
