"""Train a re-ID model, resume a run, or test one with --eval-only."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main, parse

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SCALE = {"--scale": (["INPUT.SCALE"], "pictures this many times as coarse, to train and to test")}


def run(description: str = __doc__, fragment: str = "", keys: dict = SCALE, work: str = "train"):
    """What all training tools do, with a `fragment` of configs/ laid over the config files."""
    args = parse(description, trains=True, keys=keys)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    over = CONFIGS / fragment if fragment else ""
    cfg = rt.get_config(args.config_file, args.opts, fragment=over)
    if args.print_config:
        print(cfg.dump())
    elif args.eval_only:
        rt.evaluate(cfg)
    else:
        getattr(rt, work)(cfg)


if __name__ == "__main__":
    main(run)
