"""Copy a dataset with smaller pictures: market1501 becomes market1501x2 beside it."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--scale", type=float, required=True, help="how many times smaller: 2, 4 or 1.5")
    add("--data_dir", "--data-dir", required=True, metavar="DIR", help="in Market-1501's layout")
    add("--upsample", action="store_true", help="bring the pictures back to their own size")
    add("--quality", type=int, default=95, metavar="N", help="of JPEGs, 1 to 100; default 95")
    add("--strict", action="store_true", help="fail if a picture cannot be made")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    made = rt.make_low_resolution(options.pop("data_dir"), options.pop("scale"), **options)
    print(f"{made}\nUse it as DATASETS.NAMES {made.folder.name}")


if __name__ == "__main__":
    main(run)
