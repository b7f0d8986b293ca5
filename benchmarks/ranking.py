"""Ranking: seconds and memory beyond the matrix product that no exact ranking can do without.

Sides that take turns in one run, so that a busy machine slows all of them:

- product: ``torch.mm`` of query chunks with the whole gallery into one reused buffer, in the chunks
  that `rank` takes; nothing is done with the distances;
- rank: `reidtools.evaluation.rank`, with each of two metrics;
- argsort: the usual evaluator written plainly: the whole distance matrix, NumPy's argsort of it, a
  loop over the queries. It stands in for today's toolboxes and is run where its memory can be had.

"beyond" compares a side with the product of the same round; the median of the rounds is told.
Memory is what a side needs beyond the features, each in a process of its own.

    python benchmarks/ranking.py                      # Market-1501's size
    python benchmarks/ranking.py --size msmt17 --rounds 3
    python benchmarks/ranking.py --growth             # up to a million pictures
"""

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.nn import functional as F

from reidtools.engine.environment import describe
from reidtools.evaluation import Vectors, rank
from reidtools.registry import options

SIZES = {  # queries, gallery pictures, dimensions
    "market": (3368, 19732, 2048),
    "msmt17": (11659, 82161, 2048),
    "big": (3368, 520_000, 512),
}
GROWTH = [(3368, gallery, 512) for gallery in (5000, 20_000, 80_000, 500_000, 1_000_000)]
CAMERAS, LATENT = 6, 24
MIB = 2**20

Side = Callable[[Vectors, Vectors], float]  # gives mAP, NaN where there is none


def features(
    queries: int, gallery: int, dim: int, device: str = "cpu", seed: int = 0
) -> tuple[Vectors, Vectors]:
    """Unit vectors of people seen by several cameras, at an mAP as networks have it.

    A picture is its person + the person as this camera sees it + chance, drawn in `LATENT`
    dimensions and turned into `dim`. A person has some 4.5 queries and at most 20 gallery pictures;
    a fifth of the gallery, and all that is more, are distractors of pid 0. Made in blocks.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, device=device)

    people = max(2, round(queries / 4.5))
    person, views = normal(people + 1, LATENT), normal((people + 1) * CAMERAS, LATENT)
    turn = normal(LATENT, dim)

    def side(pids: torch.Tensor, camids: torch.Tensor) -> Vectors:
        vectors = torch.empty(len(pids), dim, device=device)
        for block, own, camera in zip(
            vectors.split(4096), pids.split(4096), camids.split(4096), strict=True
        ):
            own, camera = own.to(device), camera.to(device)
            strangers = (own == 0)[:, None]
            seen = torch.where(strangers, normal(len(own), LATENT), person[own])
            view = torch.where(strangers, normal(len(own), LATENT), views[own * CAMERAS + camera])
            latent = seen + 0.45 * view + 0.45 * normal(len(own), LATENT)
            torch.mm(latent, turn, out=block)
            F.normalize(block, out=block)
        return Vectors(vectors, pids, camids)

    number = torch.arange(queries)
    query = side(1 + number % people, number // people % CAMERAS)
    chance = torch.Generator().manual_seed(seed + 1)
    pids = torch.randint(1, people + 1, (gallery,), generator=chance)
    known = min(round(0.8 * gallery), 20 * people) / gallery
    pids[torch.rand(gallery, generator=chance) >= known] = 0
    return query, side(pids, torch.randint(0, CAMERAS, (gallery,), generator=chance))


def product(query: Vectors, gallery: Vectors, memory_mb: int) -> float:
    """Every product of the ranking and nothing else."""
    a, b = query.vectors, gallery.vectors
    fits = max(1, memory_mb * MIB // (a.element_size() * len(b)))  # the chunks of `rank`
    rows = math.ceil(len(a) / math.ceil(len(a) / fits))
    buffer = a.new_empty(rows, len(b))
    for part in a.split(rows):
        torch.mm(part, b.T, out=buffer[: len(part)])
    return math.nan


def argsort(query: Vectors, gallery: Vectors) -> float:
    """mAP in the usual way: all distances, all places, one query after the other."""
    a, b = query.vectors, gallery.vectors
    distances = a.square().sum(1, keepdim=True) + b.square().sum(1)
    distances = distances.addmm_(a, b.T, alpha=-2).cpu().numpy()
    order = np.argsort(distances, axis=1)
    pids, camids = gallery.pids.numpy(), gallery.camids.numpy()
    matches = pids[order] == query.pids.numpy()[:, None]
    precisions = []
    for row, (pid, camid) in enumerate(
        zip(query.pids.tolist(), query.camids.tolist(), strict=True)
    ):
        keep = ~((pids[order[row]] == pid) & (camids[order[row]] == camid))
        places = 1 + np.flatnonzero(matches[row][keep])
        if len(places):
            precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
    return float(np.mean(precisions))


def sides_of(memory_mb: int, plain: bool) -> dict[str, Side]:
    """The sides by name; with `plain` also the argsort."""

    def ranked(metric: str) -> Side:
        return lambda query, gallery: rank(query, gallery, metric=metric, memory_mb=memory_mb).mAP

    sides: dict[str, Side] = {"product": lambda query, gallery: product(query, gallery, memory_mb)}
    sides |= {f"rank, {metric}": ranked(metric) for metric in ("cosine", "euclidean")}
    return sides | ({"argsort": argsort} if plain else {})


def few(vectors: Vectors) -> Vectors:
    """A few pictures of one person, to warm up with."""
    some = vectors.vectors[:64]
    return Vectors(some, [1] * len(some), range(len(some)))


def in_turns(
    sides: dict[str, Side], query: Vectors, gallery: Vectors, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every side in every round, and its mAP."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores = {name: side(few(query), few(gallery)) for name, side in sides.items()}
    for _ in range(rounds):
        for name, side in sides.items():
            _wait(query)
            begin = time.perf_counter()
            scores[name] = side(query, gallery)
            _wait(query)
            seconds[name].append(time.perf_counter() - begin)
    return seconds, scores


def _wait(vectors: Vectors) -> None:
    if vectors.vectors.is_cuda:
        torch.cuda.synchronize()


def memory_of(side: Side, query: Vectors, gallery: Vectors) -> float:
    """MiB that `side` takes beyond the features; for once in a process."""
    side(few(query), few(gallery))  # what libraries load at first use is not the side's
    peak = _peak_cpu
    if query.vectors.is_cuda:
        peak = torch.cuda.max_memory_allocated
        torch.cuda.reset_peak_memory_stats()
    before = peak()
    side(query, gallery)
    return (peak() - before) / MIB


def _peak_cpu() -> int:
    # On Linux; not getrusage, which begins with the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def in_a_process(script: str, side: str, options: list[str]) -> float:
    """`memory_of` a side, which `script` measures in a fresh process."""
    command = [sys.executable, script, *options, "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def table(
    seconds: dict[str, list[float]], memory: dict[str, float], scores: dict[str, float]
) -> str:
    """Markdown; the first side is what the others are compared with."""
    first = next(iter(seconds.values()))
    lines = [
        "| side | seconds, median (best) | beyond the product | times the product | MiB | mAP |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in seconds.items():
        ratio = median(value / base for value, base in zip(values, first, strict=True))
        lines.append(
            f"| {name} | {median(values):.3f} ({min(values):.3f}) | {100 * (ratio - 1):+.1f} % "
            f"| {ratio:.2f} | {memory.get(name, math.nan):.0f} | {scores[name]:.7f} |"
        )
    known = [score for score in scores.values() if not math.isnan(score)]
    apart = max(known) - min(known)
    verdict = "as it should be" if apart < 1e-5 else "NOT WITHIN 1e-5"
    return "\n".join(lines).replace("nan", "-") + f"\n\nmAPs are {apart:.1e} apart, {verdict}."


def options_parser(about: str) -> argparse.ArgumentParser:
    """The options that the benchmarks of this folder share."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="market")
    for name in ("queries", "gallery", "dim"):
        parser.add_argument(f"--{name}", type=int, help="instead of --size's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-mb", type=int, default=options(rank)["memory_mb"])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--no-memory", action="store_true", help="measure seconds only")
    parser.add_argument("--side", help=argparse.SUPPRESS)  # in_a_process: this one, once
    return parser


