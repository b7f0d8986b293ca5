"""Tracklets: from disk to vectors, memory of a training step in parts, a folder of 5,000 frames.

speed   Frames a second on one thread, against the way of scripts: a tracklet at a time, each frame
        through Pillow and torchvision, all at once through the network, mean, length 1. Both take
        turns; CPU time is counted, as in pipeline.py.
step    A training step of 64 tracklets of 25 frames with 64, 256 or all 1,600 pictures in the
        network at a time, how far their gradients are apart, and how many files are decoded. The
        network has no batch norm, and pictures are small, so that all at once fits into 24 GB.
folder  Embedding 50, 500 and 5,000 frames as one tracklet (files come again and again).

Memory is the peak of a process of its own.

    python benchmarks/sequences.py                     # drawn tracklets of 12, 25 and 37 frames
    python benchmarks/sequences.py FOLDER --only speed     # the layout of MARS
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision import transforms as T

from reidtools.data import pictures as reading
from reidtools.data.datasets.mars import mars
from reidtools.data.datasets.toy_mars import toy_mars
from reidtools.data.frames import FrameChoice, one_by_one
from reidtools.data.pictures import Batches, Pictures, in_order
from reidtools.data.samplers import RandomIdentitySampler
from reidtools.data.samples import Sample, relabel
from reidtools.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize
from reidtools.engine.environment import describe
from reidtools.engine.objective import Objective
from reidtools.evaluation import embed
from reidtools.losses import CrossEntropyLoss, TripletLoss
from reidtools.modeling import Embedder, weights
from reidtools.registry import BACKBONES, HEADS

PEOPLE, EACH, FRAMES = 16, 4, 25
BATCHES = (32, 128)  # TEST.IMS_PER_BATCH is 128 by default


def network(name: str, size: list[int], file: str = "") -> Embedder:
    """An embedder of pictures of `size`; `name` is ours or timm's."""
    torch.manual_seed(0)
    maker, chosen = (name, {}) if name in BACKBONES else ("timm", {"timm_name": name})
    backbone = BACKBONES.build(maker, {"image_size": tuple(size)}, chosen)
    if file:
        weights.load_pretrained(backbone, file)
    facts = {"dim": backbone.dim, "pooled": backbone.pooled}
    return Embedder(backbone, HEADS.build("BNNeck", facts, {}))


def ours(samples: list[Sample], size: list[int], batch: int) -> Batches:
    """All frames of `samples` in order, normalised, read in this thread."""
    frames, ends = one_by_one(samples)
    pictures = Pictures(frames, size, ends=ends)
    return Batches(pictures, in_order(len(pictures), batch), Normalize(), workers=0)


def by_tracklet(samples: list[Sample], size: list[int]) -> Iterator[torch.Tensor]:
    """(1, T, 3, H, W) each: a tracklet at a time, its frames through Pillow and torchvision."""
    normalize = T.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    transform = T.Compose([T.Resize(tuple(size)), T.ToTensor(), normalize])
    for sample in samples:
        yield torch.stack([transform(Image.open(p).convert("RGB")) for p in sample.paths])[None]


