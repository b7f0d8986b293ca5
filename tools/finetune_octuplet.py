"""Fine-tune MODEL.WEIGHTS for low resolution with the octuplet loss (configs/octuplet.yml)."""

from _tool import tool

SCALE = {"--scale": (["DATASETS.LOW_SCALE"], "how coarse the second view is; default 2")}


def tune(rt, cfg, args):
    rt.evaluate(cfg) if args.eval_only else rt.finetune(cfg)


if __name__ == "__main__":
    tool(__doc__, tune, fragment="octuplet.yml", trains=True, keys=SCALE)
