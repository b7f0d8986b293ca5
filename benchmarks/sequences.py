"""Tracklets: from disk to vectors, memory of a training step in parts, a folder of 5,000 frames.

speed: against the way of scripts, a tracklet at a time, each frame through Pillow and torchvision,
all at once through the network, mean, length 1. CPU time, in turns, as in pipeline.py. step: 64
tracklets of 25 frames, with 64, 256 or all 1,600 small pictures in a network without batch norm at
a time. folder: 50, 500 and 5,000 frames as one tracklet (files come again and again).
Both sides have the settings of tools on a CPU (reidtools.engine.processor), with --plain none.

    python benchmarks/sequences.py [folder in the layout of MARS; default: drawn tracklets]
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
from reidtools.engine.processor import quicken
from reidtools.evaluation import embed
from reidtools.losses import CrossEntropyLoss, TripletLoss
from reidtools.modeling import Embedder, weights
from reidtools.modeling.heads.bnneck import BNNeck
from reidtools.registry import BACKBONES

PEOPLE, EACH, FRAMES, PARTS = 16, 4, 25, (64, 256, 0)  # 0: all at once
STEP = "vit_tiny_patch16_224", [128, 64]


def network(name: str, size: list[int], file: str = "") -> Embedder:
    """An embedder of pictures of `size`; `name` is ours or timm's."""
    torch.manual_seed(0)
    maker, chosen = (name, {}) if name in BACKBONES else ("timm", {"timm_name": name})
    backbone = BACKBONES.build(maker, {"image_size": tuple(size)}, chosen)
    if file:
        weights.load_pretrained(backbone, file)
    return Embedder(backbone, BNNeck(backbone.dim, backbone.pooled))


def ours(samples: list[Sample], size: list[int], batch: int) -> Batches:
    """All frames of `samples` in order, normalised, read in this thread."""
    frames, ends = one_by_one(samples)
    data, order = Pictures(frames, size, ends=ends), in_order(len(frames), batch)
    return Batches(data, order, Normalize(), workers=0)


def by_tracklet(samples: list[Sample], size: list[int]) -> Iterator[torch.Tensor]:
    """(1, T, 3, H, W) each: a tracklet at a time, its frames through Pillow and torchvision."""
    steps = T.Resize(tuple(size)), T.ToTensor(), T.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    see = T.Compose(steps)
    for sample in samples:
        yield torch.stack([see(Image.open(p).convert("RGB")) for p in sample.paths])[None]


