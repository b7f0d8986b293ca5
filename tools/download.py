"""Download a dataset (datasets/downloads.yml) or published weights, unless they are there."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--name", help="market1501, or another name of the list")
    what.add_argument("--weights", metavar="NAME", help="of tools/describe.py weights")
    add("--root", default="", metavar="DIR", help="default: datasets; of weights torch's cache")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--url", default="", help="an archive somewhere else")
    place.add_argument("--id", dest="drive_id", default="", help="a file of Google Drive")
    place.add_argument("--file", default="", help="an archive on this machine; a zip or a tar file")
    add("--sha256", default="", metavar="SUM", help="what the archive must have")
    add("--list", dest="listing", default="", metavar="FILE", help="a list of your own")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    name, weights, root = (options.pop(word) for word in ("name", "weights", "root"))
    if weights and any(options.values()):
        raise ValueError("With --weights goes --root only; leave out the other words.")
    fetch, root = (rt.download_weights, root) if weights else (rt.download, root or "datasets")
    print(fetch(weights or name, root, **({} if weights else options)))


if __name__ == "__main__":
    main(run)
