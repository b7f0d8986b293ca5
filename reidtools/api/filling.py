"""What a training finds for its losses in the file that it begins with."""

import logging
from collections.abc import Mapping
from typing import Any

from yacs.config import CfgNode

from reidtools.api.recipes import recipe
from reidtools.engine.objective import Objective
from reidtools.modeling import weights
from reidtools.modeling.clip_files import of_objective

LOGGER = logging.getLogger("reidtools")


def fill_objective(
    cfg: CfgNode, objective: Objective, start: Mapping[str, Any], source: str
) -> None:
    """Put what the file `source` has for losses with texts into them: prompts, the text tower.

    A loss may have parts that must come from there; a ValueError says so if they do not.
    Classifiers begin anew: that there are as many people does not say that they are the same.
    """
    texts = [f"losses.{name}." for name, loss in objective.losses.items() if hasattr(loss, "text")]
    own = {k: v for k, v in objective.state_dict().items() if k.startswith(tuple(texts))}
    found = start.get("objective") or of_objective(weights.state_of(start), own)
    other = [name for name in found if name in own and found[name].shape != own[name].shape]
    loaded = {name: tensor for name, tensor in found.items() if name in own and name not in other}
    for name, loss in objective.losses.items():
        for entry in getattr(loss, "must_be_loaded", ()):
            entry = f"losses.{name}.{entry}"
            if entry in other and len(found[entry]) != len(own[entry]):
                raise ValueError(
                    f"{source} has prompts of {len(found[entry])} people, and the training set has "
                    f"{len(own[entry])}; learn prompts of these people first, with stage 1."
                )
            if entry in other:
                raise ValueError(
                    f"{source} has prompts of {tuple(found[entry].shape)} words and values, not "
                    f"{tuple(own[entry].shape)}; use the TEMPLATE and MODEL.TEXT they were "
                    "learned with."
                )
            if entry not in loaded:
                raise ValueError(
                    f"{name} without LEARN takes prompts that were learned before, and "
                    f"{source or 'MODEL.WEIGHTS, which is empty,'} has none; train stage 1 first "
                    "(tools/train_clipreid.py does both) and name its file in MODEL.WEIGHTS."
                )
    if "losses.PromptLoss.prefix" in loaded:
        _check_prompts(cfg, start, source)
    if other:
        LOGGER.warning("Of other people, hence new here: %s", weights.some(other))
    if loaded:
        objective.load_state_dict(loaded, strict=False)
        LOGGER.info("Losses: %d tensors are those of %s", len(loaded), source)


def _check_prompts(cfg: CfgNode, start: Mapping[str, Any], source: str) -> None:
    """Raise a ValueError if the prompts of a file that says it are of other people or words."""
    before = recipe(start)
    if not before:
        return
    then, now = before["MODEL"]["LOSSES"].get("PromptLoss", {}), cfg.MODEL.LOSSES.PromptLoss
    names = before["DATASETS"]["NAMES"]
    if not now.LEARN and names != cfg.DATASETS.NAMES:
        raise ValueError(
            f"{source} has prompts of the people of {', '.join(names)}; learn those of "
            f"{', '.join(cfg.DATASETS.NAMES)} first, with stage 1."
        )
    if then.get("TEMPLATE", now.TEMPLATE) != now.TEMPLATE:
        raise ValueError(
            f"{source} was learned with the TEMPLATE {then['TEMPLATE']!r}, not {now.TEMPLATE!r}; "
            "use the same, or learn anew from CLIP's own weights."
        )
