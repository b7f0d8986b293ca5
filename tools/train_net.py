"""Train a re-ID model, resume a run, or test one with --eval-only."""

from _tool import tool

SCALE = {"--scale": (["INPUT.SCALE"], "pictures this many times as coarse, to train and to test")}


def train(rt, cfg, args):
    rt.evaluate(cfg) if args.eval_only else rt.train(cfg)


if __name__ == "__main__":
    tool(__doc__, train, trains=True, keys=SCALE)
