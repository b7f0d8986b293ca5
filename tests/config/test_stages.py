"""SOLVER.STAGE1 and SOLVER.STAGE2 of a file are laid over the rest of it."""

import pytest

from reidtools.config.stages import split_stages

TREE = {
    "SOLVER": {
        "BASE_LR": 1.0,
        "AMP": {"ENABLED": True, "DTYPE": "fp16"},
        "STAGE1": {"BASE_LR": 2.0, "AMP": {"ENABLED": False}, "SAMPLER": {"NAME": "Own"}},
        "STAGE2": {"WARMUP_ITERS": 3},
    },
    "DATALOADER": {"NUM_WORKERS": 1},
}
COMMON = {
    "SOLVER": {"BASE_LR": 1.0, "AMP": {"ENABLED": True, "DTYPE": "fp16"}},
    "DATALOADER": {"NUM_WORKERS": 1},
}


def test_a_stage_is_a_layer_over_the_others():
    notes = []
    assert split_stages(TREE, 1, notes) == (
        COMMON,
        {
            "SOLVER": {"BASE_LR": 2.0, "AMP": {"ENABLED": False}},
            "DATALOADER": {"SAMPLER": {"NAME": "Own"}},
        },
    )
    assert notes == []
    assert split_stages(TREE, 2, notes) == (COMMON, {"SOLVER": {"WARMUP_EPOCHS": 3}})
    assert notes == ["SOLVER.STAGE2.WARMUP_ITERS 3 is read as SOLVER.WARMUP_EPOCHS 3."]


def test_a_stage_that_the_file_does_not_name_is_a_stage_all_the_same():
    assert split_stages(TREE, 0, []) == (COMMON, {"SOLVER": {}})


@pytest.mark.parametrize("tree", [{}, {"SEED": 1}, {"SOLVER": {"BASE_LR": 1.0}}, {"SOLVER": 3}])
def test_a_tree_without_stages(tree):
    assert split_stages(tree, 1, []) == (tree, {})


def test_the_warm_up_of_stage_1_begins_at_a_rate():
    stage = {"BASE_LR": 4e-4, "WARMUP_LR_INIT": 1e-5, "WARMUP_ITERS": 9, "WARMUP_EPOCHS": 2}
    notes = []
    _, own = split_stages({"SOLVER": {"STAGE1": stage}}, 1, notes)
    assert own["SOLVER"] == {"BASE_LR": 4e-4, "WARMUP_FACTOR": 0.025, "WARMUP_EPOCHS": 2}
    assert notes == [
        "SOLVER.STAGE1.WARMUP_LR_INIT 1e-05 is read as SOLVER.WARMUP_FACTOR 0.025.",
        "SOLVER.STAGE1.WARMUP_ITERS has no effect here: WARMUP_EPOCHS counts in stage 1.",
    ]
