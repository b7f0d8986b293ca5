"""What a training finds for its losses in the file that it begins with."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from reidtools.api.recipes import recipe
from reidtools.data.samples import Sample
from reidtools.engine.objective import Objective
from reidtools.modeling import clip_files, layouts, weights

LOGGER = logging.getLogger("reidtools")
PEOPLE = ("classifier.weight", "classifier.bias", "centers")  # what has a row for each person


def fill_objective(
    cfg: CfgNode,
    objective: Objective,
    start: Mapping[str, Any],
    source: str,
    samples: Sequence[Sample],
) -> None:
    """Put what the file `source` has for losses into them.

    Losses with texts get prompts and the text tower; they may have parts that must come from there,
    and a ValueError says so if they do not. Classifiers and centres go on where the file has them
    of the people of `samples`: one of ours if it was trained on the same datasets, one of others if
    it has as many people.
    """
    _fill_texts(cfg, objective, start, source)
    own = objective.state_dict()
    if not source or not any(name.endswith(PEOPLE) for name in own):
        return
    found, why = _of_people(cfg, start, own, samples)
    fits = {name: t for name, t in found.items() if t.shape == own[name].shape}
    if fits:
        objective.load_state_dict(fits, strict=False)
        LOGGER.info(
            "Losses: %s go on as in %s, for %d people, taken for the same.",
            weights.some(sorted(name.removeprefix("losses.") for name in fits)),
            source,
            len(next(iter(fits.values()))),
        )
    else:
        if found:
            theirs = len(next(iter(found.values())))
            ours = len({sample.pid for sample in samples})
            lengths = "have other lengths" if theirs == ours else f"are of {theirs} people"
            why = f"those of {source} {lengths}, not {'ours' if theirs == ours else f'of {ours}'}"
        LOGGER.info("Classifiers and centres begin anew: %s.", why)


def _of_people(
    cfg: CfgNode,
    start: Mapping[str, Any],
    own: Mapping[str, Tensor],
    samples: Sequence[Sample],
) -> tuple[dict[str, Tensor], str]:
    """What the file `start` has with a row for each person, by our names, in our order.

    Where it has none, why.
    """
    if before := recipe(start):
        names = before["DATASETS"]["NAMES"]
        if names != cfg.DATASETS.NAMES:
            return {}, f"the file was trained on {', '.join(names)}"
        kept = start.get("objective", {})
        found = {name: kept[name] for name in own if name.endswith(PEOPLE) and name in kept}
        return found, "the file has none"
    if len(cfg.DATASETS.NAMES) > 1:
        return {}, "in which order the file has people of several sets is not known"
    state = weights.state_of(start)
    layout = layouts.layout_of(state, cfg.MODEL.WEIGHTS_FORMAT)
    rows = {}
    for name, tensor in layouts.of_objective(state, layout).items():
        loss, branch, rest = name.split(".", 2)
        if loss == layouts.XENT and not any(f".{loss}." in key for key in own):
            loss = "FocalLoss"  # the other one with a classifier
        # Of several branches, of one.
        names = f"losses.{loss}.{branch}.{rest}", f"losses.{loss}.{rest}"
        ours = names[0] if names[0] in own else names[1]
        if ours in own and (ours == names[0] or branch == "0"):
            rows[ours] = tensor
    people = {sample.pid for sample in samples}
    pids = sorted(people)
    if not layout.by_text and list(people) != pids:
        # Others number the people as a set of Python gives them: in order, unless numbers are high.
        return {}, "in which order the file has these people is not sure"
    if layout.by_text and all(len(tensor) == len(pids) for tensor in rows.values()):
        theirs = {pid: place for place, pid in enumerate(sorted(pids, key=str))}
        places = torch.tensor([theirs[pid] for pid in pids])
        rows = {name: tensor[places] for name, tensor in rows.items()}
    return rows, "the file has none"


def _fill_texts(cfg: CfgNode, objective: Objective, start: Mapping[str, Any], source: str) -> None:
    """Prompts and the text tower of the file `source`, for losses that have some."""
    texts = [f"losses.{name}." for name, loss in objective.losses.items() if hasattr(loss, "text")]
    own = {k: v for k, v in objective.state_dict().items() if k.startswith(tuple(texts))}
    found = start.get("objective") or clip_files.of_objective(weights.state_of(start), own)
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
