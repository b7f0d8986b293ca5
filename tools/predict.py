"""Say for each picture of --query which label of --gallery fits best: predictions.csv."""

from _tool import PICTURES, tool

OWN = {
    "--query": {"required": True, "metavar": "PATH", "help": "a picture, or a folder of them"},
    "--gallery": {
        "required": True,
        "metavar": "PATH",
        "help": "pictures named 0843_….jpg or in a folder a label, or a CSV file: picture,label",
    },
    "--output": {"default": "", "metavar": "FILE", "help": "default OUTPUT_DIR/predictions.csv"},
    "--topk": {"type": int, "default": 1, "help": "how many lines a query; 0 is all, default 1"},
}


def predict(rt, cfg, args):
    words = {"in_subfolders": args.images_in_subfolders, "strict": args.strict}
    words |= {"output": args.output, "topk": args.topk}
    print(rt.predict(cfg, args.query, args.gallery, **words))


if __name__ == "__main__":
    tool(__doc__, predict, more={**PICTURES, **OWN})
