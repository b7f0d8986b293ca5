"""Write how similar tracks are: of each pair of files, or of one with itself."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    words = {"nargs": "+", "required": True, "metavar": "FILE"}
    add("--features", **words, help="track_features.pkl or .npz, or CAMERA=FILE of each")
    add("--output-dir", required=True, metavar="DIR", help="for similarity_a_vs_b.png, .csv, .npy")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    rt.compare_tracks(**options)


if __name__ == "__main__":
    main(run)
