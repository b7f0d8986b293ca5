"""Translates configs of other toolboxes, by the tables in `foreign`.

`translate` rewrites a tree of theirs into ours and says what it did, naming our key. A key that
asks for something we do not have is an error, never dropped in silence; one that had no effect
there, or can have none here, is left out with a word.
"""

from ast import literal_eval
from contextlib import suppress
from typing import Any

import yaml

from reidtools.config import clip_document, fastreid, mars_document
from reidtools.config.foreign import (
    ABSENT,
    COUNTS_PEOPLE,
    DATASET_NAMES,
    RENAMED,
    STARTS,
    VALUES,
    WITHOUT_EFFECT,
)
from reidtools.config.trees import Tree, flatten, make_room, unflatten
from reidtools.registry import DATASETS

SWITCHES = tuple(key.removesuffix("ENABLED") for key in ABSENT if key.endswith(".ENABLED"))
NODES = (*STARTS, *mars_document.STARTS, *SWITCHES)


def dataset_names(names: Any) -> list[str]:
    """``market1501``, ``("Market1501",)`` or a list, as a list of our names.

    A name that is no dataset of ours stays as typed: it may be a folder. An ``@variant`` after it
    stays. Twice the same name is a ValueError.
    """
    if isinstance(names, str) and names.startswith(("(", "[")):
        names = plain(names)
    if not isinstance(names, list | tuple):
        names = [names]
    words = [str(name).strip() for name in names if name not in ("", None)]
    found = []
    for word in words:
        name, at, variant = word.partition("@")
        known = name.lower() in DATASETS
        found.append((name.lower() if known else DATASET_NAMES.get(name, name)) + at + variant)
    if len(set(found)) < len(found):
        raise ValueError(f"A dataset is named twice in {', '.join(found)}; name each once.")
    return found


def plain(value: Any) -> Any:
    """What a word on the command line, or a tuple in a YAML file, stands for."""
    if not isinstance(value, str) or not value:
        return value
    with suppress(yaml.YAMLError):
        value = yaml.safe_load(value)
    if isinstance(value, str):
        with suppress(SyntaxError, ValueError):
            value = literal_eval(value)
    return value


def is_foreign(key: str) -> bool:
    """Whether a dotted key may need translation."""
    tables = (RENAMED, VALUES, WITHOUT_EFFECT, ABSENT, mars_document.NODES, clip_document.KEYS)
    return key.startswith(NODES) or any(key in table for table in tables)


def in_our_words(tree: Tree) -> Tree:
    """That part of `tree` whose keys and values need no translation."""
    flat = flatten(tree)
    theirs_alone = str(flat.get("MODEL.BACKBONE.NAME", "")).startswith("build_")
    theirs = (*clip_document.two_meanings(flat), *(fastreid.SIDE_OPTIONS if theirs_alone else ()))
    return unflatten(
        (key, value)
        for key, value in flat.items()
        if not (is_foreign(key) or key in theirs or str(value).startswith("build_"))
        or (VALUES.get(key, ("",))[0] == key and value not in VALUES[key][1])
    )


def counts_people(tree: Tree) -> bool:
    """Whether SOLVER.IMS_PER_BATCH in `tree`, what files say, counts people, as in SNU_ReID."""
    flat = flatten(tree)
    return "SOLVER.IMS_PER_BATCH" in flat and any(key in flat for key in COUNTS_PEOPLE)


def translate(tree: Tree, people: bool = False, stage: int | None = None) -> tuple[Tree, list[str]]:
    """`tree` in our vocabulary, and a sentence for each thing that was changed or left out.

    A key of theirs wins over ours of the same meaning, which can only come from a base file.
    `people` says that SOLVER.IMS_PER_BATCH counts people; `stage` is the one that is wanted of a
    training of stages. Raises ValueError for a switch that asks for what we do not have.
    """
    flat = flatten(tree)
    words = (*mars_document.WORDS, *clip_document.WORDS)
    flat |= {key: plain(flat[key]) for key in flat if is_foreign(key) and key not in words}
    notes = clip_document.clip_yaml(flat, stage)
    for step in STEPS:
        notes += step(flat)
    for key in [key for key in flat if key in RENAMED]:
        _move(flat, key, RENAMED[key], flat[key], notes)
    for key in [key for key in flat if key in VALUES]:
        new, table = VALUES[key]
        value = table.get(flat[key], flat[key]) if isinstance(flat[key], str) else flat[key]
        if (new, value) != (key, flat[key]):
            _move(flat, key, new, value, notes)
    for key in [key for key in flat if key in WITHOUT_EFFECT]:
        del flat[key]
        notes.append(f"{key} has no effect here: {WITHOUT_EFFECT[key]}.")
    if "SOLVER.EVAL_PERIOD" in flat:
        flat["SOLVER.CHECKPOINT_PERIOD"] = flat["SOLVER.EVAL_PERIOD"]
        _move(flat, "SOLVER.EVAL_PERIOD", "TEST.EVAL_PERIOD", flat["SOLVER.EVAL_PERIOD"], notes)
    if flat.get("DATALOADER.SAMPLER.NAME") in ("RandomSampler", "ImbalancedDatasetSampler"):
        flat.pop("DATALOADER.SAMPLER.NUM_INSTANCE", None)
    if not flat.get("DATALOADER.SAMPLER.SET_WEIGHT", True):  # as it is by default there
        del flat["DATALOADER.SAMPLER.SET_WEIGHT"]
    if people and flat.pop("OUTPUT_DIR", None):
        notes.append("OUTPUT_DIR in a file of theirs is for tools on folders; runs go to logs/.")
    if people:
        each = int(flat.get("DATALOADER.SAMPLER.NUM_INSTANCE", 4))
        pictures = flat["SOLVER.IMS_PER_BATCH"] = each * int(flat["SOLVER.IMS_PER_BATCH"])
        notes.append(f"SOLVER.IMS_PER_BATCH counts people there; here it is {pictures} pictures.")
    return unflatten(flat.items()), notes


