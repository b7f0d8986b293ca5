"""Make features of tracks shorter: their principal components, or those of a saved PCA."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--features", required=True, metavar="FILE", help="track_features.pkl or .npz")
    add("--output", required=True, metavar="FILE", help="the same kind of file: x.pkl or x.npz")
    add("--components", type=int, metavar="K", help="values of a vector; default 128")
    add("--save-pca", metavar="FILE", help="keep the components as .npz, for later features")
    add("--pca", metavar="FILE", help="take what --save-pca kept, and fit nothing")
    options = vars(parser.parse_args())
    import reidtools as rt  # torch takes seconds to load

    rt.reduce_tracks(options.pop("features"), options.pop("output"), **options)


if __name__ == "__main__":
    main(run)
