"""Find the pictures of a gallery nearest to --query_paths, or embed the folders --frames_dir.

The gallery is that of the test set; all frames of a folder become one vector in --output.
"""

from _tool import main, parse

from reidtools.config.cli import INDEX, without_pairs

OWN = {
    "--query_paths --query-paths": {"nargs": "+", "metavar": "PATH", "help": "pictures, patterns"},
    "--topk": {"type": int, "default": 5, "help": "how many; default 5"},
    "--frames_dir --frames-dir": {"nargs": "+", "metavar": "DIR", "help": "folders of frames"},
    "--output": {
        "default": "embedding.npy",
        "metavar": "FILE",
        "help": "of --frames_dir: x.npy, x.npz of several; default embedding.npy",
    },
    "--strict": {"action": "store_true", "help": "stop at a frame that is no picture"},
}
KEYS = {"--checkpoint": (["MODEL.WEIGHTS"], "the weights, such as a best.pth")}


def run() -> None:
    args = parse(__doc__, more={**OWN, **INDEX}, keys=KEYS)
    (query, frames), args.opts = without_pairs([args.query_paths, args.frames_dir], args.opts)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    if args.print_config:
        return print(rt.get_config(args.config_file, args.opts).dump())
    if frames:
        cfg = rt.get_config(args.config_file, args.opts)
        return rt.embed_sequences(cfg, frames, args.output, strict=args.strict)
    cfg, index = rt.experiment_config(args.exp_name, args.config_file, args.opts)
    words = {"load": args.load_index, "save": args.save_index}
    print(rt.search_index(cfg, index, query or (), args.topk, **words))


if __name__ == "__main__":
    main(run)
