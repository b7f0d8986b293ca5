"""A training of stages in one file: SOLVER.STAGE1 and SOLVER.STAGE2, each laid over the rest."""

from typing import Any

from reidtools.config.clip_training import rate
from reidtools.config.trees import Tree

STAGES = ("STAGE0", "STAGE1", "STAGE2")


def split_stages(tree: Tree, stage: int, notes: list[str]) -> tuple[Tree, Tree]:
    """What all stages of `tree` have, and what one `stage` has to be laid over it.

    SOLVER.STAGE<stage>.X becomes SOLVER.X, and SAMPLER of a stage DATALOADER.SAMPLER; what other
    stages have goes. The words may be theirs or ours, but WARMUP_ITERS of a stage counts epochs, as
    there. A sentence for each that is translated joins `notes`; the rest is still theirs. The
    second tree is empty only where `tree` has no stages. Raises TypeError for a stage that holds no
    keys, ValueError for a rate that cannot be.
    """
    solver = tree.get("SOLVER")
    if not isinstance(solver, dict) or not any(name in solver for name in STAGES):
        return tree, {}
    for name in STAGES:
        if not isinstance(solver.get(name) or {}, dict):
            raise TypeError(f"SOLVER.{name} is {solver[name]!r}; it holds keys, such as MAX_EPOCH.")
    common = {**tree, "SOLVER": {k: value for k, value in solver.items() if k not in STAGES}}
    own = _in_our_words(solver.get(f"STAGE{stage}") or {}, stage, notes)
    drawn = {"DATALOADER": {"SAMPLER": own.pop("SAMPLER")}} if "SAMPLER" in own else {}
    return common, {"SOLVER": own, **drawn}


def _in_our_words(own: Tree, stage: int, notes: list[str]) -> Tree:
    """The keys of one stage, in our words where they can be, as they may lie over files of ours."""
    own, here = dict(own), f"SOLVER.STAGE{stage}"

    def read(key: str, ours: str, value: Any) -> None:
        notes.append(f"{here}.{key} {own.pop(key)} is read as SOLVER.{ours} {value}.")
        own[ours] = value

    for key, ours in (("MAX_EPOCHS", "MAX_EPOCH"), ("OPTIMIZER_NAME", "OPT")):
        if key in own:
            read(key, ours, own[key])
    if stage == 1 and "LR_MIN" in own:
        read("LR_MIN", "ETA_MIN_LR", rate(f"{here}.LR_MIN", own["LR_MIN"]))
    if stage == 1 and {"WARMUP_LR_INIT", "BASE_LR"} <= own.keys():
        start, base = (rate(f"{here}.{key}", own[key]) for key in ("WARMUP_LR_INIT", "BASE_LR"))
        read("WARMUP_LR_INIT", "WARMUP_FACTOR", start / base)
    if stage == 1 and {"WARMUP_ITERS", "WARMUP_EPOCHS"} <= own.keys():
        del own["WARMUP_ITERS"]
        notes.append(f"{here}.WARMUP_ITERS has no effect here: WARMUP_EPOCHS counts in stage 1.")
    elif "WARMUP_ITERS" in own:
        read("WARMUP_ITERS", "WARMUP_EPOCHS", own["WARMUP_ITERS"])
    return own
