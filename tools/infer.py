"""Say who is seen in the pictures of --query_dir, by those in DATASETS.ROOT_DIR: result.csv."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import PICTURES, main, parse

OWN = {
    "--query_dir --query-dir": {
        "required": True,
        "metavar": "DIR",
        "help": "a picture, or a folder of them",
    },
    "--exclude-same-camera --exclude_same_camera": {
        "action": "store_true",
        "help": "never answer with a picture of the same person from the query's own camera",
    },
}


def run() -> None:
    args = parse(__doc__, more={**PICTURES, **OWN})
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        return print(cfg.dump())
    words = {"in_subfolders": args.images_in_subfolders, "strict": args.strict}
    words["exclude_same_camera"] = args.exclude_same_camera
    print(rt.infer(cfg, args.query_dir, **words))


if __name__ == "__main__":
    main(run)
