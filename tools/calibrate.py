"""Find the distance at which two pictures pass as one person; writes calibration.json."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main, parse

FAR = {"type": float, "default": 1e-3, "help": "share of different people let pass; default 0.001"}


def run() -> None:
    args = parse(__doc__, more={"--far": FAR})
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        print(cfg.dump())
    else:
        rt.calibrate(cfg, args.far)


if __name__ == "__main__":
    main(run)
