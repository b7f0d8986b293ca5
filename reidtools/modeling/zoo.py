"""Weights that others have published: what they are of, where they come from, where they lie here.

>>> zoo = read_zoo()
>>> zoo["osnet_x1_0_market1501"].figures, zoo["market_sbs_R50"].size
({'market1501': (94.2, 82.6)}, (384, 128))
"""

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from reidtools.fetching import check_sum, fetch
from reidtools.files import sha256_of

LOGGER = logging.getLogger("reidtools")
ZOO = Path(__file__).with_name("zoo.yml")
PREFIX = "zoo:"  # MODEL.WEIGHTS zoo:NAME
OWN_FOLDERS = (Path(), Path("models"))  # what lies here counts before all caches
SIZE = (256, 128)


class Published(NamedTuple):
    """One file of weights; see zoo.yml, where the facts of a family are those of all its files.

    `config` is a tree with MODEL.BACKBONE and MODEL.HEADS, and INPUT where pictures are not as by
    default. `figures` are Rank-1, mAP and sometimes mINP in percent, by the test set. `sha256` may
    be the first digits, or empty where nobody tells it.
    """

    name: str
    family: str
    project: str
    paper: str
    source: str
    layout: str
    trained_on: str
    config: dict[str, Any]
    file: str
    url: str = ""
    id: str = ""
    sha256: str = ""
    note: str = ""
    figures: Mapping[str, tuple[float, ...]] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that it was trained on."""
        height, width = self.config.get("INPUT", {}).get("SIZE_TRAIN", SIZE)
        return height, width

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return self.url or f"https://drive.google.com/file/d/{self.id}/view"

    @property
    def files(self) -> tuple[str, ...]:
        """What the file is called: here, where it is downloaded to, and by its publisher."""
        here = f"{self.name}{Path(self.file).suffix}"
        return tuple(dict.fromkeys((here, self.file)))


@cache
def read_zoo(path: Path = ZOO) -> dict[str, Published]:
    """All published weights of the list `path`, by their names."""
    import yaml

    families = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        name: _published(name, family, dict(common), facts)
        for family, common in families.items()
        if not family.startswith(".")
        for name, facts in common["files"].items()
    }


def _published(name: str, family: str, common: dict[str, Any], facts: dict[str, Any]) -> Published:
    common.pop("files")
    told = common | facts | {"config": _over(common["config"], facts.get("config", {}))}
    url = told.pop("url", "") if "id" not in facts else ""
    figures = {test: tuple(values) for test, values in facts.get("figures", {}).items()}
    told |= {"url": url.format(name=name), "figures": figures}
    told.setdefault("file", Path(told["url"]).name or f"{name}.pth")
    return Published(name=name, family=family, **told)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {k: _over(below[k], v) for k, v in above.items() if isinstance(v, dict) and k in below}
    return below | above | both


def named(name: str) -> Published:
    """The weights called `name`; LookupError that says which may be meant."""
    zoo = read_zoo()
    if name in zoo:
        return zoo[name]
    lower = {known.lower(): known for known in zoo}
    near = [lower[key] for key in get_close_matches(name.lower(), lower, n=3)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise LookupError(
        f"No published weights are called '{name}'.{hint} python tools/describe.py weights lists "
        "all of them."
    )


def caches() -> tuple[Path, ...]:
    """Where downloaded weights lie: in torch's cache; FastReID keeps them one folder higher."""
    import torch

    hub = Path(torch.hub.get_dir())
    return hub / "checkpoints", hub.parent / "checkpoints"


def find(weights: Published) -> Path | None:
    """The file, if it is on this machine: in the folder at hand, in models/ or in a cache."""
    places = (folder / file for folder in (*OWN_FOLDERS, *caches()) for file in weights.files)
    return next((place for place in places if place.is_file()), None)


def get(name: str, folder: str | Path = "") -> tuple[Path, bool]:
    """The file of the weights called `name`, and whether it has been downloaded just now.

    It is, into `folder` or else torch's cache, unless it lies somewhere that `find` looks or there.
    Errors are those of `named` and `fetch`.
    """
    weights = named(name)
    here = Path(folder).expanduser() if folder else None
    there = find(weights) if here is None else here / weights.files[0]
    if there and there.is_file():
        return there, False
    target = (here or caches()[0]) / weights.files[0]
    origin = {"url": weights.url, "drive_id": weights.id, "sha256": weights.sha256}
    fetch(target, name, **origin, cure=f"put it at {target}")
    return target, True


def local(path: str | Path) -> str | Path:
    """``zoo:NAME`` as the path of its file, downloaded if need be; any other path as it is."""
    text = str(path)
    if not text.startswith(PREFIX):
        return path
    name = text.removeprefix(PREFIX)
    file, new = get(name)
    if not new:
        _tell_version(name, file)
    return str(file)


@cache  # a config names its weights again and again
def _tell_version(name: str, file: Path) -> None:
    """Warn of a file that lay here and is not the published one."""
    weights = named(name)
    if weights.sha256 and not sha256_of(file).startswith(weights.sha256):
        LOGGER.warning("%s is another version of %s than the published one.", file, name)


def pictures_of(path: str | Path) -> dict[str, Any]:
    """INPUT of the published weights that a file is by its name, where not as by default; or {}.

    >>> pictures_of("downloads/market_sbs_R50.pth"), pictures_of("mine.pth")
    ({'SIZE_TRAIN': [384, 128]}, {})
    """
    file = Path(str(path).removeprefix(PREFIX)).name
    known = (weights for weights in read_zoo().values() if file in (weights.name, *weights.files))
    return dict(next((weights.config.get("INPUT", {}) for weights in known), {}))


def of_backbone(name: str) -> list[Published]:
    """The published weights of a backbone."""
    return [w for w in read_zoo().values() if w.config["MODEL"]["BACKBONE"]["NAME"] == name]


def check(weights: Published, file: Path) -> None:
    """ValueError unless the `file` of `weights` has the sum that is known of it, if one is."""
    try:
        check_sum(file, weights.sha256)
    except ValueError as error:
        raise ValueError(f"{error} It lies at {file}; remove it first.") from error