def _move(flat: dict[str, Any], old: str, new: str, value: Any, notes: list[str]) -> None:
    theirs = flat.pop(old)
    if value in ("", None) and new in flat:
        return  # a default of theirs that says nothing
    flat[new] = value
    notes.append(f"{old} {theirs} is read as {new} {value}.")


def _flip(flat: dict[str, Any]) -> list[str]:
    """TEST.FLIP.ENABLED: FastReID takes the mean of the raw embeddings of both views."""
    notes: list[str] = []
    for key in ("TEST.FLIP.ENABLED", "TEST.FLIP_ENABLED"):
        if key in flat:
            _move(flat, key, "TEST.FLIP", "raw" if flat[key] else "off", notes)
    return notes


def _pixels(flat: dict[str, Any]) -> list[str]:
    """FastReID counts pixels from 0 to 255 and keeps the statistics with the model."""
    notes: list[str] = []
    for name in ("PIXEL_MEAN", "PIXEL_STD"):
        if f"MODEL.{name}" in flat:
            value = flat[f"MODEL.{name}"]
            if max(value) > 1:  # centroids-reid and others count from 0 to 1 already
                value = [round(v / 255, 6) for v in value]
            _move(flat, f"MODEL.{name}", f"INPUT.{name}", value, notes)
    return notes


def _resume(flat: dict[str, Any]) -> list[str]:
    """SNU_ReID: RESUME_TRAINING True makes MODEL.PRETRAIN_PATH the checkpoint to resume from."""
    if not flat.pop("MODEL.RESUME_TRAINING", False):
        return []
    path = flat.pop("MODEL.PRETRAIN_PATH", "") or flat.get("MODEL.WEIGHTS", "")
    if not path:
        raise ValueError("MODEL.RESUME_TRAINING True needs MODEL.PRETRAIN_PATH, the checkpoint.")
    flat["RESUME"] = path
    return [f"MODEL.RESUME_TRAINING and MODEL.PRETRAIN_PATH are read as RESUME {path}."]


def _snu_backbone(flat: dict[str, Any]) -> list[str]:
    """MODEL.NAME chooses a backbone; options that a base file gave another one go."""
    if "MODEL.NAME" in flat:
        make_room(flat, "MODEL.BACKBONE", flat["MODEL.NAME"])
    return []


def _centroids(flat: dict[str, Any]) -> list[str]:
    """SNU_ReID, centroids-reid: USE_CENTROIDS adds a loss, whose margin is the triplet loss's."""
    if flat.pop("FINETUNE_OCT", False):
        raise ValueError(
            "FINETUNE_OCT True asks for octuplet fine-tuning; call tools/finetune_octuplet.py, or "
            "lay configs/octuplet.yml over the config."
        )
    notes, loss = [], "MODEL.LOSSES.CentroidTripletLoss"
    if flat.pop("MODEL.USE_CENTROIDS", False):
        flat[f"{loss}.WEIGHT"] = 1.0
        flat["TEST.CENTROIDS.ENABLED"] = True
        if flat.get("METHOD", "baseline") == "baseline":
            flat["METHOD"] = "ctl"
        notes.append("MODEL.USE_CENTROIDS True is read as CentroidTripletLoss and METHOD ctl.")
    weight = flat.pop("SOLVER.CENTROID_CONTRASTIVE_WEIGHT", None)
    if not any(key.startswith(loss) for key in flat):
        return notes
    theirs = {"WEIGHT": weight, "MARGIN": flat.get("SOLVER.MARGIN")}
    theirs["DISTANCE"] = flat.get("SOLVER.DISTANCE_FUNC")
    for option, value in theirs.items():
        if value is not None:
            flat[f"{loss}.{option}"] = value
            notes.append(f"{loss}.{option} is {value}, by SNU_ReID's key for it.")
    return notes


STEPS = (
    *(mars_document.mars_yaml, fastreid.network, fastreid.norms, _snu_backbone, fastreid.losses),
    *(_centroids, fastreid.pictures, _flip, _pixels, _resume),
)
