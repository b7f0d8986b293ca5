"""Translates configs of other toolboxes, by the tables in `foreign`.

`translate` rewrites a tree of theirs into ours and says what it did, naming our key. A key that
asks for something we do not have is an error, never dropped in silence; one that had no effect
there, or can have none here, is left out with a word.
"""

from collections.abc import Callable, Iterable
from typing import Any

from reidtools.config.foreign import (
    ABSENT,
    COUNTS_PEOPLE,
    DATASET_NAMES,
    RENAMED,
    VALUES,
    WITHOUT_EFFECT,
)
from reidtools.registry import DATASETS

Tree = dict[str, Any]


def dataset_names(names: Any) -> list[str]:
    """``market1501``, ``("Market1501",)`` or a list, as a list of our names.

    A name that is no dataset of ours stays as typed: it may be a folder.
    """
    if isinstance(names, str):
        names = names.strip("()[] ").replace("'", "").replace('"', "").split(",")
    words = [str(name).strip() for name in names or []]
    known = [DATASET_NAMES.get(word.lower(), word.lower()) for word in words]
    ours = {*DATASETS, *DATASET_NAMES.values()}
    return [k if k in ours else word for k, word in zip(known, words, strict=True) if word]


def translate(tree: Tree) -> tuple[Tree, list[str]]:
    """`tree` in our vocabulary, and a sentence for each thing that was changed or left out.

    A key of theirs wins over ours of the same meaning, which can only come from a base file. Raises
    ValueError for a switch that asks for what we do not have.
    """
    flat, notes = flatten(tree), []
    people = any(key in flat for key in COUNTS_PEOPLE)
    for step in (_fastreid_backbone, _fastreid_losses, _switches, _pixels, _resume):
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
    if people and "SOLVER.IMS_PER_BATCH" in flat:
        pictures = flat.get("DATALOADER.SAMPLER.NUM_INSTANCE", 4) * flat["SOLVER.IMS_PER_BATCH"]
        notes.append(f"SOLVER.IMS_PER_BATCH counts people there; here it is {pictures} pictures.")
        flat["SOLVER.IMS_PER_BATCH"] = pictures
    return unflatten(flat.items()), notes


def flatten(tree: Tree, path: str = "") -> dict[str, Any]:
    """Nested to dotted keys; an empty node stays, as an empty dict."""
    flat = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            flat.update(flatten(value, here))
        else:
            flat[here] = value
    return flat


def unflatten(items: Iterable[tuple[str, Any]]) -> Tree:
    """Dotted to nested keys."""
    tree: Tree = {}
    for key, value in items:
        *route, last = key.split(".")
        node = tree
        for part in route:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        if not (value == {} and last in node):
            node[last] = value
    return tree


def _move(flat: dict[str, Any], old: str, new: str, value: Any, notes: list[str]) -> None:
    theirs = flat.pop(old)
    flat[new] = value
    notes.append(f"{old} {theirs} is read as {new} {value}.")


def _switches(flat: dict[str, Any]) -> list[str]:
    """ENABLED: off becomes a probability of 0, on needs nothing, absent things are refused."""
    for key, what in ABSENT.items():
        asked = flat.pop(key, None)
        if asked and asked != "False":
            raise ValueError(f"{key} {asked} asks for {what}, which is not here; remove the key.")
        rest = key.removesuffix("ENABLED") if key.endswith(".ENABLED") else f"{key}."
        for option in [k for k in flat if k.startswith(rest)]:
            del flat[option]
    for switch, ours in (("FLIP", "FLIP_PROB"), ("REA", "REA_PROB"), ("PADDING", "PADDING")):
        if flat.pop(f"INPUT.{switch}.ENABLED", True) is False:
            flat[f"INPUT.{ours}"] = 0
            flat.pop(f"INPUT.{switch}.PROB", None)
            flat.pop(f"INPUT.{switch}.SIZE", None)
    flat.pop("INPUT.PADDING.MODE", None)
    return []


def _pixels(flat: dict[str, Any]) -> list[str]:
    """FastReID counts pixels from 0 to 255 and keeps the statistics with the model."""
    notes: list[str] = []
    for name in ("PIXEL_MEAN", "PIXEL_STD"):
        if f"MODEL.{name}" in flat:
            value = [round(v / 255, 6) for v in flat[f"MODEL.{name}"]]
            _move(flat, f"MODEL.{name}", f"INPUT.{name}", value, notes)
    return notes


