"""Train with the centroid triplet loss: train_net.py with configs/ctl.yml over the config file."""

from train_net import main, run

if __name__ == "__main__":
    main(lambda: run(__doc__, "ctl.yml"))
