"""Test several checkpoints on several test sets: a table of who was trained on what."""

from _tool import main, parse

from reidtools.config.cli import without_pairs

WEIGHTS = {"nargs": "+", "metavar": "FILE", "help": "checkpoints, a row each", "required": True}


def run() -> None:
    args = parse(__doc__, more={"--weights": WEIGHTS})
    (weights,), opts = without_pairs([args.weights], args.opts)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    if args.print_config:
        print(rt.get_config(args.config_file, [*opts, "MODEL.WEIGHTS", weights[0]]).dump())
    else:
        rt.cross_domain(weights, args.config_file, opts)


if __name__ == "__main__":
    main(run)
