"""Find the pictures of the test set's gallery that are nearest to --query_paths."""

from _tool import main, parse

from reidtools.config.cli import INDEX, without_pairs

OWN = {
    "--query_paths --query-paths": {"nargs": "+", "metavar": "PATH", "help": "pictures, patterns"},
    "--topk": {"type": int, "default": 5, "help": "how many; default 5"},
}


def run() -> None:
    args = parse(__doc__, more={**OWN, **INDEX})
    (query,), args.opts = without_pairs([args.query_paths], args.opts)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    if args.print_config:
        return print(rt.get_config(args.config_file, args.opts).dump())
    cfg, index = rt.experiment_config(args.exp_name, args.config_file, args.opts)
    words = {"load": args.load_index, "save": args.save_index}
    print(rt.search_index(cfg, index, query or (), args.topk, **words))


if __name__ == "__main__":
    main(run)
