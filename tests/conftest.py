"""What all tests share: one thread, and the folder with the golden inputs on the import path."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent / "golden"))

# Networks this small gain nothing from a second thread, and lose much where cores are busy.
torch.set_num_threads(1)
