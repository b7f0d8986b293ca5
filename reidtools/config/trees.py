"""What is done to trees of keys, whoever's words they are in: read, merge, flatten."""

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from reidtools.config.defaults import ONE
from reidtools.registry import options

Tree = dict[str, Any]


def read_yaml(path: Path) -> Tree:
    """The tree in a YAML file; ValueError if there is none in it."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML in UTF-8: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} holds no KEY: value pairs; see configs/ for examples.")
    return tree


def merge(base: Tree, over: Tree, path: str = "") -> Tree:
    """Deep merge, `over` wins; an empty node changes nothing.

    In a slot of one component, a new NAME replaces the node; of the old options those stay that the
    new component has as well.
    """
    merged = deepcopy(base)
    if path in ONE and over.get("NAME", base.get("NAME")) != base.get("NAME") and "NAME" in base:
        theirs = all(str(node["NAME"]).startswith("build_") for node in (base, over))
        stay = merged.keys() if theirs else shared(path, over["NAME"])  # FastReID keeps them all
        merged = {key: value for key, value in merged.items() if key in stay}
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value, f"{path}.{key}" if path else key)
        elif not (isinstance(old, dict) and value is None):
            merged[key] = deepcopy(value)
    return merged


def flatten(tree: Tree, path: str = "") -> Tree:
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


def shared(node: str, name: str) -> set[str]:
    """Options in the slot `node` that may stay when the component `name` comes into it.

    Where it begins (PRETRAIN_PATH) is no matter of another network.
    """
    registry, common = ONE[node]
    if not isinstance(name, str) or name not in registry:  # it is told later
        return set()
    return {key.upper() for key in options(registry[name])} | common.keys() - {"PRETRAIN_PATH"}


def make_room(flat: Tree, node: str, name: str) -> None:
    """Take what only the component before had out of the slot `node` of dotted keys.

    It is for `name`; where that fills it already, nothing goes.
    """
    if flat.get(f"{node}.NAME", name) != name:
        stay = {f"{node}.{option}" for option in shared(node, name)}
        for key in [key for key in flat if key.startswith(f"{node}.") and key not in stay]:
            del flat[key]
