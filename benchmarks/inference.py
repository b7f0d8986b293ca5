"""Pictures a second of networks on this CPU, by what runs them.

All ways take turns in one run, so that a busy machine slows all of them; "times" is the median of
the ratios to torch as it is (``TEST.RUNTIME torch``: eager, channels last) within a round, and
"off" the largest difference to its vectors by the largest value. Counted is CPU time with one
thread, wall time with more. Pictures are noise; weights are drawn, or those of ``--weights``.

contiguous: eager, in torch's usual order of memory
folded, onnxruntime: the two that TEST.RUNTIME auto takes its choice from; what it takes for many
    pictures is told at the end
compile: torch.compile, which needs a C++ compiler and a minute or more (--compile)
bf16: autocast, as SOLVER.AMP has it; fast only where the processor has instructions for it

    python benchmarks/inference.py
    python benchmarks/inference.py --models osnet_x0_25 --weights osnet_x0_25_msmt17.pth --threads 2
    python benchmarks/inference.py --models resnet18 --batches 64 --rounds 2    # a first look
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from reidtools.engine.environment import describe
from reidtools.engine.processor import quicken
from reidtools.export.runtime import quick
from reidtools.modeling import Embedder, weights
from reidtools.modeling.embedder import facts_of
from reidtools.modeling.onnx_network import OnnxNetwork
from reidtools.registry import BACKBONES, HEADS

MODELS = ["osnet_x0_25", "osnet_x1_0", "resnet18", "resnet50", "densenet121"]
MODELS += ["vit_small_patch16", "vit_base_patch16"]
SIZE = (256, 128)

Way = Callable[[Tensor], Tensor]


def network(name: str, file: str) -> Embedder:
    torch.manual_seed(0)
    backbone = BACKBONES.build(name, {"image_size": SIZE}, {})
    if file:
        weights.load_pretrained(backbone, file)
    head = HEADS.build("BNNeck", facts_of(backbone), {})
    return Embedder(backbone, head).to(memory_format=torch.channels_last).eval()


def ways(model: Embedder, *, compiled: bool) -> dict[str, Way]:
    """What makes embeddings (B, dim) of pictures, by its name."""
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    found = {
        "torch": lambda images: model(images)[1],
        "contiguous": lambda images: plain(images.contiguous())[1],
        "folded": lambda images: quick(model, len(images))(images)[1],
        "onnxruntime": lambda images: quick(model, len(images), runtime="onnxruntime")(images)[1],
        "bf16": lambda images: _bf16(model, images),
    }
    if compiled:
        compiled_model = torch.compile(copy.deepcopy(model), dynamic=False)
        found["compile"] = lambda images: compiled_model(images)[1]
    return found


def _bf16(model: Embedder, images: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(images)[1].float()


@torch.inference_mode()
def compare(runs: dict[str, Way], batch: int, rounds: int) -> None:
    """Let all `runs` take turns, and print a line of each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, *SIZE, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    vectors = {}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            begin = clock()
            vectors[name] = run(images)
            took = clock() - begin
            if turn:  # the first turn exports, compiles and warms up
                seconds[name].append(took)
            elif took > 5:
                print(f"    {name}: {took:.0f} s at first")
    right = vectors["torch"]
    for name, own in seconds.items():
        times = median(base / mine for base, mine in zip(seconds["torch"], own, strict=True))
        off = float((vectors[name] - right).abs().max() / right.abs().max())
        rate = batch / median(own)
        print(
            f"    {name:12s} {rate:8.1f} pictures/s  {times:5.2f} times  {off:.0e} off", flush=True
        )


@torch.inference_mode()
def choice(model: Embedder) -> str:
    """What ``auto`` runs the network with where there are a million pictures."""
    found, images = quick(copy.deepcopy(model), 10**6), torch.randn(16, 3, *SIZE)
    found(images.contiguous(memory_format=torch.channels_last))
    (frames,) = found.made.values()
    if isinstance(frames, OnnxNetwork):
        return "onnxruntime"
    return "folded" if isinstance(frames, torch.nn.Module) else "torch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, help="backbones")
    parser.add_argument("--weights", default="", help="a file for them; default: drawn")
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 64, 128])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    quicken()
    print(describe())
    for name in args.models:
        model = network(name, args.weights)
        runs = ways(model, compiled=args.compile)
        for batch in args.batches:
            print(f"{name}, batches of {batch}, {SIZE}, {args.threads} threads", flush=True)
            compare(runs, batch, args.rounds)
        print(f"    auto takes {choice(model)}", flush=True)


if __name__ == "__main__":
    main()
