"""Print Top-1, Top-5, Top-10 and mAP of a model on the test set."""

from _tool import main, parse

from reidtools.config.cli import INDEX


def run() -> None:
    args = parse(__doc__, more=INDEX)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    if args.print_config:
        return print(rt.get_config(args.config_file, args.opts).dump())
    cfg, index = rt.experiment_config(args.exp_name, args.config_file, args.opts)
    words = {"load": args.load_index, "save": args.save_index}
    print(rt.top_line(rt.evaluate_index(cfg, index, **words)))


if __name__ == "__main__":
    main(run)
