"""Sequences of frames that an index lists: a table with a row for each window of a tracklet."""

import csv
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from reidtools.data.datasets.listing import PICTURES
from reidtools.data.datasets.mars import DISTRACTOR, pick_queries
from reidtools.data.preflight import first
from reidtools.data.samples import Sample, Splits
from reidtools.extras import require
from reidtools.registry import DATASETS, choose

LOG = logging.getLogger("reidtools")
REQUIRED = ("split", "person_id", "camera_id", "sequence_id", "frames_dir", "num_frames")
LARGEST = 2**53  # a whole number beyond it is none in a file of floats
SPLITS = ("train", "val", "test")
MAKE = "make the index anew with tools/prepare_mars.py, or mend it"


class Row(NamedTuple):
    """A window as the index tells it; `start` is None, the texts are empty, where it is silent."""

    line: int
    split: str
    pid: int
    camera: int
    folder: str
    length: int
    tracklet: str
    subset: str
    start: int | None
    frames: tuple[str, ...]


@DATASETS
def sequences(root: str | Path, *, index_csv: str = "", split: str = "auto") -> Splits:
    """Sequences of an ``index.csv`` or ``.parquet``, such as ``tools/prepare_mars.py`` writes.

    `index_csv` empty is ``index.csv`` (else ``index.parquet``) in `root`; another is looked for
    from the working directory, then from `root`. The columns are split, person_id, camera_id,
    sequence_id, frames_dir (relative to the index, or absolute) and num_frames; tracklet_id, subset
    (query or gallery), start_frame and frames (names in frames_dir with a space between) may be
    there. Without frames the pictures in frames_dir are meant, sorted by name.

    A row of train is a sample. Query and gallery are the rows of `split`: ``test``, ``val``, or
    ``auto``: val if there is any, else test. There the windows of one tracklet are joined to one
    sample, in which a frame that windows share comes once; `pick_queries` chooses if no subset is
    told. Negative people are junk and left out; person 0 is a distractor, left out of train.
    Cameras count from 1, unless the index has a camera 0.

    A `FileNotFoundError` tells an index or folders that are missing; a `ValueError` columns that
    are, what is no number, folders without pictures and other numbers of them than num_frames.
    """
    choose("split", split, dict.fromkeys(("auto", "val", "test")))
    file = _find_index(Path(root).expanduser(), index_csv)
    rows = _read_index(file)
    part = _test_split(rows, split, file)
    first_camera = 0 if any(row.camera == 0 for row in rows) else 1
    rows = [row for row in rows if row.split in ("train", part) and row.pid >= 0]
    strangers = [row for row in rows if row.split == "train" and row.pid == DISTRACTOR]
    if strangers:
        LOG.warning(
            "%d rows of person 0 in train are left out, because 0 means a distractor; if it is a "
            "person, give that person another number.",
            len(strangers),
        )
        rows = [row for row in rows if row.split != "train" or row.pid != DISTRACTOR]
    frames = _list_frames(file, rows)
    train = [
        Sample(paths, row.pid, row.camera - first_camera)
        for row, paths in zip(rows, frames, strict=True)
        if row.split == "train"
    ]
    test = [pair for pair in zip(rows, frames, strict=True) if pair[0].split == part]
    return Splits(train, *_query_and_gallery(file, test, first_camera))


def _find_index(root: Path, index: str) -> Path:
    if index:
        tried = [Path(index).expanduser().absolute(), (root / index).absolute()]
    else:
        tried = [(root / name).absolute() for name in ("index.csv", "index.parquet")]
    for file in tried:
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"There is no index of sequences; looked for {' and '.join(map(str, tried))}. Make it with "
        "tools/prepare_mars.py, or set DATASETS.SEQUENCES.INDEX_CSV to the file."
    )


