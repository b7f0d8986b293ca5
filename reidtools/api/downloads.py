"""Fetch a dataset, or published weights, by name."""

from pathlib import Path
from typing import NamedTuple

from reidtools.data.datasets import ROOT
from reidtools.data.prepare.download import Downloaded, fetch_dataset, read_sources
from reidtools.engine import logbook
from reidtools.modeling import zoo

LIST = Path(__file__).parents[2] / "datasets" / "downloads.yml"


class Weights(NamedTuple):
    """A `file` of published weights; it is `new`, or was there before."""

    name: str
    file: Path
    new: bool

    def __str__(self) -> str:
        how = "downloaded" if self.new else "already downloaded"
        known = zoo.named(self.name).sha256
        checked = "its SHA-256 is right" if known else "nobody tells its SHA-256"
        return f"{self.file}: {how}, {checked}. Take it with MODEL.WEIGHTS zoo:{self.name}"


def download(
    name: str,
    root: str | Path = ROOT,
    *,
    url: str = "",
    drive_id: str = "",
    file: str | Path = "",
    sha256: str = "",
    listing: str | Path = "",
) -> Downloaded:
    """Download and unpack the dataset `name` into `root`; nothing happens where it is already.

    `listing` is a YAML file that says where datasets come from, by default datasets/downloads.yml.
    `url`, `drive_id` (of a file of Google Drive) or `file` (an archive on this machine) take the
    place of what it says. See `data.prepare.download.fetch_dataset` for the rest, and for errors.
    """
    logbook.set_up_logging()
    # An installed package has no datasets/ beside it, and none is needed with a place of one's own.
    needless = not listing and not LIST.is_file() and (url or drive_id or file)
    sources = {} if needless else read_sources(listing or LIST)
    return fetch_dataset(name, root, sources, url=url, drive_id=drive_id, file=file, sha256=sha256)


def download_weights(name: str, folder: str | Path = "") -> Weights:
    """Download the published weights `name` into `folder`, or torch's cache, unless they are there.

    Those of reidtools/modeling/zoo.yml, with or without ``zoo:`` before the name. What broke off
    goes on. LookupError for another name, OSError for a download that fails, ValueError for a web
    page in place of weights, and for a file, new or old, with another SHA-256 than is known.
    """
    name = name.removeprefix(zoo.PREFIX)
    file, new = zoo.get(name, folder)
    zoo.check(zoo.named(name), file)
    return Weights(name, file, new)
