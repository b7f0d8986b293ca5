"""What the tools share: a command line, the config it asks for, one call."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from reidtools.config.cli import PICTURES, main, parse

__all__ = ["PICTURES", "main", "parse", "tool"]


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
        import reidtools as rt  # after --help has been answered: torch takes seconds to load

        over = ROOT / "configs" / fragment if fragment else ""
        cfg = rt.get_config(args.config_file, [*opts, *args.opts], fragment=over)
        if args.print_config:
            print(cfg.dump())
        else:
            work(rt, cfg, args)

    main(run)
