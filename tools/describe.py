"""Say what there is: backbones, heads, losses, samplers, datasets, recipes, published weights."""

import argparse

from _tool import main


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("what", nargs="*", help="a kind (losses, weights …), a name, or both; all if left out")
    add("--json", action="store_true", help="for programs")
    add("--markdown", metavar="FILE", default="", help="write the page docs/model_zoo.md is")
    args = parser.parse_args()
    import reidtools as rt  # torch takes seconds to load

    if args.markdown:
        print(rt.write_page(args.markdown))
    else:
        print(rt.describe(args.what, as_json=args.json))


if __name__ == "__main__":
    main(run)
