"""Cut the people of PRW out of its frames, by the official split, into Market-1501's layout."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--raw", required=True, metavar="DIR", help="the folder PRW-v16.04.20, unpacked whole")
    add("--out", required=True, metavar="DIR", help="the folder to make: datasets/PRW_reid")
    add("--keep-unknown", action="store_true", help="unknown people (-2) into the gallery, as junk")
    add("--quality", type=int, default=95, metavar="N", help="of JPEGs, 1 to 100; default 95")
    add("--strict", action="store_true", help="fail if a picture cannot be made")
    options = vars(parser.parse_args())
    from reidtools.data.datasets.market import read_market  # torch takes seconds to load
    from reidtools.data.prepare import prepare_prw
    from reidtools.data.samples import table

    made = prepare_prw(options.pop("raw"), options.pop("out"), **options)
    print(f"{table('PRW', read_market(made.folder))}\n{made}")


if __name__ == "__main__":
    main(run)
