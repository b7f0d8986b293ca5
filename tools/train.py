"""Train, as the MARS document types it: train_net.py, with --config config.yaml."""

from _tool import tool
from train_net import SCALE, train

if __name__ == "__main__":
    tool(__doc__, train, trains=True, keys=SCALE)
