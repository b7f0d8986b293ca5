"""Copy Market-1501 into {train,val,query,gallery}/<id>/, with one picture a person in val."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--src", required=True, metavar="DIR", help="a dataset in Market-1501's layout")
    add("--out", required=True, metavar="DIR", help="to make: datasets/market-1501-grouped")
    add("--link", action="store_true", help="hard links instead of copies: they take no room")
    add("--strict", action="store_true", help="fail if a picture cannot be made")
    options = vars(parser.parse_args())
    from reidtools.data.datasets import load_folder  # torch takes seconds to load
    from reidtools.data.prepare import prepare_grouped
    from reidtools.data.samples import table

    made = prepare_grouped(options.pop("src"), options.pop("out"), **options)
    kept = sum(path.is_file() for path in (made.folder / "val").glob("*/*"))
    print(f"{table(made.folder.name, load_folder(made.folder))}\nval: {kept} pictures\n{made}")


if __name__ == "__main__":
    main(run)
