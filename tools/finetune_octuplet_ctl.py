"""Fine-tune as finetune_octuplet.py does, and test with a gallery of centroids, too."""

from _tool import tool
from finetune_octuplet import SCALE, tune

if __name__ == "__main__":
    tool(__doc__, tune, fragment="octuplet_ctl.yml", trains=True, keys=SCALE)
