"""Find the pictures of a gallery that are nearest to those in DATASETS.ROOT_DIR, as results.npy."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import PICTURES, main, parse

OWN = {
    "--gallery_data --gallery-data": {
        "default": "output_dir",
        "metavar": "DIR",
        "help": "what create_embeddings.py wrote; default output_dir",
    },
    "--topk": {"type": int, "default": 100, "help": "how many; 0 is all, default 100"},
    "--normalize_features": {"action": "store_true", "help": "has no effect: they always are"},
}


def run() -> None:
    args = parse(__doc__, more={**PICTURES, **OWN})
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        return print(cfg.dump())
    words = {"in_subfolders": args.images_in_subfolders, "strict": args.strict}
    rt.find_similar(cfg, args.gallery_data, args.topk, **words)


if __name__ == "__main__":
    main(run)
