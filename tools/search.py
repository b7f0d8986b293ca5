"""Find the pictures of a gallery that are nearest to --query; build it, add to it, take out."""

from argparse import Namespace
from pathlib import Path

from _tool import PICTURES, main, parse

from reidtools.config.cli import without_pairs

FLAG = {"action": "store_true"}
OWN = {
    "--gallery": {"required": True, "metavar": "DIR", "help": "the folder of the gallery"},
    "--build": {
        "metavar": "PATH",
        "help": "make it: pictures, embeddings, x.mat, a dataset's name",
    },
    "--add": {"metavar": "PATH", "help": "embed a picture or a folder and put them into it"},
    "--remove": {"nargs": "+", "metavar": "PATH", "help": "take pictures out of it, or 'g/0002_*'"},
    "--export": {"metavar": "FILE", "help": "write its vectors into the index FILE, x.mat"},
    "--kind": {"default": "flat", "help": "with --build: flat (exact, default), ivf or hnsw"},
    "--replace": {**FLAG, "help": "with --build: in place of a gallery that is there"},
    "--query": {"nargs": "+", "metavar": "PATH", "help": "pictures, folders, patterns"},
    "--topk": {"type": int, "default": 5, "help": "how many; 0 is all, default 5"},
    "--tracklets": {**FLAG, "help": "each folder of pictures is one tracklet, and one vector"},
    "--fuse": {**FLAG, "help": "the queries show one person: ask once"},
    "--hide-same-camera": {**FLAG, "help": "show no picture from the query's own camera"},
    "--hide-junk": {**FLAG, "help": "show no picture of nobody known"},
    "--calibration": {"default": "", "metavar": "FILE", "help": "say who it is, or unknown"},
    "--picture": {**FLAG, "help": "draw a strip for each query into ranked/"},
}


def run() -> None:
    args = parse(__doc__, more={**PICTURES, **OWN})
    (query, remove), args.opts = without_pairs([args.query, args.remove], args.opts)
    if not (args.print_config or args.build or args.add or remove or args.export or query):
        raise ValueError(
            "There is nothing to do: give --query, --build, --add, --remove or --export."
        )
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    if remove and not args.print_config:  # needs no model
        rt.remove_from_gallery(args.gallery, remove)
    if args.print_config or args.build or args.add or query:
        with_model(args, query)
    if args.export and not args.print_config:
        rt.export_gallery(args.gallery, args.export)


def with_model(args: Namespace, query: list[str] | None) -> None:
    """What asks for weights, and so for a config."""
    import reidtools as rt

    fresh = args.build or (args.print_config and not Path(args.gallery, "gallery.json").exists())
    given = (args.config_file, args.opts)
    cfg = rt.get_config(*given) if fresh else rt.gallery_config(args.gallery, *given)
    if args.print_config:
        return print(cfg.dump())
    words = {name: getattr(args, name) for name in ("strict", "tracklets")}
    words["in_subfolders"] = args.images_in_subfolders
    if args.build:
        more = {"kind": args.kind, "replace": args.replace}
        rt.build_gallery(cfg, args.gallery, args.build, **words, **more)
    if args.add:
        rt.add_to_gallery(cfg, args.gallery, args.add, **words)
    if query:
        names = "fuse hide_same_camera hide_junk calibration picture strict tracklets".split()
        words = {name: getattr(args, name) for name in names}
        print(rt.search_gallery(cfg, args.gallery, query, args.topk, **words))


if __name__ == "__main__":
    main(run)
