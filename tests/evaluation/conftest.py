"""Golden entries of public projects (tests/golden/README.md) and the vectors they belong to."""

import json
from pathlib import Path

import golden_inputs
import pytest
import torch
from torch.nn import functional as F

from reidtools.evaluation import Vectors

GOLDEN = Path(__file__).parents[1] / "golden" / "eval.json"


@pytest.fixture(scope="session")
def golden():
    """Golden entries by id."""
    return {entry["id"]: entry for entry in json.loads(GOLDEN.read_text())}


@pytest.fixture(scope="session")
def golden_sides():
    """``golden_sides("raw")`` -> query, gallery in float64; also normalised, ties, with_junk."""

    def sides(kind: str) -> tuple[Vectors, Vectors]:
        data = golden_inputs.eval_ties() if kind == "ties" else golden_inputs.eval_data()
        names = ("gf_all", "gp_all", "gc_all") if kind == "with_junk" else ("gf", "gp", "gc")
        made = []
        for features, pids, camids in (("qf", "qp", "qc"), names):
            vectors = torch.from_numpy(data[features])
            if kind == "normalised":
                vectors = F.normalize(vectors)
            if kind.startswith("raw_scaled_"):
                vectors = vectors * float(kind.removeprefix("raw_scaled_"))
            made.append(
                Vectors(vectors, torch.from_numpy(data[pids]), torch.from_numpy(data[camids]))
            )
        return made[0], made[1]

    return sides


@pytest.fixture(scope="session")
def assert_sampled():
    """Compare a matrix with the positions and the sum that a golden entry holds."""

    def compare(matrix: torch.Tensor, expected: dict, tolerance: float) -> None:
        assert list(matrix.shape) == expected["shape"]
        values = matrix[expected["rows"], expected["cols"]]
        wanted = torch.tensor(expected["values"], dtype=values.dtype)
        assert (values - wanted).abs().max() <= tolerance
        assert matrix.sum().item() == pytest.approx(
            expected["sum"], abs=tolerance * matrix.numel(), rel=1e-7
        )

    return compare