def size_of(args: argparse.Namespace) -> tuple[int, int, int]:
    """Queries, gallery pictures and dimensions."""
    given = zip((args.queries, args.gallery, args.dim), SIZES[args.size], strict=True)
    queries, gallery, dim = (own or preset for own, preset in given)
    return queries, gallery, dim


def compare(
    script: str,
    sides: dict[str, Side],
    size: tuple[int, int, int],
    args: argparse.Namespace,
    extra: Sequence[str] = (),
) -> None:
    """Print one table: the memory of every side, then their seconds in turns.

    `extra` are the options of `script` that decide which sides there are.
    """
    if args.side:
        print(memory_of(sides[args.side], *features(*size, args.device)))
        return
    names = ("--queries", "--gallery", "--dim", "--memory-mb", "--threads", "--device")
    values = (*size, args.memory_mb, args.threads, args.device)
    passed = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    measured = () if args.no_memory else sides
    memory = {name: in_a_process(script, name, [*passed, *extra]) for name in measured}
    seconds, scores = in_turns(sides, *features(*size, args.device), args.rounds)
    print(
        f"\n{size[0]:,} queries, {size[1]:,} gallery pictures, {size[2]} dimensions, on "
        f"{args.device}, {args.rounds} rounds, chunks of {args.memory_mb} MiB\n"
    )
    print(table(seconds, memory, scores), flush=True)


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--growth", action="store_true", help="galleries up to a million pictures")
    parser.add_argument(
        "--argsort",
        action=argparse.BooleanOptionalAction,
        help="also the argsort, which needs some 20 bytes a pair (default: for --size market only)",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.argsort is None:
        args.argsort = args.size == "market" and not args.growth
    sides = sides_of(args.memory_mb, args.argsort)
    if not args.side:
        print(describe())
    for size in GROWTH if args.growth else [size_of(args)]:
        extra = ["--argsort" if args.argsort else "--no-argsort"]
        compare(__file__, sides, size, args, extra)


if __name__ == "__main__":
    main()
