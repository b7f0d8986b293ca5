"""What each picture of a gallery shows: told by its name, its folder, or a CSV file."""

import csv
import logging
from pathlib import Path

from reidtools.data.datasets.listing import find_pictures
from reidtools.retrieval.people import is_person, person_of

LOGGER = logging.getLogger("reidtools")
PICTURE = ("picture", "image", "path")  # what the column of pictures may be called
CURE = "write a line picture,label for every picture, below that header"


def labelled_pictures(source: str | Path, in_subfolders: bool = False) -> dict[str, str]:
    """The pictures of `source` and their labels: path -> label.

    A CSV file has columns ``picture`` (or ``image``, ``path``; from the folder of the file, if it
    is relative) and ``label``, any text. Of a folder, or a single picture, labels are people, as
    `person_of` tells them; pictures of nobody known and junk (-1) are told and left out.

    Raises FileNotFoundError for a `source` that is not there, ValueError where nothing has a label,
    a line of the file lacks one, or a picture has two.
    """
    source = Path(source).expanduser()
    if source.suffix.lower() == ".csv" and not source.is_dir():
        return _in_csv(source)
    people = {str(path): person_of(path, source) for path in find_pictures(source, in_subfolders)}
    known = {path: name for path, name in people.items() if is_person(name)}
    if not known:
        raise ValueError(
            f"None of {len(people)} pictures in {source} has a label; name them like "
            "0843_c1s4_054211_00.jpg, put them into a folder for each label, or give a CSV file "
            "with the columns picture and label."
        )
    if nobody := [path for path in people if path not in known]:
        LOGGER.warning(
            "%d of %d gallery pictures have no label, such as %s, and are left out.",
            len(nobody),
            len(people),
            nobody[0],
        )
    return known


def _in_csv(file: Path) -> dict[str, str]:
    """The pictures and labels of the CSV `file`."""
    labels: dict[str, str] = {}
    wrong = []
    for number, picture, label in _lines(file):
        path = str(file.parent / Path(picture).expanduser())
        if not picture or not label:
            wrong.append(f"line {number} has no {'label' if picture else 'picture'}")
        elif labels.setdefault(path, label) != label:
            wrong.append(f"line {number} calls {picture} {label}, one above {labels[path]}")
    if wrong:
        more = " …" if len(wrong) > 5 else ""
        raise ValueError(
            f"{len(wrong)} lines of {file} are wrong: {', '.join(wrong[:5])}{more}; {CURE}."
        )
    if not labels:
        raise ValueError(f"{file} has no pictures; {CURE}.")
    return labels


def _lines(file: Path) -> list[tuple[int, str, str]]:
    """Number, picture and label of each line of the CSV `file` that is not empty."""
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file.absolute()}; name a CSV file, or a folder of pictures."
        )
    # Excel begins files with a mark; the odd bytes of a name are kept as they are.
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.DictReader(text, restval="")
        try:
            columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
            picture = next((columns[name] for name in PICTURE if name in columns), None)
            if picture is None or "label" not in columns:
                raise ValueError(
                    f"{file} has no columns picture (or image, path) and label, but "
                    f"{', '.join(columns) or 'nothing'}; {CURE} (commas between the columns)."
                )
            label = columns["label"]
            return [(reader.line_num, row[picture].strip(), row[label].strip()) for row in reader]
        except csv.Error as error:
            raise ValueError(
                f"{file} is no CSV file (line {reader.line_num}: {error}); {CURE}."
            ) from error
