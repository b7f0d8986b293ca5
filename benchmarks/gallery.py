"""Galleries: opening, searching exactly and by IVF and HNSW, and pictures a second into vectors.

Vectors are drawn around as many centres as there are people, so that neighbours mean something, as
those of a trained model do: unit vectors, about ten a person. Opening and searching run in a
process of their own, which has seen nothing before; its peak memory is told, of which mapped pages
of the file may be given back at any time.

    python benchmarks/gallery.py                           # 1M x 512: needs 10 GB of disk
    python benchmarks/gallery.py --size 20000 --kinds flat ivf hnsw
    python benchmarks/gallery.py --embed PICTURES WEIGHTS   # JPEGs to vectors, against one by one
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from reidtools.engine.environment import describe
from reidtools.evaluation import Vectors
from reidtools.retrieval import Gallery

TOPK = 10


def drawn(count: int, dim: int, seed: int, spread: float = 0.6) -> np.ndarray:
    """(count, dim) float32: people as centres, ten pictures each; the same people for any seed."""
    people = np.random.default_rng(0).standard_normal((count // 10 + 1, dim), dtype=np.float32)
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((count, dim), dtype=np.float32)
    rows *= spread
    rows += people[np.arange(count) // 10]
    return rows


def queries(size: int, dim: int, count: int) -> np.ndarray:
    """(count, dim): new pictures of people in the gallery."""
    return drawn(size, dim, 2)[:: max(1, size // count)][:count].copy()


def build(folder: Path, kind: str, size: int, dim: int) -> None:
    rows = drawn(size, dim, 1)
    numbers = np.arange(size)
    paths = [f"gallery/{i // 10:06d}_c{i % 6 + 1}s1_{i:08d}_00.jpg" for i in range(size)]
    begin = time.perf_counter()
    gallery = Gallery.build(Vectors(rows, numbers // 10, numbers % 6, paths), {}, kind=kind)
    made = time.perf_counter()
    gallery.save(folder / kind)
    seconds = made - begin, time.perf_counter() - made
    print(
        f"{kind}: built in {seconds[0]:.1f} s, saved in {seconds[1]:.1f} s: {gallery}", flush=True
    )


def _peak() -> int:
    """The most memory this process has held, in KiB; ru_maxrss would count its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def look(folder: Path, kind: str, ask: np.ndarray) -> dict[str, float]:
    """Open and search once, in this process."""
    before = _peak()
    begin = time.perf_counter()
    gallery = Gallery.open(folder / kind)
    opened = time.perf_counter() - begin
    after = _peak()
    begin = time.perf_counter()
    gallery.search(ask[:1], TOPK)
    first = time.perf_counter() - begin
    single = []
    for row in ask[:20]:
        begin = time.perf_counter()
        gallery.search(row[None], TOPK)
        single.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    hits = gallery.search(ask, TOPK)
    batch = time.perf_counter() - begin
    np.save(folder / f"{kind}.npy", hits.indices)
    peak = _peak()
    return {
        "open s": opened,
        "open MB": (after - before) / 1024,
        "first query s": first,
        "one query ms": 1000 * float(np.median(single)),
        "queries/s": len(ask) / batch,
        "peak MB": (peak - before) / 1024,
    }


def searching(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        for kind in args.kinds:
            build(folder, kind, args.size, args.dim)
        np.save(folder / "ask.npy", queries(args.size, args.dim, args.queries))
        for kind in args.kinds:
            command = [sys.executable, __file__, "--look", str(folder), kind]
            command += ["--threads", str(args.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told = json.loads(done.stdout)
            found, truth = (np.load(folder / f"{each}.npy") for each in (kind, args.kinds[0]))
            shared = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
            told[f"recall@10 against {args.kinds[0]}"] = float(np.mean(shared)) / found.shape[1]
            print(f"{kind}: {', '.join(f'{key} {value:.4g}' for key, value in told.items())}")


def embedding(folder: str, weights: str) -> None:
    """Pictures a second from files to vectors: in batches read ahead, and one at a time."""
    import reidtools as rt
    from reidtools.data.pictures import read_picture
    from reidtools.data.transforms import Normalize

    model = rt.load(weights)
    device = next(model.parameters()).device
    height, width = model.config.INPUT.SIZE_TEST or model.config.INPUT.SIZE_TRAIN
    paths = sorted(map(str, Path(folder).glob("*.jpg")))
    normalize = Normalize()

    @torch.inference_mode()
    def one_by_one() -> torch.Tensor:
        rows = []
        for path in paths:
            picture = np.empty((height, width, 3), np.uint8)
            read_picture(path, picture)
            images = normalize(torch.from_numpy(picture).permute(2, 0, 1)[None].to(device))
            rows.append(model(images)[1].cpu())
        return torch.cat(rows)

    ways = {"gallery": lambda: rt.embed(model, paths).vectors, "one by one": one_by_one}
    found = {}
    for turn in range(3):  # the first warms up
        for name, way in ways.items():
            begin = time.perf_counter()
            found[name] = way()
            rate = len(paths) / (time.perf_counter() - begin)
            if turn:
                print(f"{name}: {rate:.1f} pictures/s", flush=True)
    apart = (found["gallery"] - found["one by one"]).abs().max().item()
    print(
        f"{len(paths)} pictures of {height} x {width} on {device}; values at most {apart:.1e} apart"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1_000_000, help="pictures in the gallery")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf", "hnsw"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--folder", default=None, help="where the galleries are written for a while"
    )
    parser.add_argument("--embed", nargs=2, metavar=("PICTURES", "WEIGHTS"))
    parser.add_argument("--look", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    import faiss

    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    if args.look:
        folder, kind = args.look
        print(json.dumps(look(Path(folder), kind, np.load(Path(folder) / "ask.npy"))))
        return
    print(describe())
    print(
        f"{args.threads} threads, faiss {faiss.__version__}, {faiss.get_num_gpus()} GPUs in faiss"
    )
    embedding(*args.embed) if args.embed else searching(args)


if __name__ == "__main__":
    main()
