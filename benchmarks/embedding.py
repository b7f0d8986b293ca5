"""A folder becomes vectors: which share of the time is the network's?

`folder` is what `reidtools.embed` does with all pictures: read, resize, normalise, embed, join.
`network` is the same network, run by the same runtime, on as many batches of noise that lie in
memory. Both take turns; the share is the median of network / folder within a round, in wall time,
and the CPU time of both (all threads) tells what the rest costs where cores are busy. Above 100 %
of wall time the pictures came for free and the machine was uneven.

    python benchmarks/embedding.py PICTURES WEIGHTS
    python benchmarks/embedding.py PICTURES WEIGHTS --size 128 64 --runtime onnxruntime
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import reidtools as rt
from reidtools import build
from reidtools.data.datasets.listing import find_pictures
from reidtools.engine.environment import describe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("weights")
    parser.add_argument("--size", nargs=2, type=int, default=[256, 128])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=2048, help="the first so many")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--workers", type=int, default=2, help="threads that read")
    parser.add_argument("--threads", type=int, default=1, help="of torch, or onnxruntime")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = rt.load(args.weights)
    cfg = model.config.clone()
    cfg.defrost()
    cfg.INPUT.SIZE_TEST, cfg.TEST.IMS_PER_BATCH = args.size, args.batch
    cfg.TEST.RUNTIME, cfg.DATALOADER.NUM_WORKERS = args.runtime, args.workers
    model.config = cfg
    paths = find_pictures(args.folder)[: args.pictures // args.batch * args.batch]
    on = model.device
    noise = torch.randn(args.batch, 3, *args.size, device=on)
    noise = noise.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def network() -> None:
        runs = build.at_speed(cfg, model, len(paths))
        for _ in range(len(paths) // args.batch):
            vectors = runs(noise)[1]
        vectors.cpu()

    sides: dict[str, Callable] = {"folder": lambda: rt.embed(model, paths), "network": network}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(args.rounds + 1):
        for name, side in sides.items():
            begin, spent = time.perf_counter(), time.process_time()
            side()
            if turn:  # the first turn warms up
                wall[name].append(time.perf_counter() - begin)
                cpu[name].append(time.process_time() - spent)
    print(describe())
    print(f"{len(paths)} pictures, {args.size}, batches of {args.batch}, on {on}, {args.runtime}")
    for name in sides:
        rates = [len(paths) / median(seconds[name]) for seconds in (wall, cpu)]
        print(f"{name:8s} {rates[0]:8.1f} pictures/s, {rates[1]:.1f} a second of CPU time")
    for what, seconds in (("wall", wall), ("CPU", cpu)):
        pairs = zip(seconds["network"], seconds["folder"], strict=True)
        print(f"share of the network in {what} time: {median(a / b for a, b in pairs):.1%}")


if __name__ == "__main__":
    main()
