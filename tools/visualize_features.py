"""Draw a map of tracks: a point for each, T<id> beside it, and a mark for each camera."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    words = {"nargs": "+", "required": True, "metavar": "FILE"}
    add("--features", **words, help="track_features.pkl or .npz, or CAMERA=FILE of each")
    add("--method", default="tsne", help="tsne (default), umap or pca")
    add("--output", default="features_vis.png", metavar="PNG", help="default features_vis.png")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    rt.map_tracks(options.pop("features"), **options)


if __name__ == "__main__":
    main(run)
