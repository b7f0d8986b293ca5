"""Cut the people of PRW out of its frames, by the official split, into Market-1501's layout."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--raw", required=True, metavar="DIR", help="the folder PRW-v16.04.20, unpacked whole")
    add("--out", required=True, metavar="DIR", help="the folder to make: datasets/PRW_reid")
    add("--keep-unknown", action="store_true", help="unknown people (-2) into the gallery, as junk")
    add("--quality", type=int, default=95, metavar="N", help="of JPEGs, 1 to 100; default 95")
    add("--strict", action="store_true", help="fail if a picture cannot be made")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load
    from reidtools.data.datasets.market import read_market
    from reidtools.data.samples import table

    made = rt.prepare_prw(options.pop("raw"), options.pop("out"), **options)
    print(f"{table('PRW', read_market(made.folder))}\n{made}")


if __name__ == "__main__":
    main(run)
