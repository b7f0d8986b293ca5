"""Settings of the whole process that make networks on a CPU two to three times as fast."""

import ctypes
import os

import torch

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt(3)
ENVIRONMENT = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def quicken() -> None:
    """Let the processor take denormal numbers for 0, and the C library keep large blocks.

    Trained weights hold numbers below 1e-38, with which processors compute many times slower; none
    of them matters. And glibc gives every block above 32 MiB back to the system at once, so that
    each map of a large batch is made of new pages, one fault each. Threads inherit the first: call
    this before torch starts any. Where the C library is another, or its own variables
    (``MALLOC_MMAP_THRESHOLD_``) say something, the second is left alone.
    """
    torch.set_flush_denormal(True)
    if any(name in os.environ for name in ENVIRONMENT):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(MMAP_THRESHOLD, 1 << 30)
    mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