def _read_index(file: Path) -> list[Row]:
    """All rows of the index `file`; what is missing in it or no number is a `ValueError`."""
    columns, lines = _read_parquet(file) if file.suffix == ".parquet" else _read_csv(file)
    missing = [name for name in REQUIRED if name not in columns]
    if missing and columns:
        raise ValueError(
            f"{file} has no column {', '.join(missing)}, only {', '.join(columns)}; {MAKE} (a CSV "
            "file has commas between its columns)."
        )
    wrong: list[str] = []
    rows = [_row(number, line, wrong) for number, line in lines]
    if wrong:
        raise ValueError(f"{len(wrong)} entries in {file} are wrong: {first(wrong)}; {MAKE}.")
    if not rows:
        raise ValueError(f"{file} has no rows; {MAKE}.")
    return rows


Lines = list[tuple[int, dict[str, Any]]]


def _read_csv(file: Path) -> tuple[list[str], Lines]:
    # Excel begins files with a mark; the odd bytes of a name are kept as they are.
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.DictReader(text)
        try:
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            return list(reader.fieldnames), [(reader.line_num, line) for line in reader]
        except csv.Error as error:
            raise ValueError(
                f"{file} is no CSV file (line {reader.line_num}: {error}); {MAKE}."
            ) from error


def _read_parquet(file: Path) -> tuple[list[str], Lines]:
    require("pyarrow", f"{file} is read with pyarrow", "parquet")
    from pyarrow import ArrowInvalid, parquet

    try:
        table = parquet.read_table(file)
    except ArrowInvalid as error:
        raise ValueError(f"{file} is no Parquet file ({error}); {MAKE}.") from error
    return table.column_names, list(enumerate(table.to_pylist(), 1))


def _row(number: int, line: dict[str, Any], wrong: list[str]) -> Row:
    """The row of one `line`; what cannot be read is told in `wrong`."""
    texts = {name: "" if value is None else str(value).strip() for name, value in line.items()}
    if None in line:
        wrong.append(f"line {number}: there are more values than columns")

    def whole(column: str, least: int | None = None) -> int:
        try:
            value = float(texts[column])  # pandas writes 3.0 in a column with gaps
            if value.is_integer() and (-LARGEST if least is None else least) <= value <= LARGEST:
                return int(value)
        except (ValueError, OverflowError):
            pass
        kind = "a whole number" if least is None else f"a whole number from {least}"
        wrong.append(f"line {number}: {column} is {texts[column]!r}, not {kind}")
        return 0

    if texts["split"] not in SPLITS:
        wrong.append(f"line {number}: split is {texts['split']!r}, not train, val or test")
    subset = texts.get("subset", "")
    if texts["split"] in ("val", "test") and subset not in ("query", "gallery", ""):
        wrong.append(f"line {number}: subset is {subset!r}, not query or gallery")
    return Row(
        number,
        texts["split"],
        whole("person_id"),
        whole("camera_id", 0),
        texts["frames_dir"],
        whole("num_frames", 1),
        texts.get("tracklet_id", ""),
        subset,
        whole("start_frame") if texts.get("start_frame") else None,
        tuple(texts.get("frames", "").split()),
    )


def _test_split(rows: Sequence[Row], split: str, file: Path) -> str:
    """Which split's rows are query and gallery."""
    there = {row.split for row in rows}
    part = split if split != "auto" else "val" if "val" in there else "test"
    if split != "auto" and split not in there:
        raise ValueError(
            f"{file} has no rows of split {split}, only of {', '.join(sorted(there))}; choose one "
            "of these, or prepare it again (--val-ids of tools/prepare_mars.py makes val)."
        )
    if part in there:
        LOG.info("Query and gallery are the %s rows of %s.", part, file)
    else:
        LOG.warning(
            "%s has rows of train only, so there is nothing to test; make val rows with --val-ids "
            "of tools/prepare_mars.py, or name another dataset in DATASETS.TESTS.",
            file,
        )
    return part


