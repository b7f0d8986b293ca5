"""The loop of training against bare steps of the same network and losses.

The loop is all that tools/train_net.py does between two tests: pictures read from JPEG files,
augmentation, sampling, losses, schedule, log, metrics.jsonl, TensorBoard, and a checkpoint after
each epoch. A bare step is forward, backward and optimizer on one batch of noise that lies on the
device. An epoch of one and as many steps of the other take turns in one process; "share" is the
median over the rounds of bare seconds / seconds of the loop, a picture, and beside it are the least
and the greatest. Wall time wants a core that is free for reading. CPU seconds are told as well:
those of the thread that trains, which is what the loop costs where another core reads, whatever
else the machine does (with one thread of torch: OMP_NUM_THREADS=1), and those of all threads, which
is what it costs where none is free.

    python benchmarks/training.py                                       # OSNet x0.25 and ResNet-18
    python benchmarks/training.py --device cuda --configs 256_resnet50 vit_base
    python benchmarks/training.py --set SOLVER.AMP.ENABLED True MODEL.COMPILE True
    python benchmarks/training.py --root /data --set DATASETS.NAMES market1501
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from yacs.config import CfgNode

from reidtools import build
from reidtools.batches import own
from reidtools.config import load as configs
from reidtools.data.samples import join_train
from reidtools.engine.checkpoints import Checkpoints
from reidtools.engine.environment import describe
from reidtools.engine.logbook import Logbook, peak_memory
from reidtools.engine.trainer import Trainer
from reidtools.learning import adjust
from reidtools.solver import make_optimizer

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DRAWN = "DATASETS.NAMES toy DATASETS.TOY.PEOPLE 128".split()
MODELS = {  # configs for which there is no file
    "resnet18": ("base", "MODEL.BACKBONE.NAME resnet18 MODEL.BACKBONE.LAST_STRIDE 1".split()),
    "osnet_x0_25": ("osnet_x0_25", []),
}


class Seconds(NamedTuple):
    """What a turn took, and how many pictures it showed: `cpu` of all threads, `own` of this."""

    wall: float
    cpu: float
    own: float
    pictures: int

    def each(self) -> list[float]:
        """The seconds of a picture."""
        return [seconds / self.pictures for seconds in self[:3]]


def timed(turn: Callable[[], int], on: torch.device) -> Seconds:
    """The seconds of `turn`, which gives the number of its pictures."""
    wait = torch.cuda.synchronize if on.type == "cuda" else lambda: None
    wait()
    clocks = time.perf_counter, time.process_time, time.thread_time
    begin = [clock() for clock in clocks]
    pictures = turn()
    wait()
    took = [clock() - before for clock, before in zip(clocks, begin, strict=True)]
    return Seconds(*took, pictures)


def model_and_losses(cfg: CfgNode, samples: list, on: torch.device) -> tuple:
    """Network and objective, always the same for the same config."""
    torch.manual_seed(cfg.SEED)
    model = build.embedder(cfg).to(on)
    return model, build.objective(cfg, model, samples).to(on)


def epochs(cfg: CfgNode, samples: list, on: torch.device, run: Path) -> Iterator[int]:
    """An epoch of training each time it is asked for one; how many pictures it showed."""
    model, loss = model_and_losses(cfg, samples, on)
    generator = torch.Generator().manual_seed(cfg.SEED)
    batches = build.train_batches(cfg, samples, generator, on)
    trainer: Trainer = build.trainer(cfg, model, loss, batches, generator)
    size, stored = cfg.SOLVER.IMS_PER_BATCH, configs.dump(cfg)
    log = Logbook(run, len(batches), cfg.SOLVER.MAX_EPOCH, size)
    keeper = Checkpoints(run, cfg.SOLVER.CHECKPOINT_PERIOD)
    with closing(log):
        for progress in trainer:
            log.write(progress)
            if progress.epoch_done:
                keeper.keep(trainer.state_dict() | {"config": stored}, progress.epoch, final=False)
                yield size * len(batches)


def bare_steps(
    cfg: CfgNode, samples: list, on: torch.device, amp: torch.dtype | None
) -> Callable[[int], int]:
    """A function that takes so many steps on noise; how many pictures they showed."""
    model, loss = model_and_losses(cfg, samples, on)
    adjust(cfg, model)
    parts = {"embedder": model, "objective": loss}
    optimizer = make_optimizer(parts, **own(cfg.SOLVER, maker=make_optimizer))
    scaler = torch.amp.GradScaler(on.type, enabled=amp == torch.float16)
    size = cfg.SOLVER.IMS_PER_BATCH
    pids = torch.arange(size, device=on) // cfg.DATALOADER.SAMPLER.NUM_INSTANCE
    images = torch.randn(size, 3, *cfg.INPUT.SIZE_TRAIN, device=on)
    images = images.to(memory_format=torch.channels_last)
    batch = {"images": images, "pids": pids, "camids": pids, "index": pids}

    def steps(count: int) -> int:
        model.train()
        loss.train()
        for _ in range(count):
            with torch.autocast(on.type, amp) if amp else nullcontext():
                total = sum(loss(model, batch).values())
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(total).backward()
            scaler.step(optimizer)
            scaler.update()
        return count * size

    return steps


def compare(cfg: CfgNode, rounds: int, run: Path) -> None:
    """Let the loop and bare steps take turns; a line of Markdown."""
    on = build.device(cfg)
    samples = join_train([build.splits(cfg, name).train for name in cfg.DATASETS.NAMES])
    steps = bare_steps(cfg, samples, on, build.amp_dtype(cfg, on))
    loop = epochs(cfg, samples, on, run)
    steps(2)
    count = next(loop) // cfg.SOLVER.IMS_PER_BATCH  # both are warm now
    pairs = []
    for turn in range(rounds):  # who begins changes, so that a machine that slows down is no bias
        both = [("loop", lambda: next(loop)), ("bare", lambda: steps(count))]
        found = {name: timed(way, on) for name, way in (both if turn % 2 else both[::-1])}
        pairs.append((found["bare"], found["loop"]))
    loop.close()
    print(f"| {cfg.MODEL.BACKBONE.NAME} | {count} | {_row(pairs)} | {peak_memory() / 1e9:.1f} |")
    sys.stdout.flush()


def _row(pairs: Sequence[tuple[Seconds, Seconds]]) -> str:
    """The cells of a table, from a round's bare steps and loop each."""
    rounds = [(bare.each(), loop.each()) for bare, loop in pairs]
    wall, cpu, own = ([(bare[clock], loop[clock]) for bare, loop in rounds] for clock in range(3))
    speeds = [median(1 / pair[side] for pair in wall) for side in (0, 1)]
    cells = [f"{speed:.1f}" for speed in speeds] + [_share(wall)]
    for clock in (own, cpu):
        cells += [f"{median(1000 * pair[side] for pair in clock):.1f}" for side in (0, 1)]
        cells.append(_share(clock))
    return " | ".join(cells)


