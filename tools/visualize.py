"""Look at MODEL.WEIGHTS: an HTML page of its test, a map of embeddings, where the model looks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reidtools.config.cli import main, parse

OWN = {
    "--page": {"action": "store_true", "help": "page.html: figures, curves, queries, failures"},
    "--map": {"metavar": "METHOD", "help": "embeddings on a plane by tsne, umap or pca"},
    "--activations": {"type": int, "metavar": "N", "help": "where it looks in N queries"},
}


def run() -> None:
    args = parse(f"{__doc__} All of it, or what is named.", more=OWN)
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, args.opts)
    if args.print_config:
        return print(cfg.dump())
    asked = {"page": args.page, "map": args.map, "activations": args.activations is not None}
    kinds = [kind for kind in asked if asked[kind]] or list(asked)
    given = {"method": args.map, "activations": args.activations}
    rt.look(cfg, kinds=kinds, **{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    main(run)