def speed(args: argparse.Namespace, samples: list[Sample]) -> None:
    """Let both ways take turns, with and without a network."""
    samples = samples[:: len(samples) // 30 or 1][:30]
    plain = network(args.backbone, args.size, args.weights).eval()
    model = network(args.backbone, args.size, args.weights).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def vectors() -> torch.Tensor:
        return torch.cat([plain(clip)[1] for clip in by_tracklet(samples, args.size)])

    ways = {
        "input, by tracklet": lambda: sum(1 for _ in by_tracklet(samples, args.size)),
        "input, reidtools 128": lambda: sum(1 for _ in ours(samples, args.size, 128)),
        "vectors, by tracklet": vectors,
        "vectors, reidtools 32": lambda: embed(model, ours(samples, args.size, 32)).vectors,
        "vectors, reidtools 128": lambda: embed(model, ours(samples, args.size, 128)).vectors,
    }
    seconds, found = {name: [] for name in ways}, {}
    for turn in range(args.rounds + 1):
        for name, way in ways.items():
            begin = time.process_time()
            found[name] = way()
            if turn:  # the first turn warms up
                seconds[name].append(time.process_time() - begin)
    lengths = [len(sample.paths) for sample in samples]
    count, frames = len(lengths), sum(lengths)
    print(f"{count} tracklets of {min(lengths)} to {max(lengths)} frames, {frames} in all")
    for name, values in seconds.items():
        middle, base = median(values), median(seconds[f"{name.split(',')[0]}, by tracklet"])
        rates = f"{count / middle:6.1f} tracklets/s {frames / middle:6.0f} frames/s"
        print(f"{name:24s} {rates} (best {frames / min(values):.0f})  {base / middle:.2f}x")
    theirs, own = (F.normalize(found[f"vectors, {w}"]) for w in ("by tracklet", "reidtools 128"))
    same = ((theirs @ own.T).argmax(1) == torch.arange(count)).sum()
    print(f"cosines at least {(theirs * own).sum(1).min():.6f}; {same} nearest to themselves")


def _memory(what: str) -> float:
    """VmHWM, the most memory this process has held (ru_maxrss is its parent's), or VmRSS; in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


def step(args: argparse.Namespace, samples: list[Sample], part: int) -> dict[str, float]:
    """One training step with `part` pictures in the network at a time, in this process."""
    read, opened = reading.read_picture, []
    reading.read_picture = lambda path, *more: (opened.append(path), read(path, *more))
    sampler = RandomIdentitySampler([s.pid for s in samples], PEOPLE * EACH, 0, num_instance=EACH)
    labels, choice = relabel(samples), FrameChoice(0, frames=FRAMES)
    data = Pictures(samples, STEP[1], labels, choice=choice)
    batch = next(iter(Batches(data, sampler, Normalize(), workers=0)))
    shown = sum(min(FRAMES, len(samples[i].paths)) for i in batch["index"].tolist())
    model = network(*STEP)
    losses = {"ce": CrossEntropyLoss(model.dim, len(labels)), "triplet": TripletLoss()}
    objective = Objective(losses, dict.fromkeys(losses, 1.0), micro_batch=part)
    before, seconds = _memory("VmRSS"), []
    for _ in range(2):
        model.zero_grad()
        begin = time.process_time()
        sum(objective(model, batch).values()).backward()
        seconds.append(time.process_time() - begin)
    grads = [w.grad for w in model.parameters() if w.grad is not None]
    torch.save(grads, f"{args.scratch}/{part}.pt")
    return {"before": before, "seconds": min(seconds), "shown": shown, "decoded": len(opened)}


def folder(args: argparse.Namespace, samples: list[Sample], count: int) -> dict[str, float]:
    """Embed `count` frames as one tracklet, in this process."""
    paths = tuple(islice(cycle(path for sample in samples for path in sample.paths), count))
    model = network(args.backbone, args.size).to(memory_format=torch.channels_last)
    before, begin = _memory("VmRSS"), time.process_time()
    embed(model, ours([Sample(paths, 0, 0)], args.size, 128))
    return {"before": before, "seconds": time.process_time() - begin}


def apart(args: argparse.Namespace, what: str, number: int) -> dict[str, float]:
    """What `step` or `folder` tells of `number`, from a process of its own; prints its memory."""
    child = ["--scratch", args.scratch, "--child", what, str(number)]
    row = json.loads(subprocess.check_output([sys.executable, *sys.argv, *child]))
    memory = f"peak {row['peak']:.0f} MB, {row['peak'] - row['before']:.0f} of it for this"
    print(f"{what} {number or 'all':>4}: {memory}; {row['seconds']:.1f} s", flush=True)
    return row


def steps(args: argparse.Namespace) -> None:
    print(f"{PEOPLE * EACH} x {FRAMES} pictures, {STEP}")
    told = [apart(args, "step", part) for part in PARTS]
    *parts, whole = (torch.load(f"{args.scratch}/{part}.pt", weights_only=True) for part in PARTS)
    differ = max((g - w).abs().max() for part in parts for g, w in zip(part, whole, strict=True))
    print(f"gradients {differ:.1e} apart, the largest {max(w.abs().max() for w in whole):.1e}")
    print(f"{told[0]['decoded']} files decoded for {told[0]['shown']} distinct frames")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="the layout of MARS; default: drawn tracklets")
    parser.add_argument("--only", nargs="+", default=["speed", "step", "folder"])
    parser.add_argument("--backbone", default="osnet_x0_25", help="of speed and folder")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128])
    parser.add_argument("--weights", default="", help="a file for --backbone; default: untrained")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="without the tools' settings")
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if not args.plain:
        quicken()
    with tempfile.TemporaryDirectory() as scratch:
        args.scratch = args.scratch or scratch
        drawn = {"people": PEOPLE, "cameras": 2, "tracklets": 2, "frames": FRAMES}
        data = mars(args.folder) if args.folder else toy_mars(args.scratch, **drawn)
        if args.child:
            what = {"step": step, "folder": folder}[args.child[0]]
            told = what(args, data.train, int(args.child[1]))
            print(json.dumps(told | {"peak": _memory("VmHWM")}))
            return
        print(describe())
        if "speed" in args.only:
            speed(args, data.query + data.gallery)
        if "step" in args.only:
            steps(args)
        for count in (50, 500, 5000) * ("folder" in args.only):
            apart(args, "folder", count)


if __name__ == "__main__":
    main()
