"""Files and overrides become one complete config: merge, translate, grow, check, freeze."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from reidtools.config import compat
from reidtools.config.defaults import AT_LEAST, FIXED, MANY, ONE, defaults
from reidtools.config.hydra_tree import is_hydra, read_hydra
from reidtools.config.stages import split_stages
from reidtools.config.trees import Tree, flatten, merge, read_yaml, unflatten
from reidtools.modeling import zoo
from reidtools.registry import DATASETS, options, unknown

LOGGER = logging.getLogger("reidtools")


def load(
    path: str | Path | Sequence[str | Path] = "",
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> CfgNode:
    """The frozen config of YAML files and ``KEY VALUE`` pairs, over the tree `base`.

    Of several files, later ones win; a file may name others in `_BASE_`. A slot's options come
    from the signature of what fills it, so the result shows every option in force. Raises
    LookupError for an unknown key or name, TypeError for a value of the wrong kind, OSError for a
    file that cannot be read.
    """
    config, notes = resolve(path, overrides, base)
    for note in notes:
        LOGGER.warning(note)
    return config


def resolve(
    path: str | Path | Sequence[str | Path] = "",
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    stage: int = 2,
) -> tuple[CfgNode, list[str]]:
    """What `load` does, with what was translated as sentences instead of warnings.

    SOLVER.STAGE1 and SOLVER.STAGE2 are what one `stage` of a training has otherwise: in files over
    all that files say, typed over all that is typed.
    """
    paths = [path] if isinstance(path, str | Path) else path
    notes: list[str] = []
    split = [split_stages(read(Path(p), notes), stage, notes) for p in paths if p]
    stages = [own for _, own in split if own]
    first, *later = [*(common for common, _ in split), *stages] or [{}]
    first = merge(dict(base or {}), first)
    over: Tree = {}
    for tree in later:
        over = merge(over, tree)
    common, own = split_stages(spell(pairs(overrides)), stage, notes)
    typed, asked = merge(common, own), stage if stages or own else None
    people = compat.counts_people(first)
    # All of it is translated together, because one key of theirs may need another (NAME and DEPTH);
    # then what came later in our own words counts once more, over what came earlier in theirs.
    files = merge(first, over)
    tree, told = compat.translate(merge(files, typed), people, asked)
    tree = spell(tree)
    if over:
        without = flatten(spell(compat.translate(files, people, asked)[0]))
        theirs = {k for k, v in flatten(tree).items() if v != without.get(k)}
        theirs -= flatten(spell(compat.in_our_words(typed))).keys()
        ours = flatten(spell(compat.in_our_words(over)))
        tree = merge(tree, unflatten((k, v) for k, v in ours.items() if k not in theirs))
    tree = merge(tree, spell(compat.in_our_words(typed)))
    return complete(tree), [*notes, *told]


def plain(config: CfgNode | str) -> Tree:
    """A config, or the YAML text of one, as nested dicts."""
    return yaml.safe_load(config if isinstance(config, str) else config.dump())


def with_cameras(config: CfgNode, count: int) -> CfgNode:
    """`config` with `count` cameras, where the backbone has a table and it says no number."""
    backbone = config.MODEL.BACKBONE
    if not backbone.get("SIE_CAMERA") or backbone.CAMERAS:
        return config
    return changed(config, {"MODEL.BACKBONE.CAMERAS": count})


def changed(config: CfgNode, values: Mapping[str, Any]) -> CfgNode:
    """A frozen copy of `config` with other `values`; LookupError for an unknown dotted key."""
    config = config.clone()
    config.defrost()
    for key, value in values.items():
        *route, last = key.split(".")
        node = config
        for part in route:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise unknown("key", key, flatten(plain(config)))
        node[last] = value
    config.freeze()
    return config


def differences(before: str | Mapping[str, Any], config: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value then, value now) where `config` differs from a saved one.

    `before` is its tree, or the YAML text of it; keys that it lacks because they are newer have
    their defaults, and None stands for a key that only the other has.
    """
    saved = plain(before) if isinstance(before, str | CfgNode) else dict(before)
    then, now = (flatten(plain(c)) for c in (complete(saved), config))
    keys = sorted(then.keys() | now.keys())
    return {k: (then.get(k), now.get(k)) for k in keys if then.get(k) != now.get(k)}


def dump(config: CfgNode) -> str:
    """A config as a run saves it: to resume is a request of the moment, not a setting."""
    return changed(config, {"RESUME": ""}).dump()


def complete(tree: Tree) -> CfgNode:
    """Grow, check and freeze `tree`, a tree in our own vocabulary."""
    tree = merge(defaults(), tree)
    check_nodes(tree, defaults())
    full = grow(tree)
    check(tree, full)
    tree = merge(full, tree)
    tree["MODEL"]["WEIGHTS"] = zoo.local(tree["MODEL"]["WEIGHTS"])
    for key, least in AT_LEAST.items():
        value = dig(tree, key)
        if value is not None and not value >= least:  # so that NaN is refused as well
            raise ValueError(f"{key} is {value}; it must be at least {least}.")
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = tree["INPUT"][key]
        empty = key == "SIZE_TEST" and not size
        if not empty and ([type(side) for side in size] != [int, int] or min(size) < 1):
            raise ValueError(f"INPUT.{key} is {size}; it is height and width, like [256, 128].")
    config = CfgNode(tree)
    config.freeze()
    return config


