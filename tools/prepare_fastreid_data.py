"""Make a dataset {train,query,gallery}/<id>/ of the crops of tracks, a folder for each track."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--crops-dir", "--crops_dir", required=True, metavar="DIR", help="a folder for each track")
    add("--output-dir", "--output_dir", required=True, metavar="DIR", help="dataset/my_dataset")
    add("--train-ratio", "--train_ratio", type=float, default=0.7, help="of a track (default: 0.7)")
    add("--query-per-id", "--query_per_id", type=int, default=1, metavar="N", help="(default: 1)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--copy", dest="link", action="store_const", const="copy", help="the default")
    kind.add_argument("--symlink", dest="link", action="store_const", const="symlink")
    add("--strict", action="store_true", help="fail if a crop is no whole picture")
    options = vars(parser.parse_args())
    from reidtools.data.prepare import prepare_tracks  # torch takes seconds to load
    from reidtools.data.prepare.tracks import PARTS, tracks_table

    options["link"] = options["link"] or "copy"
    made = prepare_tracks(options.pop("crops_dir"), options.pop("output_dir"), **options)
    print(tracks_table(made.folder))
    for part in PARTS:
        print(f"{part.capitalize() + ':':<9}{made.folder / part}")
    print(made)


if __name__ == "__main__":
    main(run)
