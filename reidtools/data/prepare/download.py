"""Datasets fetched from where their authors put them: whole, checked, or not at all."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from reidtools.data.prepare.archives import unpack
from reidtools.fetching import check_sum, fetch
from reidtools.files import writing_into
from reidtools.registry import unknown


class Source(NamedTuple):
    """Where a dataset comes from, and what it is called in a root; an entry of a list of sources.

    `folder` is what it becomes, `also` are other names under which it counts as being there, and
    `holds` is what must lie in it. `id` is that of a file of Google Drive, `url` an address, and
    `sha256` the sum of either. What has none of them is to be had from the page `ask`. `note` says
    what one should know.
    """

    folder: str
    also: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    id: str = ""
    url: str = ""
    sha256: str = ""
    ask: str = ""
    note: str = ""


class Downloaded(NamedTuple):
    """The `folder` of a dataset; it is `new`, with so many `files`, or was there before."""

    folder: Path
    new: bool
    files: int = 0
    note: str = ""

    def __str__(self) -> str:
        if not self.new:
            return f"{self.folder}: already downloaded"
        return f"{self.folder}: unpacked, {self.files} files. {self.note}".rstrip()


def read_sources(path: str | Path) -> dict[str, Source]:
    """The `Source` of each dataset in the YAML file `path`.

    FileNotFoundError; ValueError for what is no such list, and LookupError for a key of an entry
    that is not known.
    """
    import yaml

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no list of datasets at {file.absolute()}; name one with --list: "
            "datasets/downloads.yml of the project is one."
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not YAML ({error}); mend it.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no list of datasets; write name: {{folder: …, url: …}}.")
    return {str(name): _source(entry, f"{name} in {path}") for name, entry in content.items()}


def fetch_dataset(
    name: str,
    root: str | Path,
    sources: Mapping[str, Source],
    *,
    url: str = "",
    drive_id: str = "",
    file: str | Path = "",
    sha256: str = "",
) -> Downloaded:
    """Put the dataset `name` into the folder `root`, unless it is there.

    It comes from where `sources` say, or from the `url`, the file `drive_id` of Google Drive, or
    the archive `file` on this machine, which may be of a dataset that is in no list. `sha256` is
    what the archive must have; that of a list counts for its own file only. Archives are those of
    `unpack`. Everything happens in a hidden folder in `root` and moves into place when complete.

    LookupError for an unknown name, or one whose data nobody may fetch unasked: it says whom to
    ask. FileNotFoundError for a missing `file`, OSError for a download that fails, ValueError for
    another sum, for what `unpack` refuses, and for an incomplete folder in the place of the data.
    """
    given = {"url": url, "drive_id": drive_id, "file": file}
    if sum(map(bool, given.values())) > 1:
        raise ValueError(
            "A dataset comes from one place; give one of --url, --id and --file, not more."
        )
    own = any(given.values())
    source = _choose(name, sources, own)
    root = Path(root).expanduser()
    if there := find(name, source, root):
        return Downloaded(there, False)
    if own:
        source = source._replace(id=drive_id, url=url, sha256="")
    source = source._replace(sha256=(sha256 or source.sha256).lower())
    if not (source.id or source.url or file):
        raise _ask(name, source, root)
    with writing_into(root, "--root"), _workplace(root, source.folder) as work:
        archive = _local(file) if file else _fetch(name, source, work)
        check_sum(archive, source.sha256)
        unpacked = work / "unpacked"
        unpacked.mkdir()
        unpack(archive, unpacked)
        home = _home(unpacked, source, archive.name)
        files = sum(path.is_file() for path in home.rglob("*"))
        _move(home, root / source.folder)
    return Downloaded(root / source.folder, True, files, source.note)


def find(name: str, source: Source, root: Path) -> Path | None:
    """The folder in `root` that has the dataset, `root` itself if that is it, or None.

    An empty folder is none; one that lacks part of what it should hold is a ValueError.
    """
    partly = []
    for folder in (root / called for called in (source.folder, *source.also)):
        if folder.is_symlink() and not folder.exists():
            raise ValueError(f"{folder} is a link that leads nowhere; mend or remove it.")
        if folder.is_file():
            raise ValueError(f"{folder} is a file in the place of {name}; rename it.")
        if not folder.is_dir() or not any(folder.iterdir()):
            continue
        if not (lacks := _lacks(folder, source)):
            return folder
        partly.append(f"{folder} is there, but has no {' and no '.join(lacks)}")
    if source.holds and not _lacks(root, source):
        return root
    if partly:
        raise ValueError(f"{partly[0]}; complete it, or rename it to have {name} downloaded.")
    return None


def _lacks(folder: Path, source: Source) -> list[str]:
    return [part for part in source.holds if not (folder / part).exists()]


def _source(entry: Any, where: str) -> Source:
    """An entry of a list of sources, checked."""
    if not isinstance(entry, dict) or "folder" not in entry:
        raise ValueError(f"{where} has no folder; write what it is called when it is unpacked.")
    for key, value in entry.items():
        if key not in Source._fields:
            raise LookupError(f"In {where}: {unknown('key', key, Source._fields)}")
        many = key in ("also", "holds")
        texts = value if many and isinstance(value, list) else [value]
        if (many and texts is not value) or not all(isinstance(t, str) and t for t in texts):
            raise ValueError(
                f"{key} of {where} is {value!r}; write {'a list of texts' if many else 'a text'}, "
                "numbers in quotes."
            )
    for folder in (entry["folder"], *entry.get("also", ())):
        _check_folder(folder, where)
    return Source(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})


def _check_folder(folder: str, where: str) -> None:
    if folder in ("", ".", "..") or any(sign in folder for sign in "/\\:"):
        raise ValueError(f"{where} has the folder {folder!r}; write a plain name of a folder.")


def _choose(name: str, sources: Mapping[str, Source], own: bool) -> Source:
    """The source called `name`; with an archive of one's `own` a new one."""
    if name in sources:
        return sources[name]
    if not own:
        raise LookupError(
            f"{unknown('dataset', name, sources)} For another one give --url, --id or --file."
        )
    _check_folder(name, "--name")
    return Source(name)


