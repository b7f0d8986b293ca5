"""Say who is seen in the pictures of --query_dir, by those in DATASETS.ROOT_DIR: result.csv."""

from _tool import PICTURES, tool

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


def infer(rt, cfg, args):
    words = {"in_subfolders": args.images_in_subfolders, "strict": args.strict}
    print(rt.infer(cfg, args.query_dir, exclude_same_camera=args.exclude_same_camera, **words))


if __name__ == "__main__":
    tool(__doc__, infer, more={**PICTURES, **OWN})