def _list_frames(file: Path, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The paths of each row's frames; folders are looked into once, several at a time."""
    folders = {row.folder: os.path.join(file.parent, row.folder) for row in rows}  # noqa: PTH118
    found = dict(zip(folders, _look_into(list(folders.values())), strict=True))
    missing = [folders[name] for name, names in found.items() if names is None]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(folders)} folders that {file} names are missing: "
            f"{first(missing)}. frames_dir is relative to the index: put the folders back beside "
            "it, or prepare them again with tools/prepare_mars.py."
        )
    empty = [folders[name] for name, names in found.items() if not names]
    if empty:
        raise ValueError(
            f"{len(empty)} of {len(folders)} folders that {file} names have no pictures: "
            f"{first(empty)}. Prepare them again, or remove their rows from the index."
        )
    by_name = any(row.frames for row in rows)
    known = {name: frozenset(names) for name, names in found.items()} if by_name else {}
    listed, other = [], []
    for row in rows:
        names = row.frames or found[row.folder]
        lacking = sorted({*row.frames} - known[row.folder]) if row.frames else []
        if lacking:
            other.append(f"{folders[row.folder]} lacks {first(lacking, 2)}")
        elif len(names) != row.length:
            other.append(f"{folders[row.folder]} ({len(names)}, not {row.length})")
        where = folders[row.folder] + os.sep
        listed.append(tuple(where + name for name in names))
    if other:
        raise ValueError(
            f"{len(other)} of {len(rows)} rows of {file} have other frames than it tells: "
            f"{first(other)}. Prepare them again, or mend num_frames."
        )
    return listed


def _look_into(folders: Sequence[str]) -> list[list[str] | None]:
    """The `_names` in each of the `folders`; threads wait for a slow disk together.

    Each is handed many folders: a quick disk answers sooner than a thread is told of one.
    """
    portions = [folders[start : start + 256] for start in range(0, len(folders), 256)]
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda portion: [_names(folder) for folder in portion], portions)
        return [names for answer in answers for names in answer]


def _names(folder: str) -> list[str] | None:
    """Names of the pictures in `folder`, sorted; None if it is missing."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except (OSError, ValueError):  # also one that may not be read, or whose name no file can have
        return None
    kinds = tuple(PICTURES)
    return [name for name in names if name.lower().endswith(kinds) and name[0] != "."]


def _query_and_gallery(
    file: Path, windows: Sequence[tuple[Row, tuple[str, ...]]], first_camera: int
) -> tuple[list[Sample], list[Sample]]:
    """Query, then gallery: one sample a tracklet, in the order of the index."""
    tracklets: dict[tuple, list[tuple[Row, tuple[str, ...]]]] = {}
    for row, paths in windows:
        alone = 0 if row.tracklet else row.line
        key = row.pid, row.camera, row.tracklet, alone
        tracklets.setdefault(key, []).append((row, paths))
    seen = list(tracklets)
    subsets = [{row.subset for row, _ in tracklets[key]} for key in seen]
    mixed = [key[2] for key, told in zip(seen, subsets, strict=True) if len(told) > 1]
    if mixed:
        raise ValueError(
            f"{len(mixed)} tracklets in {file} have windows of several subsets: {first(mixed)}; "
            "a tracklet is query or gallery as a whole: mend the column subset."
        )
    silent = sum(told == {""} for told in subsets)
    if 0 < silent < len(subsets):
        raise ValueError(
            f"{silent} of {len(subsets)} tracklets in {file} have no subset; tell query or gallery "
            "for each, or for none, to have queries chosen."
        )
    if silent:
        queries = set(pick_queries([key[:2] for key in seen]))
    else:
        queries = {place for place, told in enumerate(subsets) if told == {"query"}}
    splits: tuple[list[Sample], list[Sample]] = [], []
    for place, (key, parts) in enumerate(tracklets.items()):
        pid, camera = key[:2]
        is_query = place in queries and pid > DISTRACTOR
        splits[not is_query].append(Sample(_join(parts), pid, camera - first_camera))
    return splits


def _join(windows: Sequence[tuple[Row, tuple[str, ...]]]) -> tuple[str, ...]:
    """Every frame of a tracklet's `windows` once, in order.

    Windows that do not tell where they start are put one after another, as the index has them.
    """
    if any(row.start is None for row, _ in windows):
        return tuple(dict.fromkeys(path for _, paths in windows for path in paths))
    frames: dict[int, str] = {}
    for row, paths in sorted(windows, key=lambda window: window[0].start or 0):
        for place, path in enumerate(paths, row.start or 0):
            frames.setdefault(place, path)
    return tuple(frames[place] for place in sorted(frames))
