"""A Hydra tree of CLIP-ReID: a root file with a list of ``defaults``, and a folder for each group.

Read as plain YAML, without Hydra, into the keys of CLIP-ReID (`hydra_words`), which `clip_document`
translates.
"""

import re
from pathlib import Path
from typing import Any

from reidtools.config.hydra_words import Words
from reidtools.config.trees import Tree, flatten, merge, read_yaml

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")


def is_hydra(tree: Tree) -> bool:
    """Whether `tree`, what a file holds, is the root of a Hydra tree."""
    entries = tree.get("defaults")
    return isinstance(entries, list) and all(isinstance(entry, str | dict) for entry in entries)


def read_hydra(path: str | Path, notes: list[str]) -> Tree:
    """The Hydra tree whose root is the file at `path`, in CLIP-ReID's keys (and some of ours).

    A sentence for each key that is read otherwise or left out joins `notes`. Raises
    FileNotFoundError for a group's file that is missing, LookupError for an unknown key, ValueError
    for what only Hydra itself could fill in.
    """
    path = Path(path)
    try:
        flat = flatten(_composed(path))
    except RecursionError as error:
        raise ValueError(f"{path} leads back to itself; break the circle of its files.") from error
    flat = {key: value for key, value in flat.items() if key.split(".")[0] != "hydra"}
    return Words({key: _resolved(key, flat) for key in flat}, notes).tree()


def _composed(path: Path) -> Tree:
    """The file at `path` with the files that its ``defaults`` name, later ones over earlier ones.

    Groups of the root lie below their name, and so do groups of a group.
    """
    own = read_yaml(path)
    entries = own.pop("defaults", [])
    if not isinstance(entries, list):
        raise ValueError(f"defaults in {path} is {entries!r}; it is a list of files.")
    tree: Tree = {}
    for entry in entries if "_self_" in entries else [*entries, "_self_"]:
        if entry == "_self_":
            tree = merge(tree, own)
        elif isinstance(entry, str):
            tree = merge(tree, _composed(_file_of(path.parent, entry)))
        else:
            for group, name in entry.items():
                words = str(group).split()
                group = words[-1]
                if name is None or group.startswith("hydra"):
                    continue
                if (len(words) > 1 and words[0] != "optional") or "@" in group:
                    raise ValueError(
                        f"{path} has the default {group!r}, which only Hydra understands; name "
                        "groups plainly, like model: rn50."
                    )
                tree = merge(tree, {group: _composed(_file_of(path.parent / group, name))})
    return tree


def _file_of(folder: Path, name: Any) -> Path:
    stem = str(name).removesuffix(".yaml").removesuffix(".yml")
    for ending in (".yaml", ".yml"):
        if (folder / f"{stem}{ending}").is_file():
            return folder / f"{stem}{ending}"
    found = sorted(path.stem for path in folder.glob("*.y*ml"))
    raise FileNotFoundError(
        f"There is no {folder / stem}.yaml, which the list of defaults names; "
        f"{f'choose one of {found}' if found else f'put the files of this group into {folder}'}."
    )


def _resolved(key: str, flat: Tree, above: tuple[str, ...] = ()) -> Any:
    """The value of `key` with every ``${other.key}`` in it replaced."""
    value = flat[key]
    if isinstance(value, list):
        inner = {**flat, **{f"{key}[{i}]": item for i, item in enumerate(value)}}
        return [_resolved(f"{key}[{i}]", inner, above) for i in range(len(value))]
    if not isinstance(value, str) or "${" not in value:
        return value

    def fill(found: re.Match) -> Any:
        name = found[1].strip()
        if name not in flat or name in above or name == key:
            why = "which leads back to itself" if name in flat else "which is no key of the tree"
            raise ValueError(f"{key} is {value}, {why}; write the value itself.")
        return _resolved(name, flat, (*above, key))

    whole = _REFERENCE.fullmatch(value)
    if whole:
        return fill(whole)
    filled = _REFERENCE.sub(lambda found: str(fill(found)), value)
    if "${" in filled:
        raise ValueError(f"{key} is {value}, which only Hydra can fill in; write the value itself.")
    return filled
