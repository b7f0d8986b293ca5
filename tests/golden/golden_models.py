"""The golden embeddings: layouts of state dicts, rule-made weights, and what a vector must be."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import golden_inputs
import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parent
MANIFESTS = json.loads(gzip.decompress((FOLDER / "manifests.json.gz").read_bytes()))
EMBEDDINGS = {e["id"]: e for e in json.loads((FOLDER / "embeddings.json").read_text())}


def rule_made(manifest: str) -> dict[str, torch.Tensor]:
    """The state dict of a manifest, every tensor made by the rule from its name."""
    keys = MANIFESTS[manifest]["keys"]
    return {k: torch.from_numpy(golden_inputs.det(k, s).copy()).reshape(s) for k, s, _ in keys}


def assert_rows(rows: torch.Tensor, expected: Sequence[dict], tolerance: float) -> None:
    """All that is stored of each row, within the tolerance relative to its largest value.

    `probe` is a weighted sum of all values, so it sees every one of them.
    """
    for row, told in zip(rows.double().numpy(), expected, strict=True):
        found, limit = golden_inputs.describe(row), tolerance * np.abs(row).max()
        assert found["dim"] == told["dim"]
        assert np.abs(found["first"] - told["first"]).max() <= limit
        assert found["mean"] == pytest.approx(told["mean"], abs=limit)
        assert found["std"] == pytest.approx(told["std"], abs=limit)
        assert found["l2"] == pytest.approx(told["l2"], rel=tolerance)
        assert found["probe"] == pytest.approx(told["probe"], abs=limit * np.sqrt(row.size))
