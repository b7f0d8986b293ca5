"""What several processes bring: steps of training at the same global batch, and evaluation.

Every way is a run of tools/train_net.py, as a user starts it, and they take turns: one process with
one thread, one with as many threads as there are processes otherwise, and the processes with one
thread each, where losses see the whole batch (SOLVER.GATHER) or each process its own part.
Pictures/s are those of metrics.jsonl without the first report, which has the start in it; "of
ideal" is the median over the rounds of the ratio to the first way, by the number of cores. Test is
what comes after the last epoch: how long embedding takes all processes, and ranking it.

Toy test sets are ranked in no time, so ranking is also measured by itself, on drawn vectors of the
size of Market-1501 (3,368 queries, 19,732 pictures, 2,048 dimensions), in as many processes.

    python benchmarks/processes.py                               # OSNet x0.25 and ResNet-18
    python benchmarks/processes.py --processes 4 --device cuda --configs 256_resnet50
    python benchmarks/processes.py --root /data --set DATASETS.NAMES market1501
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from training import CONFIGS, DRAWN, MODELS  # noqa: E402  (the one beside this file)

from reidtools.engine.environment import describe  # noqa: E402

TOOL = ROOT / "tools" / "train_net.py"
SIZE = 3368, 19732, 2048  # Market-1501's test, and ResNet-50's vectors
# A test like that after an epoch of a usual run, and reports with a few steps in each.
SHORT = "SOLVER.MAX_EPOCH 1 SOLVER.LOG_PERIOD 6 MODEL.BACKBONE.PRETRAIN False".split()


@contextmanager
def taking(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add to `seconds`, under `name`, what the block takes."""
    begin = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin


def child(what: str, out: str, words: list[str]) -> None:
    """In one of the processes: train and test, or rank; the seconds go to the file `out`."""
    from reidtools import assess, processes

    seconds: dict[str, float] = {}
    if what == "rank":
        with processes.joined():
            ranking(seconds)
    else:
        for name in ("embed", "rank"):
            setattr(assess, name, timed(getattr(assess, name), seconds, name))
        sys.argv = [str(TOOL), *words]
        sys.path.insert(0, str(TOOL.parent))
        runpy.run_path(str(TOOL), run_name="__main__")
    if processes.first():
        Path(out).write_text(json.dumps(seconds), encoding="utf-8")


def timed(work: Any, seconds: dict[str, float], name: str) -> Any:
    """`work`, which tells how long it took."""

    @wraps(work)  # its options are read from its signature
    def done(*given: Any, **more: Any) -> Any:
        with taking(seconds, name):
            return work(*given, **more)

    return done


def ranking(seconds: dict[str, float]) -> None:
    """Rank drawn vectors, the same in all processes, three times; the median."""
    import torch

    from reidtools import processes
    from reidtools.evaluation import Vectors, rank

    generator, sides = torch.Generator().manual_seed(0), []
    for count in SIZE[:2]:
        vectors = torch.randn(count, SIZE[2], generator=generator)
        pids = torch.randint(750, (count,), generator=generator)
        camids = torch.randint(6, (count,), generator=generator)
        sides.append(Vectors(vectors, pids, camids))
    turns = []
    for _ in range(3):
        processes.of_all(None)  # all begin together
        begin = time.perf_counter()
        rank(*sides)
        turns.append(time.perf_counter() - begin)
    seconds["rank"] = median(turns)


def start(what: str, count: int, threads: int, out: Path, words: list[str]) -> dict[str, float]:
    """Run `child` in `count` processes of so many threads; the seconds it tells."""
    me = [__file__, "--child", what, str(out), json.dumps(words)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    call = [sys.executable, *(torchrun if count > 1 else []), *me]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(words)} ended with {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(out.read_text(encoding="utf-8"))


def speed(run: Path) -> float:
    """Pictures a second of the run in this folder, the median of its reports but the first."""
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    return median([row["pictures_per_second"] for row in rows if "lr" in row][1:])


def compare(name: str, args: argparse.Namespace, scratch: Path) -> None:
    """Let the ways take turns; a line of Markdown for each."""
    many = args.processes
    ways = {
        "1 process, 1 thread": (1, 1, True),
        f"1 process, {many} threads": (1, many, True),
        f"{many} processes, `GATHER True`": (many, 1, True),
        f"{many} processes, `GATHER False`": (many, 1, False),
    }
    file, words = MODELS.get(name, (name, []))
    fixed = ["--config-file", str(CONFIGS / f"{file}.yml"), *words, *SHORT]
    fixed += [] if "DATASETS.NAMES" in args.set else DRAWN
    fixed += ["MODEL.DEVICE", args.device, "DATASETS.ROOT", args.root or str(scratch)]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for turn in range(args.rounds):
        order = list(ways.items())
        for way, (count, threads, gather) in order if turn % 2 else order[::-1]:
            run = Path(tempfile.mkdtemp(dir=scratch)) / "run"
            own = ["SOLVER.GATHER", str(gather), "OUTPUT_DIR", str(run), *args.set]
            seconds = start("train", count, threads, run.with_name("told"), [*fixed, *own])
            found[way].append(seconds | {"speed": speed(run)})
    first = next(iter(ways))
    for way in ways:
        speeds = [one["speed"] for one in found[way]]
        pairs = zip(speeds, (one["speed"] for one in found[first]), strict=True)
        times = median(a / b for a, b in pairs)
        ideal = "" if way == first else f"{100 * times / many:.0f} %"
        embed, rank = (median(one[k] for one in found[way]) for k in ("embed", "rank"))
        print(
            f"| {name} | {way} | {median(speeds):.1f} ({min(speeds):.1f} … {max(speeds):.1f}) | "
            f"{times:.2f} | {ideal} | {embed:.1f} | {rank:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=list(MODELS)[::-1], metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", default="", help="folder of datasets; default: drawn toy people")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="of the config")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child[:2], json.loads(args.child[2]))
    print(
        f"{describe()}\n| network | | pictures/s | times | of ideal | embedding, s | ranking, s |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.configs:
            compare(name, args, Path(scratch))
        print("\n| ranking, drawn vectors | s |\n|---|---|")
        for count, threads in ((1, 1), (1, args.processes), (args.processes, 1)):
            took = start("rank", count, threads, Path(scratch) / "told", [])["rank"]
            print(f"| {count} processes, {threads} threads | {took:.2f} |")


if __name__ == "__main__":
    main()
