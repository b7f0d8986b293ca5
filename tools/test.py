"""Test a re-ID model: Rank-k, mAP and mINP of MODEL.WEIGHTS on the test sets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main, parse

QUERY, GALLERY = "TEST.QUERY_SCALE", "TEST.GALLERY_SCALE"
KEYS = {
    "--scale": ([QUERY, GALLERY], "query and gallery pictures this many times as coarse"),
    "--query-scale": ([QUERY], "query pictures this many times as coarse"),
    "--gallery-scale": ([GALLERY], "gallery pictures this many times as coarse"),
}


def run() -> None:
    args = parse(__doc__, keys=KEYS)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, ["TEST.CENTROIDS.ENABLED", "True", *args.opts])
    if args.print_config:
        print(cfg.dump())
    else:
        print(rt.evaluate(cfg).blocks())


if __name__ == "__main__":
    main(run)
