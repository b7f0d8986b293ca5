"""Bring the features of a track's crops closer together: Pose2ID's NFC on a file of features."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--features", required=True, metavar="FILE", help="track_features.pkl or .npz")
    add("--output", required=True, metavar="FILE", help="the same kind of file: x.pkl or x.npz")
    add("--scope", default="track", help="neighbours are of the same track (default), or of all")
    add("--k1", type=int, default=2, metavar="N", help="nearest neighbours of a crop; default 2")
    add("--k2", type=int, default=2, metavar="N", help="of these one is asked back; default 2")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    rt.centralize_track_features(options.pop("features"), options.pop("output"), **options)


if __name__ == "__main__":
    main(run)
