"""What there is: every component with its options and papers, and every recipe.

All of it is read from where it is said: registries, signatures, docstrings, the heads of config
files. Weights that others have published are in `modeling.zoo`.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from reidtools.config.defaults import MANY, ONE, Slot
from reidtools.modeling.zoo import Published
from reidtools.registry import BACKBONES, DATASETS, facts, options

CONFIGS = Path(__file__).parents[2] / "configs"
SIZE = (256, 128)
KINDS = {
    "backbones": ONE["MODEL.BACKBONE"],
    "heads": ONE["MODEL.HEADS"],
    "losses": MANY["MODEL.LOSSES"],
    "samplers": ONE["DATALOADER.SAMPLER"],
    "datasets": Slot(DATASETS, {}),
    "temporal poolings": ONE["MODEL.TEMPORAL"],
}
PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:\S+[\w/]")
ADDRESS = re.compile(r"https?://[^\s)`,]+[\w/]")
SEE = re.compile(r"(?:see|as for) `(\w+)`")


class Component(NamedTuple):
    """A registered maker, by what its signature and its docstring say; `text` is all of that."""

    kind: str
    name: str
    summary: str
    papers: tuple[str, ...]
    facts: tuple[str, ...]
    options: dict[str, Any]
    text: str


class Recipe(NamedTuple):
    """A config file: its path below configs/, and what its head says first."""

    name: str
    summary: str


class Outline(NamedTuple):
    """What only a built backbone tells: values of a feature, parameters, where weights are from."""

    dim: int
    parameters: int
    origin: str


def components(kind: str) -> list[Component]:
    """All components of a kind, a key of `KINDS`, by name; 50 comes before 101."""
    registry = KINDS[kind].registry
    names = sorted(registry, key=lambda name: re.sub(r"\d+", lambda n: n[0].zfill(9), name))
    return [component(kind, name, registry[name]) for name in names]


def component(kind: str, name: str, maker: Callable) -> Component:
    """What there is to say of `maker`; a family shares the words of its class."""
    text = inspect.getdoc(maker) or ""
    module = inspect.getmodule(maker)
    family = [vars(module).get(word) for word in SEE.findall(text)]
    texts = [text, *(inspect.getdoc(member) or "" for member in family if member)]
    every = {key.upper(): value for key, value in options(maker).items()}
    own = {key: list(v) if isinstance(v, tuple) else v for key, v in every.items()}
    papers = papers_of(text) or papers_of("\n".join(texts)) or papers_of(module.__doc__ or "")
    return Component(kind, name, summary(text), papers, facts(maker), own, "\n\n".join(texts))


def papers_of(text: str) -> tuple[str, ...]:
    """The papers that a text names, else the first address in it.

    >>> papers_of("Batch-hard (Hermans et al., arXiv:1703.07737), see https://example.org/x.")
    ('arXiv:1703.07737',)
    """
    return tuple(dict.fromkeys(PAPER.findall(text))) or tuple(ADDRESS.findall(text)[:1])


def summary(text: str) -> str:
    """The first sentence of a docstring, without what other columns tell.

    >>> summary("OSNet, 2.2 M parameters; options: see `OSNet`. arXiv:1905.00953")
    'OSNet, 2.2 M parameters.'
    """
    first = " ".join(text.partition("\n\n")[0].split())
    first = re.sub(r"; (options:? )?(see|as for) `\w+`", "", first)
    first = re.sub(rf"[,;]? ?(?:{PAPER.pattern})", "", first).replace(" ()", "").replace("()", "")
    sentence = re.split(r"(?<!\bal)\.\s", first)[0]
    return sentence.rstrip(" :.;,") + "." if sentence else ""


def outline(name: str) -> Outline:
    """The backbone `name` as it is by default, built on torch's ``meta`` device: no memory."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        built = BACKBONES.build(name, {"image_size": SIZE}, {})
    return Outline(built.dim, sum(p.numel() for p in built.parameters()), origin(built))


def origin(backbone: nn.Module) -> str:
    """Where `fetch` has the pretrained weights of a backbone from: an address, or whose."""
    if timm_name := getattr(backbone, "timm_name", ""):
        return f"timm's {timm_name}"
    module, name = vars(sys.modules[type(backbone).__module__]), getattr(backbone, "name", "")
    drive = getattr(backbone, "drive_id", "") or module.get("GOOGLE_DRIVE", {}).get(name)
    if drive:
        return f"https://drive.google.com/file/d/{drive}/view"
    if file := getattr(backbone, "file", ""):
        return f"OpenAI's {file}"
    return getattr(backbone, "weights", "") or module.get("WEIGHTS", {}).get(name, "")


def recipes(folder: Path = CONFIGS) -> Iterator[Recipe]:
    """The config files in `folder` and below, its own ones first."""
    files = sorted(folder.rglob("*.yml"), key=lambda file: (len(file.parts), file.as_posix()))
    for file in files:
        yield Recipe(file.relative_to(folder).as_posix(), summary(_head(file)))


def _head(file: Path) -> str:
    """What the comment at the top of a config file says before its first command."""
    told = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#   "):
            break
        told.append(line.removeprefix("# "))
    return "\n".join(told)


def shown(chosen: dict[str, Any]) -> str:
    """Options and their values, as a config has them.

    >>> shown({"LAST_STRIDE": 1, "WITH_NL": False, "AREA": [0.1, 1], "TO": ""})
    "LAST_STRIDE 1, WITH_NL false, AREA [0.1, 1], TO ''"
    """
    return ", ".join(f"{key} {value_of(value)}" for key, value in chosen.items())


def value_of(value: Any) -> str:
    """A value as one would type it."""
    words = {True: "true", False: "false", None: "null", "": "''"}
    return words[value] if value in ("", None) or isinstance(value, bool) else str(value)


def told_figures(weights: Published) -> list[str]:
    """Rank-1, mAP and mINP, if it is told, on each test set, named where it is not the training's.

    >>> from reidtools.modeling.zoo import named
    >>> told_figures(named("market_bot_R50")), told_figures(named("osnet_x1_0_msmt17_combineall"))
    (['94.4 / 86.1 / 59.4'], ['market1501 66.6 / 37.5', 'dukemtmcreid 66.0 / 45.3'])
    """
    figures = {test: " / ".join(f"{f:.1f}" for f in fs) for test, fs in weights.figures.items()}
    return [f if t == weights.trained_on else f"{t} {f}" for t, f in figures.items()]
