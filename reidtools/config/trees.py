"""What is done to trees of keys, whoever's words they are in: read, merge, flatten."""

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from reidtools.config.defaults import ONE

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

    In a slot of one component, a new NAME replaces the node, the old options and all.
    """
    if path in ONE and over.get("NAME", base.get("NAME")) != base.get("NAME") and "NAME" in base:
        return deepcopy(over)
    merged = deepcopy(base)
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


def make_room(flat: Tree, node: str, name: str) -> None:
    """Take the slot `node` out of dotted keys if another component than `name` fills it.

    So the options that a base file gave that one go with it.
    """
    if flat.get(f"{node}.NAME", name) != name:
        for key in [key for key in flat if key.startswith(f"{node}.")]:
            del flat[key]
