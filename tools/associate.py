"""Give the tracks of several cameras one global id for each person."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    words = {"nargs": "+", "required": True, "metavar": "FILE"}
    add("--features", **words, help="CAMERA=track_features.pkl of each camera, or the file alone")
    add("--output-dir", required=True, metavar="DIR", help="for global_id_mapping.json and more")
    add("--method", default="hungarian", help="hungarian (default) or dbscan")
    add("--threshold", type=float, default=0.6, metavar="S", help="hungarian: least cosine; 0.6")
    add("--eps", type=float, default=0.5, metavar="D", help="dbscan: largest 1 - cosine; 0.5")
    add("--min-samples", type=int, default=2, metavar="N", help="dbscan: tracks of a cluster; 2")
    add("--ground-truth", metavar="JSON", help="true ids, as global_id_mapping.json: print figures")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    print(rt.associate_tracks(**options))


if __name__ == "__main__":
    main(run)
