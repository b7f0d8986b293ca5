"""Train with the centroid triplet loss: train_net.py with configs/ctl.yml over the config file."""

from _tool import tool
from train_net import SCALE, train

if __name__ == "__main__":
    tool(__doc__, train, fragment="ctl.yml", trains=True, keys=SCALE)
