"""What there is, told in the terminal: tables, and one thing whole."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from reidtools.api.inventory import (
    CONFIGS,
    KINDS,
    Component,
    Recipe,
    components,
    outline,
    recipes,
    shown,
    told_figures,
    value_of,
)
from reidtools.modeling.zoo import PREFIX, Published, of_backbone, read_zoo
from reidtools.registry import unknown

Thing = Component | Recipe | Published
ALL = (*KINDS, "recipes", "weights")
PLURALS = {"loss": "losses", "temporal": "temporal poolings", "temporals": "temporal poolings"}
NARROW, WIDE = 80, 160  # columns of a table
FIXED = {"paper": 16, "trained on": 12, "size": 9, "Rank-1 / mAP / mINP": 23}
LEAST = 12  # columns of anything else


def describe(what: Sequence[str] = (), *, as_json: bool = False) -> str:
    """What there is of `what`: all tables for nothing, one for a kind, one thing whole by its name.

    A kind is one of `ALL`, in the plural or not; before a name it says which kind of thing is
    meant. LookupError for an unknown word, with the nearest one; ValueError for several names.
    """
    chosen = _kind(what[0]) if what else ""
    names = [word.removesuffix(".yml") for word in what[bool(chosen) :]]
    if len(names) > 1:
        raise ValueError(f"{' '.join(what)} are several things; name one, or a kind and one of it.")
    kinds = [chosen] if chosen else list(ALL)
    if names:
        things = _named(names[0], kinds)
        told = [_plain(thing) for thing in things]
        return _json(told) if as_json else "\n\n".join(_whole(thing) for thing in things)
    tables = {kind: _things(kind) for kind in kinds}
    if as_json:
        return _json({kind: [_plain(thing) for thing in own] for kind, own in tables.items()})
    return "\n\n".join(_tables(tables))


def _kind(word: str) -> str:
    """The kind that a word means, in whatever number, or nothing."""
    word = word.lower().replace("_", " ")
    word = PLURALS.get(word, word)
    return next((kind for kind in ALL if word in (kind, kind.removesuffix("s"))), "")


def _things(kind: str) -> Sequence[Thing]:
    if kind == "weights":
        return list(read_zoo().values())
    return list(recipes()) if kind == "recipes" else components(kind)


def _named(name: str, kinds: Sequence[str]) -> list[Thing]:
    """What is called `name`, in whatever case; there may be such things of several kinds."""
    known: dict[str, list[Thing]] = {}
    for kind in kinds:
        for thing in _things(kind):
            known.setdefault(thing.name.removesuffix(".yml").lower(), []).append(thing)
            if kind == "recipes" and "/" in thing.name:  # by its file's own name as well
                known.setdefault(Path(thing.name).stem.lower(), []).append(thing)
    name = name.removeprefix(PREFIX).removeprefix("configs/").removesuffix(".yml")
    if name.lower() not in known:
        near = str(unknown("name", name, (t.name for things in known.values() for t in things)))
        raise LookupError(
            f"{near.partition(' Known:')[0]} python tools/describe.py lists what there is."
        )
    return known[name.lower()]


def _json(told: Any) -> str:
    return json.dumps(told, indent=2, ensure_ascii=False)


def _plain(thing: Thing) -> dict[str, Any]:
    """A thing as JSON has it."""
    told = thing._asdict()
    told.pop("text", None)
    if isinstance(thing, Published):
        told |= {"size": list(thing.size), "address": thing.address}
    if isinstance(thing, Component) and thing.kind == "backbones":
        told["weights"] = [weights.name for weights in of_backbone(thing.name)]
    return told


def _tables(tables: dict[str, Sequence[Thing]]) -> Iterator[str]:
    """Each of the tables as text, as wide as the terminal."""
    from tabulate import tabulate

    width = max(NARROW, min(get_terminal_size().columns, WIDE))
    for kind, things in tables.items():
        if not things:  # an installed package has no configs/ beside it
            continue
        cells = [_cells(thing) for thing in things]
        rest = width - max(len(row["name"]) for row in cells) - 2 * (len(cells[0]) - 1)
        others = [key for key in cells[0] if key != "name"]
        free = [key for key in others if key not in FIXED]
        share = (rest - sum(FIXED.get(key, 0) for key in others)) // len(free)
        limits = [None, *(FIXED.get(key, max(LEAST, share)) for key in others)]
        table = tabulate(cells, headers="keys", maxcolwidths=limits, disable_numparse=True)
        common = shown(KINDS[kind].common) if kind in KINDS else ""
        note = f"; all have {common}" if common else ""
        yield f"{kind.capitalize()} ({len(things)}{note})\n\n{table}"


def _cells(thing: Thing) -> dict[str, str]:
    """What a line of a table shows."""
    if isinstance(thing, Recipe):
        return {"name": thing.name, "what it is": thing.summary}
    if isinstance(thing, Published):
        return {
            "name": thing.name,
            "network": thing.family,
            "trained on": thing.trained_on,
            "size": "{} x {}".format(*thing.size),
            "Rank-1 / mAP / mINP": "\n".join(told_figures(thing)),
        }
    return {
        "name": thing.name,
        "what it is": thing.summary,
        "options": shown(thing.options),
        "paper": " ".join(thing.papers[:2]),
    }


def _whole(thing: Thing) -> str:
    if isinstance(thing, Recipe):
        text = (CONFIGS / thing.name).read_text(encoding="utf-8").rstrip()
        return f"recipe configs/{thing.name}\n\n{text}"
    return _weights(thing) if isinstance(thing, Published) else _component(thing)


def _component(thing: Component) -> str:
    lines = [f"{KINDS[thing.kind].registry.kind} {thing.name}", "", thing.text, ""]
    if every := thing.options | KINDS[thing.kind].common:
        told = {key: value_of(value) for key, value in every.items()}
        lines += ["Options and their defaults:", *_aligned(told), ""]
    if thing.papers:
        lines += [f"From {', '.join(thing.papers)}"]
    if thing.kind == "backbones":
        built = outline(thing.name)
        lines += [f"{built.dim} values a feature, {built.parameters / 1e6:.1f} million parameters"]
        lines += [f"PRETRAIN true takes {built.origin}"] if built.origin else []
        for weights in of_backbone(thing.name):
            lines += ["", _weights(weights)]
    return "\n".join(lines).rstrip()


def _weights(weights: Published) -> str:
    model, where = weights.config["MODEL"], weights.address
    told = {
        "what": f"{weights.family} ({weights.layout} layout)",
        "trained on": weights.trained_on,
        "Rank-1 / mAP / mINP": "; ".join(told_figures(weights)) or "not told",
        "pictures": "{} x {}".format(*weights.size),
        "MODEL.BACKBONE": shown(model["BACKBONE"]),
        "MODEL.HEADS": shown(model["HEADS"]),
        "file": weights.file,
        "from": where + (f" (gdown {weights.id})" if weights.id else ""),
        "SHA-256": weights.sha256 or "not told",
        "told at": weights.source,
        "paper": weights.paper,
        **({"note": weights.note} if weights.note else {}),
        "use": f"MODEL.WEIGHTS zoo:{weights.name}",
    }
    return "\n".join([f"weights {weights.name}", *_aligned(told)])


def _aligned(told: dict[str, str]) -> list[str]:
    longest = max(map(len, told))
    return [f"  {key:<{longest}}  {value}" for key, value in told.items()]