def _ask(name: str, source: Source, root: Path) -> LookupError:
    at = f"Ask for it at {source.ask}; then" if source.ask else "If you have it,"
    told = " ".join(filter(None, (f"{name} cannot be downloaded here.", source.note, at)))
    return LookupError(
        f"{told} unpack it to {root / source.folder}, or run tools/download.py --name {name} "
        "--file ARCHIVE."
    )


@contextmanager
def _workplace(root: Path, folder: str) -> Iterator[Path]:
    """A hidden folder in `root`, on the disk where the data is to lie; it goes in any case."""
    work = Path(tempfile.mkdtemp(dir=root, prefix=f".{folder}.", suffix=".partial"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _local(file: str | Path) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        what = "a folder, not an archive" if path.is_dir() else "not there"
        raise FileNotFoundError(
            f"{path.absolute()} is {what}; give the archive as it was downloaded. A folder that is "
            "unpacked is used where it lies, with DATASETS.ROOT."
        )
    return path


def _fetch(name: str, source: Source, work: Path) -> Path:
    """Download the archive into `work`; its name is for people, what it is shows later."""
    path = work / f"{source.folder}.download"
    fetch(path, name, url=source.url, drive_id=source.id, cure="give it with --file")
    return path


def _home(unpacked: Path, source: Source, archive: str) -> Path:
    """The folder of what was `unpacked` that is the dataset: mostly the only one on top."""
    top = [p for p in unpacked.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    if not top:
        raise ValueError(f"{archive} is empty; download or copy it again.")
    if not source.holds:
        return top[0] if len(top) == 1 and top[0].is_dir() else unpacked
    below = sorted(p for p in (*unpacked.glob("*"), *unpacked.glob("*/*")) if p.is_dir())
    for folder in (unpacked, *below):
        if not _lacks(folder, source):
            return folder
    raise ValueError(
        f"{archive} has no folder with {', '.join(source.holds)}, but "
        f"{', '.join(sorted(p.name for p in top)[:5])}; give the archive of the whole dataset."
    )


def _move(home: Path, target: Path) -> None:
    try:
        if target.is_dir():
            target.rmdir()  # an empty one, see find
        home.rename(target)
    except OSError as error:
        raise OSError(
            f"{target} cannot be put in its place ({error.strerror or error}); remove what is "
            "there, and begin again."
        ) from error
