"""Cut MARS into sequences: {train,val,test}/ID0001/cam01_seq0001/rgb/*.jpg, and an index.csv."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--raw_root", "--raw-root", required=True, metavar="DIR", help="MARS as it is released")
    add("--out_root", "--out-root", required=True, metavar="DIR", help="to make: sequences, index")
    add("--sequence_len", "--sequence-len", type=int, default=25, help="frames (default: 25)")
    add("--overlap", type=int, default=10, help="frames shared with the next one (default: 10)")
    add("--keep-tail", action="store_true", help="a last sequence for frames that would be left")
    add("--val-ids", type=int, default=0, metavar="N", help="people to move from train to val")
    add("--seed", type=int, default=1, help="draws these people (default: 1)")
    kinds = ("symlink", "copy", "index-only")
    add("--link", choices=kinds, default=kinds[0], help="what a frame becomes (default: symlink)")
    add("--parquet", action="store_true", help="write index.parquet too")
    add("--strict", action="store_true", help="fail if a frame is no whole picture")
    options = vars(parser.parse_args())
    from reidtools.data.prepare import prepare_mars  # torch takes seconds to load
    from reidtools.data.prepare.sequences import index_table

    made = prepare_mars(options.pop("raw_root"), options.pop("out_root"), **options)
    print(f"{index_table(made.folder)}\n{made}")


if __name__ == "__main__":
    main(run)
