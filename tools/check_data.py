"""Print the tables of the datasets and look for what would stop a training."""

from _tool import tool

if __name__ == "__main__":
    tool(__doc__, lambda rt, cfg, args: rt.check(cfg))
