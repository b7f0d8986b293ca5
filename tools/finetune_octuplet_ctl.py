"""Fine-tune as finetune_octuplet.py does, and test with a gallery of centroids, too."""

from finetune_octuplet import LOW
from train_net import main, run

if __name__ == "__main__":
    main(lambda: run(__doc__, "octuplet_ctl.yml", LOW, "finetune"))
