"""Crops a second from a video to features, against the original way; memory; tracks told apart.

speed: a drawn video of 1920 x 1080 with a busy background, in which people walk, ten crops of each.
The original way goes from track to track, seeks the frame of each crop, resizes it and shows it to
the network by itself. Ours reads the video once, in torch and in onnxruntime (its own file, made by
`export_embedder`). Each way is a process of its own, in turns; wall time without loading.
memory: a drawn video of 1,000 and of 10,000 frames, all boxes; the largest memory of the process.
halves: with a folder of MOTChallenge sequences and weights, how often the second half of a true
track finds its own first half among those of its sequence, before and after NFC of each side.

    python benchmarks/tracks.py [--weights x.pth] [--sequences MOT17/train]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch

from reidtools.api import FeatureExtractor
from reidtools.engine.environment import describe
from reidtools.evaluation import Vectors, centralize, rank
from reidtools.modeling import Embedder
from reidtools.tracks import extract, read_tracks
from reidtools.tracks.extract import chosen_rows

PEOPLE, CROPS = 24, 10
SIZES = {"speed": (1920, 1080, 240), "short": (320, 240, 1000), "long": (320, 240, 10_000)}


def draw(folder: Path, kind: str) -> tuple[Path, Path]:
    """A video, and the file of its tracks."""
    width, height, count = SIZES[kind]
    people = PEOPLE if kind == "speed" else 4
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 20, width // 20, 3), np.uint8)
    behind = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    looks = rng.integers(0, 255, (people, 6, 3, 3), np.uint8)
    tall, wide = height // 5, height // 12
    starts = rng.integers(0, [width - wide, height - tall], (people, 2))
    steps = rng.integers(-3, 4, (people, 2))
    video, rows = folder / f"{kind}.mp4", []
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
    for number in range(1, count + 1):
        frame = behind.copy()
        for person in range(people):
            room = np.array([width - wide, height - tall])
            left, top = abs((starts[person] + number * steps[person]) % (2 * room) - room)
            body = cv2.resize(looks[person], (wide, tall), interpolation=cv2.INTER_NEAREST)
            frame[top : top + tall, left : left + wide] = body
            rows.append(f"{number},{person + 1},{left},{top},{wide},{tall},1,-1,-1,-1")
        writer.write(frame)
    writer.release()
    tracks = folder / f"{kind}.txt"
    tracks.write_text("\n".join(rows) + "\n")
    return video, tracks


def model_of(weights: str) -> Embedder:
    """OSNet x0.25 with `weights`, or drawn ones."""
    if weights:
        return FeatureExtractor("osnet_x0_25", weights, device="cpu", verbose=False).model
    from reidtools import build
    from reidtools.config.load import load

    torch.manual_seed(0)
    cfg = load("", ["MODEL.BACKBONE.NAME", "osnet_x0_25", "MODEL.HEADS.NAME", "Linear"])
    build.device(cfg)
    return build.embedder(cfg).eval()


def one_by_one(video: Path, tracks: Path, model: Embedder) -> dict[int, np.ndarray]:
    """The original way: seek, read, cut, resize, to a tensor, through the network, one crop."""
    boxes = read_tracks(tracks)
    film = cv2.VideoCapture(str(video))
    height, width = model.preparation.size
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    found: dict[int, list[np.ndarray]] = {}
    rows = chosen_rows(boxes.ids, CROPS)
    for row in rows[np.argsort(boxes.ids[rows], kind="stable")]:
        film.set(cv2.CAP_PROP_POS_FRAMES, boxes.frames[row] - 1)
        _, frame = film.read()
        left, top, right, bottom = boxes.boxes[row].astype(int)
        crop = cv2.resize(frame[top:bottom, left:right], (width, height))
        picture = torch.from_numpy(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        with torch.no_grad():
            seen = model(((picture.float() / 255 - mean) / std)[None])[1]
        found.setdefault(int(boxes.ids[row]), []).append(seen[0].numpy())
    return {number: np.mean(vectors, 0) for number, vectors in found.items()}


def onnx_of(model: Embedder, folder: Path) -> Embedder:
    """The same network, run by onnxruntime from a file."""
    from reidtools.export import export_embedder
    from reidtools.modeling.onnx_network import OnnxNetwork
    from reidtools.registry import HEADS

    file = folder / "osnet.onnx"
    if not file.exists():
        export_embedder(model, file, model.preparation.size, {})
    network = OnnxNetwork(file)
    head = HEADS.build("Linear", {"dim": network.dim, "pooled": True}, {})
    return Embedder(network, head, None, model.preparation)


def measure(way: str, folder: Path, weights: str) -> dict[str, float]:
    """Crops a second, and the largest memory in MiB, of one way on a video that is there."""
    model = model_of(weights)
    if way == "onnxruntime":
        model = onnx_of(model, folder)
    kind = way if way in SIZES else "speed"
    video, tracks = folder / f"{kind}.mp4", folder / f"{kind}.txt"
    model.extract_features([[0, 0, 50, 100]], np.zeros((100, 50, 3), np.uint8))  # warm
    begin = time.perf_counter()
    if way == "original":
        crops = CROPS * len(one_by_one(video, tracks, model))
    else:
        found = extract(video, tracks, model, max_crops=CROPS if kind == "speed" else 0)
        crops = sum(len(track.frame_indices) for _, track in found)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"crops": crops, "seconds": seconds, "rate": crops / seconds, "peak": peak}


def decoding(video: Path) -> float:
    """Seconds that it takes to decode the video and do nothing else."""
    film, begin = cv2.VideoCapture(str(video)), time.perf_counter()
    while film.read()[0]:
        pass
    return time.perf_counter() - begin


def halves(sequences: Path, weights: str) -> None:
    """Rank-1 of second halves among first halves, sequence by sequence."""
    model, total = model_of(weights), np.zeros(3)
    print("| sequence | tracks | Rank-1 | after NFC |\n|---|---|---|---|")
    for folder in sorted(path for path in sequences.iterdir() if path.is_dir()):
        every = extract(folder, read_tracks(folder / "gt" / "gt.txt"), model, max_crops=0)
        tracks = [torch.from_numpy(t.all_features) for _, t in every if len(t.frame_indices) > 1]
        halved = [track.tensor_split([(len(track) + 1) // 2]) for track in tracks]
        sides = [list(side) for side in zip(*halved, strict=True)]  # first halves, second halves
        row = [len(tracks)]
        for crops in (sides, [among_themselves(side) for side in sides]):
            first, second = (torch.stack([track.mean(0) for track in side]) for side in crops)
            ids = torch.arange(len(tracks))
            found = rank(Vectors(second, ids, 0 * ids), Vectors(first, ids, 0 * ids + 1))
            row.append(round(100 * found.cmc[0].item(), 1))
        total += [row[0], *(row[0] * figure for figure in row[1:])]
        print(f"| {folder.name} | {row[0]} | {row[1]} | {row[2]} |")
    print(f"| all | {total[0]:.0f} | {total[1] / total[0]:.1f} | {total[2] / total[0]:.1f} |")


def among_themselves(side: list[torch.Tensor]) -> list[torch.Tensor]:
    """The crops of one side after NFC, as at an evaluation: the other side has no part in it."""
    vectors, nobody = torch.cat(side), torch.full((sum(map(len, side)),), -1)
    done = centralize(Vectors(vectors, nobody, nobody)).vectors
    return list(done.split([len(track) for track in side]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="", help="of OSNet x0.25; default drawn ones")
    parser.add_argument("--sequences", type=Path, help="a folder of MOTChallenge sequences")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        return print(json.dumps(measure(args.way[0], Path(args.way[1]), args.weights)))
    print(describe())
    if args.sequences:
        return halves(args.sequences, args.weights)
    with tempfile.TemporaryDirectory() as name:
        for kind in SIZES:
            draw(Path(name), kind)

        def run(way: str) -> dict[str, float]:
            words = [sys.executable, __file__, "--weights", args.weights, "--way", way, name]
            return json.loads(subprocess.check_output(words).splitlines()[-1])

        ways = ("original", "torch", "onnxruntime")
        run("onnxruntime")  # writes its file
        found = [{way: run(way) for way in ways} for _ in range(args.rounds)]
        width, height, count = SIZES["speed"]
        print(f"\n{count} frames {width} x {height}, {PEOPLE} tracks, {CROPS} crops each")
        print(f"decoding alone: {decoding(Path(name) / 'speed.mp4'):.1f} s")
        print("| way | crops/s | times the original |\n|---|---|---|")
        for way in ways:
            rates = median(each[way]["rate"] for each in found)
            times = median(each[way]["rate"] / each["original"]["rate"] for each in found)
            print(f"| {way} | {rates:.1f} | {times:.1f} |")
        print("\n| frames | crops | s | largest memory MiB |\n|---|---|---|---|")
        for kind in ("short", "long"):
            row = run(kind)
            seconds, peak = row["seconds"], row["peak"]
            print(f"| {SIZES[kind][2]:,} | {row['crops']:,} | {seconds:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
