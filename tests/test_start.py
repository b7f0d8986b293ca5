"""What a program need not wait for before its work begins."""

import subprocess
import sys

import torch

from reidtools.api.testing import seeded_device
from reidtools.config.load import load


def loaded_after(program):
    """The modules that a fresh Python has loaded after `program`."""
    told = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_test_does_not_load_torch_s_compiler():
    """It takes a second, which a training spends for its optimizer, and a test for nothing."""
    modules = loaded_after(
        "from reidtools.api.testing import seeded_device\n"
        "from reidtools.config.load import load\n"
        "seeded_device(load('', ['MODEL.DEVICE', 'cpu']))"
    )
    assert "reidtools.build" in modules and "torch" in modules
    assert not {"torch._dynamo", "torch._inductor"} & modules


def test_determinism_is_what_the_config_says_whatever_it_was():
    cpu = ["MODEL.DEVICE", "cpu"]
    try:
        for wanted in (False, True, True, False):
            seeded_device(load("", [*cpu, "DETERMINISTIC", str(wanted)]))
            assert torch.are_deterministic_algorithms_enabled() is wanted
            assert torch.backends.cudnn.benchmark is not wanted
            assert not wanted or torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
