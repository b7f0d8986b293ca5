"""Embed the pictures in DATASETS.ROOT_DIR: writes embeddings.npy and paths.npy to output_dir."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import PICTURES, main, parse

OWN = {
    "--centroids": {"action": "store_true", "help": "one mean vector a person"},
    "--normalize": {"action": "store_true", "help": "vectors of length 1"},
}


def run() -> None:
    args = parse(__doc__, more={**PICTURES, **OWN})
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        return print(cfg.dump())
    rt.create_embeddings(
        cfg,
        in_subfolders=args.images_in_subfolders,
        centroids=args.centroids,
        normalize=args.normalize,
        strict=args.strict,
    )


if __name__ == "__main__":
    main(run)
