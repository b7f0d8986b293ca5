"""Seconds until something happens: the answer to --help, torch, the first batch of a training.

Each figure is the median of several fresh processes: wall, and in brackets CPU seconds, which other
programs disturb less. After torch is imported it counts until the trainer has its first batch:
imports, config, reading the dataset and looking through its files, network, losses, optimizer, run
folder, log. A part of that is torch's own, and told by itself: the first optimizer that is made
imports torch._dynamo, whether or not anything is compiled. Python's sources are compiled once, in a
first process that does not count, as they are where a program is started a second time.

    python benchmarks/startup.py                                    # drawn toy people
    python benchmarks/startup.py --root /data --dataset market1501
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORDS = "MODEL.BACKBONE.PRETRAIN False SOLVER.MAX_EPOCH 1".split()


class FirstBatch(Exception):
    """It is there; the training ends with it."""


class Clock:
    """Wall and CPU seconds of this process between one `lap` and the next."""

    def __init__(self):
        self.last = time.perf_counter(), time.process_time()

    def lap(self) -> list[float]:
        now = time.perf_counter(), time.process_time()
        took = [after - before for after, before in zip(now, self.last, strict=True)]
        self.last = now
        return took


def first_batch(words: list[str]) -> dict[str, list[float]]:
    """Train as `words` say up to the first batch; the seconds of the parts, by name."""
    clock = Clock()
    import torch

    found = {"torch": clock.lap()}
    import torch._dynamo  # noqa: F401

    found["compiler"] = clock.lap()
    import reidtools as rt
    from reidtools.data.pictures import Batches

    read = Batches.__iter__

    def stop(batches):
        for _ in read(batches):
            raise FirstBatch

    Batches.__iter__ = stop
    try:
        rt.train(rt.get_config([ROOT / "configs" / "osnet_x0_25.yml"], words))
    except FirstBatch:
        found["ours"] = clock.lap()
    return found


def of_help(environment: dict[str, str]) -> dict[str, list[float]]:
    """Seconds of ``train_net.py --help``."""
    before, begin = os.times(), time.perf_counter()
    tool = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--help"]
    subprocess.run(tool, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system
    return {"--help": [wall, cpu - before.children_user - before.children_system]}


def once(words: list[str], environment: dict[str, str]) -> dict[str, list[float]]:
    """What `first_batch` gives in a process of its own."""
    call = [sys.executable, __file__, "--child", json.dumps(words)]
    done = subprocess.run(call, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"error: the training did not begin; it said:\n{done.stdout}{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    both = zip(found["compiler"], found["ours"], strict=True)
    return found | {"first batch": [sum(pair) for pair in both]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="", help="folder of datasets; default: drawn toy people")
    parser.add_argument("--dataset", default="toy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        found = first_batch(json.loads(args.child))
        print("\n" + json.dumps(found))
        return
    from reidtools.engine.environment import describe

    with tempfile.TemporaryDirectory() as scratch:
        data = ["DATASETS.ROOT", args.root or scratch, "DATASETS.NAMES", args.dataset]
        os.chdir(scratch)  # runs write their folder here
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(Path(scratch) / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        rounds = []
        for turn in range(args.rounds + 1):
            words = [*WORDS, *data, "OUTPUT_DIR", str(Path(scratch) / f"{turn}")]
            found = of_help(environment) | once(words, environment)
            rounds += [found] if turn else []  # the first one reads and compiles everything
    os.chdir(ROOT)
    print(f"{describe()}\n\n| until | s, median (CPU) | least | most |\n|---|---|---|---|")
    for name, told in {
        "--help": "the answer to --help",
        "torch": "torch is imported",
        "first batch": f"from there the first batch of {args.dataset}",
        "compiler": "of that torch's own torch._dynamo",
        "ours": "of that the rest",
    }.items():
        wall, cpu = zip(*(found[name] for found in rounds), strict=True)
        seconds = f"{median(wall):.2f} ({median(cpu):.2f}) | {min(wall):.2f} | {max(wall):.2f}"
        print(f"| {told} | {seconds} |")


if __name__ == "__main__":
    main()
