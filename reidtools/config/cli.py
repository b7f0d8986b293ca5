"""The command line that all tools share. Imports nothing heavy: ``--help`` answers at once."""

import argparse
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

AUTO = "auto"
# The words of tools that work on folders of pictures; see `parse`.
PICTURES = {
    "--images-in-subfolders --images_in_subfolders": {
        "action": "store_true",
        "help": "take the pictures in all folders below, too",
    },
    "--strict": {"action": "store_true", "help": "stop at a file that is no picture"},
    "--print_freq": {"help": "has no effect: progress is a bar"},
}
# The words of tools that keep vectors in index/<experiment>.mat.
INDEX = {
    "--exp_name --exp-name": {"default": "", "metavar": "NAME", "help": "the run, or models/NAME"},
    "--load_index --load-index": {"action": "store_true", "help": "read index/NAME.mat"},
    "--save_index --save-index": {"action": "store_true", "help": "write index/NAME.mat"},
}


def parse(
    description: str,
    argv: Sequence[str] | None = None,
    *,
    trains: bool = False,
    more: Mapping[str, dict[str, Any]] | None = None,
    keys: Mapping[str, tuple[Sequence[str], str]] | None = None,
    processes: bool = False,
) -> argparse.Namespace:
    """Parse ``--config-file FILE … [KEY VALUE]…``; a tool that `trains` can --resume as well.

    Such a tool, and one that works in several `processes`, takes more than one GPU, and asks where
    machines meet.

    `more` are a tool's own words: name, or names with a space between, -> what
    `argparse.ArgumentParser.add_argument` takes. `keys` are words for keys of the config: name ->
    (the keys it sets, help).
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog="KEY VALUE pairs override the file: SOLVER.BASE_LR 1e-3 DATASETS.NAMES market1501",
    )
    add = parser.add_argument
    add(
        "--config-file",
        "--config_file",
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="a YAML file of configs/; of several --config-file later ones win",
    )
    if trains:
        add(
            "--resume",
            nargs="?",
            const=AUTO,
            default="",
            metavar="PATH",
            help="go on from this checkpoint or run folder; without PATH from the run's newest",
        )
        add(
            "--exp_name",
            "--exp-name",
            metavar="NAME",
            help="name the run, which --resume then finds by it; otherwise runs are exp0, exp1 …",
        )
        add("--eval-only", action="store_true", help="test MODEL.WEIGHTS instead of training")
    for name, about in (more or {}).items():
        add(*name.split(), **about)
    for name, (_, meaning) in (keys or {}).items():
        add(name, metavar="VALUE", help=meaning)
    processes = processes or trains
    several = "; more than 1 starts torchrun with a process for each" if processes else ""
    gpus = f"0 runs on the CPU; default 1, if any{several}"
    add("--num-gpus", type=int, default=1, metavar="N", help=gpus)
    if processes:
        add("--num-machines", type=int, default=1, metavar="N", help="machines with so many GPUs")
        add(
            "--machine-rank", type=int, default=0, metavar="I", help="which of them this is, from 0"
        )
        meet = "where machines meet: tcp://ADDRESS:PORT of machine 0"
        add("--dist-url", default="", metavar="URL", help=meet)
    add("--print-config", action="store_true", help="print the complete config and stop")
    add("opts", nargs="*", metavar="KEY VALUE", help="any key of the config and its value")
    words = _split_resume(sys.argv[1:] if argv is None else list(argv))
    # argparse takes -1e-4 for an option; a space in front makes it the value that it is.
    words = [f" {word}" if re.match(r"-[\d.]", word) else word for word in words]
    args = parser.parse_intermixed_args(words)
    args.opts = [word.lstrip(" ") for word in args.opts]
    if len(args.opts) % 2:
        parser.error(
            f"KEY VALUE pairs expected, got {len(args.opts)} words: {' '.join(args.opts)}; every "
            "key needs one value, quoted if it has spaces."
        )
    _check_processes(parser, args, processes)
    if args.num_gpus == 0:
        args.opts += ["MODEL.DEVICE", "cpu"]
    for name, (paths, _) in (keys or {}).items():
        value = getattr(args, name.lstrip("-").replace("-", "_"))
        args.opts += [word for path in paths if value is not None for word in (path, value)]
    if trains and args.exp_name:
        args.opts += ["EXP_NAME", args.exp_name]
    if trains and args.resume:
        args.opts += ["RESUME", args.resume]
    return args


def _check_processes(
    parser: argparse.ArgumentParser, args: argparse.Namespace, processes: bool
) -> None:
    if args.num_gpus < 0 or (args.num_gpus > 1 and not processes):
        parser.error("This tool uses one GPU; give --num-gpus 1, or 0 for the CPU.")
    if not processes and _is_launched() and os.environ.get("WORLD_SIZE", "1") != "1":
        parser.error("This tool works in one process; start it with python instead of torchrun.")
    if processes and args.num_machines > 1:
        if not re.fullmatch(r"(tcp://)?[^:/]+:\d+", args.dist_url):
            parser.error("Machines must meet: give --dist-url tcp://ADDRESS:PORT of machine 0.")
        if not 0 <= args.machine_rank < args.num_machines:
            parser.error(
                f"--machine-rank is {args.machine_rank}; it is from 0 to {args.num_machines - 1}."
            )


def wants_launch(args: argparse.Namespace) -> bool:
    """Whether several processes are wanted, and this is none of them yet."""
    several = args.num_gpus > 1 or getattr(args, "num_machines", 1) > 1
    return several and not args.print_config and not _is_launched()


def _is_launched() -> bool:
    """Whether a launcher such as torchrun has started this process."""
    return "LOCAL_RANK" in os.environ  # WORLD_SIZE is set on some clusters where nothing was


def _split_resume(argv: list[str]) -> list[str]:
    """``--resume OUTPUT_DIR logs/x``: the word after a bare --resume may be a key, not a path."""
    for i, word in enumerate(argv[:-1]):
        after = argv[i + 1]
        is_key = re.fullmatch(r"[A-Z_]+(\.\w+)*", after) and not Path(after).exists()
        if word == "--resume" and is_key:
            argv[i] = f"--resume={AUTO}"
    return argv


def without_pairs(
    lists: Sequence[Sequence[str] | None], opts: Sequence[str]
) -> tuple[list[list[str]], list[str]]:
    """Words that take several values take the KEY VALUE pairs behind them as well: give them back.

    >>> without_pairs([["a.jpg", "MODEL.DEVICE", "cpu"], None], [])
    ([['a.jpg'], []], ['MODEL.DEVICE', 'cpu'])
    """
    own, pairs = [], list(opts)
    for given in lists:
        words = [word.lstrip(" ") for word in given or ()]
        keys = (i for i, word in enumerate(words) if re.fullmatch(r"[A-Z_]+(\.[A-Z_]\w*)*", word))
        first = next((i for i in keys if not Path(words[i]).exists()), len(words))
        own.append(words[:first])
        pairs += words[first:]
    return own, pairs


def main(run) -> None:
    """Call `run` and turn an expected error into its sentence and exit code 1."""
    try:
        run()
    except (KeyError, IndexError):
        raise  # a fault of ours, which needs its traceback
    except (
        LookupError,
        ValueError,
        TypeError,
        OSError,
        FloatingPointError,
        ImportError,
    ) as error:
        if isinstance(error, ImportError) and error.name:
            raise  # Python's own; ours, for an extra that is not installed, names no module
        if os.environ.get("RANK", "0") != "0" and not isinstance(error, ConnectionError):
            # Most errors are those of all processes; if the first has the same to say, its end is
            # that of all. A lost connection is never the cause, and tells nobody else's error.
            time.sleep(3)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        _stop()  # while torch was writing a file, whose end it then missed
    except KeyboardInterrupt:
        _stop()


def _stop() -> None:
    if os.environ.get("RANK", "0") == "0":
        print("stopped", file=sys.stderr)
    sys.exit(130)
