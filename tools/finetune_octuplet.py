"""Fine-tune MODEL.WEIGHTS for low resolution with the octuplet loss (configs/octuplet.yml)."""

from train_net import main, run

LOW = {
    "--scale": (["DATASETS.LOW_SCALE"], "how many times as coarse the second view is; default 2")
}

if __name__ == "__main__":
    main(lambda: run(__doc__, "octuplet.yml", LOW, "finetune"))
