"""What all tests share: one thread, quiet logging, the golden inputs on the import path."""

import logging
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "golden"))

# Networks this small gain nothing from a second thread, and lose much where cores are busy.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A tool sends its log to the console of its own test, and no later one."""
    yield
    logger = logging.getLogger("reidtools")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
