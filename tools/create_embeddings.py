"""Embed the pictures in DATASETS.ROOT_DIR: writes embeddings.npy and paths.npy to output_dir."""

from _tool import PICTURES, tool

OWN = {
    "--centroids": {"action": "store_true", "help": "one mean vector a person"},
    "--normalize": {"action": "store_true", "help": "vectors of length 1"},
}


def embed(rt, cfg, args):
    typed = dict(zip(args.opts[::2], args.opts[1::2], strict=True))
    rt.create_embeddings(
        cfg,
        in_subfolders=args.images_in_subfolders,
        centroids=args.centroids or typed.get("MODEL.USE_CENTROIDS", "").lower() in ("true", "yes"),
        normalize=args.normalize,
        strict=args.strict,
    )


if __name__ == "__main__":
    tool(__doc__, embed, more={**PICTURES, **OWN}, processes=True)