def read(path: Path, notes: list[str], above: tuple[Path, ...] = ()) -> Tree:
    """A YAML file with its `_BASE_` files (one or a list, relative to it) merged under it.

    Of a Hydra tree, the sentences about what was read otherwise join `notes`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no config file {path.absolute()}; see configs/.")
    if path.resolve() in above:
        raise ValueError(f"{path} is its own _BASE_, directly or through others; break the circle.")
    here = read_yaml(path)
    here = spell(read_hydra(path, notes) if is_hydra(here) else here)
    bases = here.pop("_BASE_", [])
    tree: Tree = {}
    for base in bases if isinstance(bases, list) else [bases]:
        tree = merge(tree, read(path.parent / str(base), notes, (*above, path.resolve())))
    return merge(tree, here)


def pairs(overrides: Sequence[str]) -> Tree:
    """``["SOLVER.BASE_LR", "1e-3"]`` as a tree.

    Lists and nodes are read as YAML; a word stays as typed until it is known what is wanted.
    """
    if len(overrides) % 2:
        raise ValueError(f"Overrides come as KEY VALUE pairs; {list(overrides)} has an odd length.")
    tree: Tree = {}
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        node: Any = value
        if isinstance(value, str):
            with suppress(yaml.YAMLError):
                parsed = yaml.safe_load(value)
                node = parsed if isinstance(parsed, dict | list) else value
        for part in reversed(key.split(".")):
            node = {part: node}
        tree = merge(tree, spell(node))
    return tree


def spell(tree: Tree) -> Tree:
    """Short forms written out: ``BACKBONE: resnet50``, ``LOSSES: [TripletLoss]``."""
    tree = deepcopy(tree)
    for path in [*ONE, *MANY]:
        *route, last = path.split(".")
        node = tree
        for part in route:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            continue
        value = node[last]
        if path in ONE and isinstance(value, str):
            node[last] = {"NAME": value}
        elif path in MANY:
            named = {value: {}} if isinstance(value, str) else value or {}
            node[last] = {k: (named[k] or {}) if isinstance(named, dict) else {} for k in named}
    return tree


def dig(tree: Tree, path: str) -> Any:
    """The node of `tree` at a dotted `path`."""
    for key in path.split("."):
        tree = tree[key]
    return tree


def upper(maker: Callable) -> Tree:
    """The options of `maker` as config keys."""
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in options(maker).items()}
    return {k.upper().rstrip("_"): v for k, v in lists.items()}


def grow(tree: Tree) -> Tree:
    """Every key a run with the names in `tree` has, with its default."""
    full = defaults()
    for path, makers in FIXED.items():
        above = dig(full, path.rpartition(".")[0]) if "." in path else full
        for maker in makers:
            own = {key: value for key, value in upper(maker).items() if key not in above}
            dig(full, path).update(own)
    for path, slot in ONE.items():
        name = dig(tree, path)["NAME"]
        if not isinstance(name, str):
            raise TypeError(
                f"{path}.NAME is {name!r}; expected the name of a {slot.registry.kind}."
            )
        node = dig(full, path)
        node.clear()
        node.update({"NAME": name, **slot.common, **upper(slot.registry[name])})
    for path, slot in MANY.items():
        for name in dig(tree, path):
            dig(full, path)[name] = {**slot.common, **upper(slot.registry[name])}
    datasets = tree["DATASETS"]
    for key in ("NAMES", "TESTS"):
        datasets[key] = compat.dataset_names(datasets[key])
    named = {name.partition("@")[0] for name in datasets["NAMES"] + datasets["TESTS"]}
    for name, maker in DATASETS.items():
        used = name in named or name.upper() in datasets
        if used and options(maker):
            full["DATASETS"][name.upper()] = upper(maker)
    return full


def check_nodes(tree: Tree, full: Tree, path: str = "") -> None:
    """Where `full` has a node, `tree` must have one."""
    for key, node in full.items():
        here = f"{path}.{key}" if path else key
        if isinstance(node, dict) and not isinstance(tree[key], dict):
            raise TypeError(f"{here} is {tree[key]!r}; it holds keys, such as {', '.join(node)}.")
        if isinstance(node, dict):
            check_nodes(tree[key], node, here)


def check(tree: Tree, full: Tree, path: str = "") -> None:
    """Every key of `tree` must be in `full`, of its default's kind; values are fitted in place."""
    for key, value in tree.items():
        here = f"{path}.{key}" if path else key
        if key not in full:
            raise unknown(f"key in {path or 'the config'}", key, full)
        if not isinstance(full[key], dict):
            tree[key] = fit(value, full[key], here)
        elif isinstance(value, Mapping):
            check(tree[key], full[key], here)
        else:
            raise TypeError(f"{here} is {value!r}; it holds the keys {', '.join(full[key])}.")


def fit(value: Any, default: Any, key: str) -> Any:
    """`value` as the kind of thing `default` is; YAML reads 1e-4 as text and 1 as an integer."""
    if not isinstance(default, str):
        value = compat.plain(value)
    elif default == "off" and value is False:
        value = default  # YAML reads the word off as False
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(default, list) and not isinstance(value, list | dict):
        value = [value] if value not in ("", None) else []
    if isinstance(default, list) and isinstance(value, list):
        return [fit(item, default[0], key) for item in value] if default else value
    if isinstance(default, str) and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, int) and isinstance(value, float) and value.is_integer():
        return int(value) if not isinstance(default, bool) else value
    if isinstance(value, type(default)) and isinstance(value, bool) == isinstance(default, bool):
        return value
    if default is None and (value is None or isinstance(value, int | float)):
        return value
    kind = "a number or null" if default is None else f"{type(default).__name__}, like {default!r}"
    raise TypeError(f"{key} is {value!r}; expected {kind}.")
