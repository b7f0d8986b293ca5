"""What the tools share: a command line, the config it asks for, one call."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from reidtools.config.cli import PICTURES, main, parse, wants_launch

__all__ = ["PICTURES", "launch", "main", "parse", "tool"]


def launch(args: Any) -> None:
    """If several processes are wanted start them, do the work in them, and exit."""
    if wants_launch(args):
        from reidtools import processes

        machines = args.num_machines, args.machine_rank, args.dist_url
        sys.exit(processes.launch(args.num_gpus, *machines))
    # Of several processes each would warn of weights that no loss uses; before torch is loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def tool(
    description: str,
    work: Callable[..., object],
    *,
    fragment: str = "",
    opts: Sequence[str] = (),
    **words: Any,
) -> None:
    """Do ``work(rt, cfg, args)`` with the config that the command line asks for, or print it.

    A `fragment` of configs/ is laid over the config files, `opts` come before what was typed; the
    rest goes to `parse`.
    """

    def run() -> None:
        args = parse(description, **words)
        launch(args)
        import reidtools as rt  # after --help has been answered: torch takes seconds to load

        over = ROOT / "configs" / fragment if fragment else ""
        cfg = rt.get_config(args.config_file, [*opts, *args.opts], fragment=over)
        if args.print_config:
            print(cfg.dump())
        else:
            work(rt, cfg, args)

    main(run)
