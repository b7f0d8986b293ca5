"""Look at MODEL.WEIGHTS: an HTML page of its test, a map of embeddings, where the model looks."""

from _tool import tool

OWN = {
    "--page": {"action": "store_true", "help": "page.html: figures, curves, queries, failures"},
    "--map": {"metavar": "METHOD", "help": "embeddings on a plane by tsne, umap or pca"},
    "--activations": {"type": int, "metavar": "N", "help": "where it looks in N queries"},
}


def look(rt, cfg, args):
    asked = {"page": args.page, "map": args.map, "activations": args.activations is not None}
    kinds = [kind for kind in asked if asked[kind]] or list(asked)
    given = {"method": args.map, "activations": args.activations}
    rt.look(cfg, kinds=kinds, **{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    tool(f"{__doc__} All of it, or what is named.", look, more=OWN)
