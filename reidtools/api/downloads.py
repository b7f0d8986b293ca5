"""Fetch a dataset by its name."""

from pathlib import Path

from reidtools.data.datasets import ROOT
from reidtools.data.prepare.download import Downloaded, fetch_dataset, read_sources
from reidtools.engine import logbook

LIST = Path(__file__).parents[2] / "datasets" / "downloads.yml"


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
