"""Print the tables of the datasets and look for what would stop a training."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main, parse


def run() -> None:
    args = parse(__doc__)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        print(cfg.dump())
    else:
        rt.check(cfg)


if __name__ == "__main__":
    main(run)
