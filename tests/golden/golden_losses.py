"""The golden entries of losses: which there are, their inputs, and what ours is held against."""

import json
import re
from pathlib import Path

import golden_inputs
import pytest
import torch

ENTRIES = json.loads((Path(__file__).parent / "losses.json").read_text(encoding="utf-8"))
INPUTS = golden_inputs.loss_inputs()


def matching(pattern: str) -> list[dict]:
    """The entries whose ids begin as the regular expression says."""
    return [entry for entry in ENTRIES if re.match(pattern, entry["id"])]


def each_of(entries: list[dict]):
    """Runs a test with every one of them as its ``entry``."""
    return pytest.mark.parametrize("entry", entries, ids=[entry["id"] for entry in entries])


def arrays(entry: dict, dtype: torch.dtype) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The inputs of an entry, which want gradients, and its labels."""
    inputs = [torch.tensor(INPUTS[n], dtype=dtype, requires_grad=True) for n in entry["inputs"]]
    return inputs, torch.tensor(INPUTS[entry["labels"]])


def assert_value(entry: dict, value: torch.Tensor) -> None:
    """The published value, at the tolerance of the entry for the precision of ours."""
    tolerance = entry["tol"][f"{str(value.dtype).removeprefix('torch.')}_rel"]
    assert value.item() == pytest.approx(entry["expect"]["value"], rel=tolerance)


def assert_gradients(entry: dict, gradients: list[torch.Tensor]) -> None:
    """Norm and first four values of the gradient of every input, which is float64."""
    for name, gradient in zip(entry["inputs"], gradients, strict=True):
        norm = entry["expect"]["grad_norm"][name]
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-6)
        first, expected = gradient.flatten()[:4].tolist(), entry["expect"]["grad_first4"][name]
        assert first == pytest.approx(expected, rel=1e-6, abs=1e-6 * norm)
