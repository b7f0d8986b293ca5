"""Train a re-ID model, resume a run, or test one with --eval-only."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main, parse


def run() -> None:
    args = parse(__doc__, trains=True)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        print(cfg.dump())
    elif args.eval_only:
        rt.evaluate(cfg)
    else:
        rt.train(cfg)


if __name__ == "__main__":
    main(run)