def _resume(flat: dict[str, Any]) -> list[str]:
    """SNU_ReID: RESUME_TRAINING True makes MODEL.PRETRAIN_PATH the checkpoint to resume from."""
    if flat.pop("MODEL.RESUME_TRAINING", False) is not True:
        return []
    path = flat.pop("MODEL.PRETRAIN_PATH", "") or flat.get("MODEL.WEIGHTS", "")
    if not path:
        raise ValueError("MODEL.RESUME_TRAINING True needs MODEL.PRETRAIN_PATH, the checkpoint.")
    flat["RESUME"] = path
    return [f"MODEL.RESUME_TRAINING and MODEL.PRETRAIN_PATH are read as RESUME {path}."]


def _fastreid_backbone(flat: dict[str, Any]) -> list[str]:
    """``build_resnet_backbone`` + DEPTH + WITH_IBN name one backbone."""
    name = flat.get("MODEL.BACKBONE.NAME")
    if not (isinstance(name, str) and name.startswith("build_")):
        return []
    depth = str(flat.pop("MODEL.BACKBONE.DEPTH", "50x"))
    ibn = flat.pop("MODEL.BACKBONE.WITH_IBN", False)
    make: dict[str, Callable[[], str]] = {
        "build_resnet_backbone": lambda: f"resnet{depth.rstrip('x')}{'_ibn_a' if ibn else ''}",
        "build_osnet_backbone": lambda: f"osnet_{'ibn_' if ibn else ''}{depth}",
        "build_vit_backbone": lambda: f"vit_{depth}_patch16",
    }
    if name not in make:
        raise ValueError(f"MODEL.BACKBONE.NAME {name} is not here; try NAME timm with TIMM_NAME.")
    new = flat["MODEL.BACKBONE.NAME"] = make[name]()
    if name == "build_osnet_backbone":
        flat["MODEL.BACKBONE.FC"] = False
    return [f"MODEL.BACKBONE.NAME {name} is read as {new}."]


def _fastreid_losses(flat: dict[str, Any]) -> list[str]:
    """``LOSSES.NAME: (…)`` with CE and TRI beside it; a loss that is not named does not count."""
    neck = flat.pop("MODEL.HEADS.WITH_BNNECK", None)
    if neck is False and flat.get("MODEL.HEADS.NAME") == "EmbeddingHead":
        flat["MODEL.HEADS.NAME"] = "Linear"
    layer = flat.pop("MODEL.HEADS.CLS_LAYER", "Linear")
    if layer not in ("Linear", "linear"):
        raise ValueError(f"MODEL.HEADS.CLS_LAYER {layer} is not here; Linear is.")
    for key in ("MODEL.HEADS.SCALE", "MODEL.HEADS.MARGIN"):
        flat.pop(key, None)
    if "MODEL.LOSSES.NAME" not in flat:
        return []
    names = flat.pop("MODEL.LOSSES.NAME")
    names = names.strip("() ").split(",") if isinstance(names, str) else names
    names = [word for name in names if (word := str(name).strip(" \"'"))]
    nodes = {"CE": "CrossEntropyLoss", "TRI": "TripletLoss"}
    keys = {"SCALE": "WEIGHT"}
    for key in [k for k in flat if k.startswith("MODEL.LOSSES.") and k.count(".") == 3]:
        _, _, node, option = key.split(".")
        value = flat.pop(key)
        if nodes.get(node) in names:
            flat[f"MODEL.LOSSES.{nodes[node]}.{keys.get(option, option)}"] = value
    for name in names:
        if not any(k.startswith(f"MODEL.LOSSES.{name}.") for k in flat):
            flat[f"MODEL.LOSSES.{name}"] = {}
    if "CrossEntropyLoss" in names:
        flat["MODEL.LOSSES.CrossEntropyLoss.VARIANT"] = "fastreid"
    if flat.get("MODEL.LOSSES.TripletLoss.NORM_FEAT") is True:
        flat["MODEL.LOSSES.TripletLoss.DISTANCE"] = "squared_euclidean"
    return [f"MODEL.LOSSES.NAME is read as the losses {', '.join(names)}."]