def speed(args: argparse.Namespace, samples: list[Sample]) -> None:
    """Let both ways take turns, with and without a network."""
    samples = samples[:: max(1, len(samples) // args.tracklets)][: args.tracklets]
    plain = network(args.backbone, args.size, args.weights).eval()
    model = network(args.backbone, args.size, args.weights).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def vectors() -> torch.Tensor:
        return torch.cat([plain(clip)[1] for clip in by_tracklet(samples, args.size)])

    ways = {
        "input, by tracklet": lambda: sum(1 for _ in by_tracklet(samples, args.size)),
        "input, reidtools 128": lambda: sum(1 for _ in ours(samples, args.size, 128)),
        "vectors, by tracklet": vectors,
    }
    for batch in BATCHES:
        ways[f"vectors, reidtools {batch}"] = lambda batch=batch: (
            embed(model, ours(samples, args.size, batch)).vectors
        )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = {}
    for turn in range(args.rounds + 1):
        for name, way in ways.items():
            begin = time.process_time()
            found[name] = way()
            if turn:  # the first turn warms up
                seconds[name].append(time.process_time() - begin)
    lengths = [len(sample.paths) for sample in samples]
    frames = sum(lengths)
    print(f"{len(samples)} tracklets of {min(lengths)} to {max(lengths)} frames, {frames} in all,")
    print(f"{args.backbone}, {args.size[0]} x {args.size[1]}, {args.rounds} rounds, one thread")
    for name, values in seconds.items():
        middle, base = median(values), median(seconds[f"{name.split(',')[0]}, by tracklet"])
        print(
            f"{name:24s} {len(samples) / middle:6.1f} tracklets/s {frames / middle:6.0f} frames/s "
            f"(best {frames / min(values):.0f})  {base / middle:.2f}x"
        )
    theirs = F.normalize(found["vectors, by tracklet"])
    cosines = theirs @ F.normalize(found["vectors, reidtools 128"]).T
    same = (cosines.argmax(1) == torch.arange(len(samples))).sum().item()
    print(f"cosines of both vectors of a tracklet: at least {cosines.diag().min():.6f}; {same} of")
    print(f"{len(samples)} tracklets are nearest to themselves")


def _memory(what: str) -> float:
    """VmHWM, the most memory this process has held (ru_maxrss is its parent's), or VmRSS; in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


def _peak(before: float) -> dict[str, float]:
    peak = _memory("VmHWM")
    return {"peak": peak, "more": peak - before}


def step(args: argparse.Namespace, samples: list[Sample], part: int) -> dict[str, float]:
    """One training step with `part` pictures in the network at a time, in this process."""
    read, opened = reading.read_picture, []
    reading.read_picture = lambda path, out: (opened.append(path), read(path, out))
    labels, choice = relabel(samples), FrameChoice(0, frames=FRAMES)
    sampler = RandomIdentitySampler([s.pid for s in samples], PEOPLE * EACH, 0, num_instance=EACH)
    data = Pictures(samples, args.step_size, labels, choice=choice)
    batch = next(iter(Batches(data, sampler, Normalize(), workers=0)))
    lengths = [len(samples[i].paths) for i in batch["index"].tolist()]
    model = network(args.step_backbone, args.step_size)
    losses = {"CE": CrossEntropyLoss(model.dim, len(labels)), "Triplet": TripletLoss()}
    objective = Objective(losses, {"CE": 1.0, "Triplet": 1.0}, micro_batch=part)
    before, seconds = _memory("VmRSS"), []
    for _ in range(args.steps):
        model.zero_grad()
        begin = time.process_time()
        sum(objective(model, batch).values()).backward()
        seconds.append(time.process_time() - begin)
    grads = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    torch.save(grads, Path(args.scratch) / f"{part}.pt")
    shown = sum(min(FRAMES, length) for length in lengths)
    counts = {"opened": len(opened), "distinct": len(set(opened)), "shown": shown}
    return counts | {"there": sum(lengths), "seconds": median(seconds), **_peak(before)}


def folder(args: argparse.Namespace, samples: list[Sample], count: int) -> dict[str, float]:
    """Embed `count` frames as one tracklet, in this process."""
    paths = tuple(islice(cycle(path for sample in samples for path in sample.paths), count))
    model = network(args.backbone, args.size).to(memory_format=torch.channels_last)
    before, begin = _memory("VmRSS"), time.process_time()
    embed(model, ours([Sample(paths, 0, 0)], args.size, 128))
    return {"seconds": time.process_time() - begin, **_peak(before)}


def apart(args: argparse.Namespace, what: str, number: int) -> dict[str, float]:
    """What `step` or `folder` tells of `number`, from a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--scratch", args.scratch]
    command += ["--child", what, str(number)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def steps(args: argparse.Namespace) -> None:
    told = {part: apart(args, "step", part) for part in (64, 256, 0)}
    print(f"a step of {PEOPLE * EACH} x {FRAMES} pictures, {args.step_backbone}, {args.step_size}")
    whole, grads = told[0], torch.load(Path(args.scratch) / "0.pt", weights_only=True)
    largest = max(g.abs().max().item() for g in grads.values())
    for part, row in told.items():
        other = torch.load(Path(args.scratch) / f"{part}.pt", weights_only=True)
        differ = max((other[name] - g).abs().max().item() for name, g in grads.items())
        print(
            f"{part or 'all':>4} at a time: peak {row['peak']:.0f} MB, the step {row['more']:.0f}; "
            f"{row['seconds']:.1f} s, {row['seconds'] / whole['seconds']:.2f}x; gradients at most "
            f"{differ:.1e} apart, the largest {largest:.1e}"
        )
    print("distinct frames shown {shown} of {there}; decoded {opened}".format(**whole), end="")
    print(f", different ones {whole['distinct']}")


def folders(args: argparse.Namespace) -> None:
    print(f"one tracklet, {args.backbone}, {args.size}, batches of 128")
    for count in (50, 500, 5000):
        row = apart(args, "folder", count)
        memory = f"peak {row['peak']:.0f} MB, embedding {row['more']:.0f}"
        print(f"{count:5d} frames: {memory}; {row['seconds']:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="the layout of MARS; default: drawn tracklets")
    parser.add_argument("--only", nargs="+", default=["speed", "step", "folder"])
    parser.add_argument("--backbone", default="osnet_x0_25", help="of speed and folder")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128])
    parser.add_argument("--weights", default="", help="a file for --backbone; default: untrained")
    parser.add_argument("--tracklets", type=int, default=48, help="of speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step-backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--step-size", nargs=2, type=int, default=[128, 64])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def splits():
        if args.folder:
            return mars(args.folder)
        return toy_mars(args.scratch, people=PEOPLE, cameras=2, tracklets=2, frames=FRAMES)

    if args.child:
        what, number = {"step": step, "folder": folder}[args.child[0]], int(args.child[1])
        print(json.dumps(what(args, splits().train, number)))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as args.scratch:
        data = splits()  # drawn once, here
        for name, measure in (("step", steps), ("folder", folders)):
            if name in args.only:
                measure(args)
        if "speed" in args.only:
            speed(args, data.query + data.gallery)


if __name__ == "__main__":
    main()
