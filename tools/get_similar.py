"""Find the pictures of a gallery that are nearest to those in DATASETS.ROOT_DIR, as results.npy."""

from _tool import PICTURES, tool

OWN = {
    "--gallery_data --gallery-data": {
        "default": "output_dir",
        "metavar": "DIR",
        "help": "what create_embeddings.py wrote; default output_dir",
    },
    "--topk": {"type": int, "default": 100, "help": "how many; 0 is all, default 100"},
    "--normalize_features": {"action": "store_true", "help": "has no effect: they always are"},
}


def find(rt, cfg, args):
    words = {"in_subfolders": args.images_in_subfolders, "strict": args.strict}
    rt.find_similar(cfg, args.gallery_data, args.topk, **words)


if __name__ == "__main__":
    tool(__doc__, find, more={**PICTURES, **OWN})
