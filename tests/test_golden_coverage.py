"""Every golden entry is a test: the ids that test modules run through are those of the files.

A module that tests some names them in a constant, from which its tests take them.
"""

import json
import sys
from importlib import util
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Where the entries of each file are tested: module and the constant that its tests run through.
CLAIMS = {
    "losses": [
        "losses/test_losses_golden.CASES",
        "losses/test_margins_golden.CASES",
        "losses/test_pair_losses.CASES",
        "losses/test_branches_golden.CASES",
        "losses/test_contrast.CASES",
        "losses/test_contrast.TOTALS",
        "losses/test_centroid_triplet.CASES",
        "losses/test_octuplet.CASES",
    ],
    "eval": [
        "evaluation/test_ranking.GOLDEN_IDS",
        "evaluation/test_reranking.GOLDEN_IDS",
        "evaluation/test_expansion.GOLDEN_IDS",
        "evaluation/test_centroids.GOLDEN_IDS",
        "evaluation/test_verification.GOLDEN_IDS",
        "evaluation/test_density.GOLDEN_IDS",
    ],
    "lr": ["solver/test_schedules.GOLDEN_IDS"],
    "embeddings": [
        "modeling/test_embedding_golden.ENTRIES",
        "modeling/test_clip_golden.ENTRIES",
        "modeling/test_transreid_golden.ENTRIES",
    ],
    "text_and_pos": ["modeling/test_tokens.GOLDEN", "modeling/test_clip_golden.POSITIONS"],
    "samplers": [
        "data/test_samplers.GOLDEN_IDS",
        "data/test_samplers_people.GOLDEN_IDS",
        "data/test_samplers_golden.GOLDEN_IDS",
    ],
}


def entries_of(file):
    """The ids of a golden file. Those of samplers have none: project and sampler stand for it."""
    found = json.loads((TESTS / "golden" / f"{file}.json").read_text(encoding="utf-8"))
    if file == "text_and_pos":
        found = [found["tokenizer"], *found["pos_embed"]]
    if file == "samplers":
        return [f"{entry['source']}: {name}" for entry in found for name in entry["samplers"]]
    return [entry["id"] for entry in found]


def module_at(path):
    """A test module, the one that pytest has imported if it has."""
    if path.stem not in sys.modules:
        spec = util.spec_from_file_location(path.stem, path)
        spec.loader.exec_module(sys.modules.setdefault(path.stem, util.module_from_spec(spec)))
    return sys.modules[path.stem]


def claimed(claim):
    """The ids behind a claim: of one entry, or of many by entry or id."""
    path, constant = claim.rsplit(".", 1)
    value = getattr(module_at(TESTS / f"{path}.py"), constant)
    several = [value] if "id" in value else value
    return {entry["id"] if isinstance(entry, dict) else entry for entry in several}


@pytest.mark.parametrize("file", CLAIMS)
def test_every_entry_is_tested(file):
    entries = entries_of(file)
    assert len(set(entries)) == len(entries) > 0
    found = [claimed(claim) for claim in CLAIMS[file]]
    assert all(found)
    missing = sorted(set(entries) - set().union(*found))
    assert not missing, f"Nothing tests {missing}; write a test, and name its module in CLAIMS."
    foreign = sorted(set().union(*found) - set(entries))
    assert not foreign, f"{file}.json has no {foreign}."


def test_every_golden_file_is_looked_after():
    """The manifests are the layouts of the embeddings' files."""
    assert {path.stem for path in (TESTS / "golden").glob("*.json")} == set(CLAIMS)
