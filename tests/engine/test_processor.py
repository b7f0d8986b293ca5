import os
import subprocess
import sys

import torch

from reidtools.engine.processor import ENVIRONMENT, quicken


def test_denormal_numbers_count_as_nothing():
    try:
        quicken()
        assert torch.tensor([1e-39]).mul(1.0).item() == 0
        assert torch.tensor([1e-37]).mul(1.0).item() > 0
    finally:
        torch.set_flush_denormal(False)


def test_large_blocks_are_kept():
    """After some rounds (glibc leaves holes between aligned blocks) one needs no new pages."""
    code = """
import resource, torch
from reidtools.engine.processor import quicken
quicken()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([faults() for _ in range(24)][-1])
"""
    environment = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    if sys.platform == "linux" and os.confstr("CS_GNU_LIBC_VERSION"):
        assert int(done.stdout) < 1_000  # 80 MB are about 20,000 pages