def _share(pairs: Sequence[tuple[float, float]]) -> str:
    """The median of bare / loop, the least and the greatest."""
    shares = [bare / loop for bare, loop in pairs]
    return f"**{median(shares):.3f}** ({min(shares):.3f} … {max(shares):.3f})"


def recipe(name: str, device: str, root: str, more: Sequence[str]) -> CfgNode:
    """The config `name` of configs/ or of `MODELS`, from scratch, to be trained for ever."""
    file, words = MODELS.get(name, (name, []))
    drawn = [] if "DATASETS.NAMES" in more else DRAWN
    fixed = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.DEVICE", device, "DATASETS.ROOT", root]
    fixed += ["SOLVER.MAX_EPOCH", "1000", "SOLVER.AMP.ENABLED", str(device != "cpu")]
    return configs.load([CONFIGS / f"{file}.yml"], [*words, *drawn, *fixed, *more])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=list(MODELS)[::-1], metavar="NAME")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--root", default="", help="folder of datasets; default: drawn toy people")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY VALUE", help="of the config")
    args = parser.parse_args()
    logging.getLogger("reidtools").addHandler(logging.NullHandler())
    threads = f"{torch.get_num_threads()} threads of torch"
    print(f"{describe()}\n{threads}; milliseconds are CPU time of a picture\n")
    sides = "bare | loop | share"
    print(f"| network | steps a turn | pictures/s: {sides} | ms of the training thread: {sides} | "
          f"ms of all: {sides} | peak memory, GB |\n{'|---' * 12}|")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.configs:
            cfg = recipe(name, args.device, args.root or scratch, args.set)
            torch.backends.cudnn.benchmark = not cfg.DETERMINISTIC
            run = Path(scratch) / "runs" / name
            run.mkdir(parents=True)
            compare(cfg, args.rounds, run)


if __name__ == "__main__":
    main()
