"""Download and unpack a dataset, unless it is there; which ones: see datasets/downloads.yml."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="market1501, or another name of the list")
    add("--root", default="datasets", metavar="DIR", help="DATASETS.ROOT (default: datasets)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--url", default="", help="an archive somewhere else")
    place.add_argument("--id", dest="drive_id", default="", help="a file of Google Drive")
    place.add_argument("--file", default="", help="an archive on this machine; a zip or a tar file")
    add("--sha256", default="", metavar="SUM", help="what the archive must have")
    add("--list", dest="listing", default="", metavar="FILE", help="a list of your own")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    print(rt.download(options.pop("name"), options.pop("root"), **options))


if __name__ == "__main__":
    main(run)
