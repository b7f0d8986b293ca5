"""A test as one HTML file that needs nothing else: no network, no JavaScript, no other file."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reidtools.evaluation import Ranking, Report, Vectors
from reidtools.evaluation.report import Rows
from reidtools.files import make_folder, write_whole
from reidtools.visualize.curves import ap_histogram, cmc_curves, progress_curves, roc_curves
from reidtools.visualize.examples import choose_queries, example
from reidtools.visualize.figures import require_matplotlib
from reidtools.visualize.history import History
from reidtools.visualize.images import encoded

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #ffffff; --line: #d5d5d9;
  --soft: #f4f4f6; --dim: #63636a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --paper: #17171a; --line: #3a3a40;
  --soft: #222226; --dim: #a0a0a8; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 72rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .75rem; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th { background: var(--soft); } th:first-child, td:first-child, .words td { text-align: left; }
td { overflow-wrap: anywhere; }
figure { margin: 0 0 1.2rem; } figcaption { color: var(--dim); overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } .row figure { max-width: 16.5rem; }
.key { color: var(--dim); }
""".strip()
KEY = (
    "The query is framed black, pictures of its person green, others red. Below each stand its "
    "camera and its {}."
)
TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


def write_page(
    path: str | Path,
    report: Report,
    *,
    title: str = "Test",
    facts: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    history: History | None = None,
    pictures: Mapping[str, Sequence[str | Path]] | None = None,
    similar: bool = True,
    queries: int = 6,
    topk: int = 10,
) -> None:
    """Write `report` as the HTML file `path`, all or nothing.

    It has tables of all figures, CMC curves, ROC curves where there are verifications, and for
    every test set in `report.ranked` (with ``topk``) how the average precision is spread, the best
    and the worst `queries` with their `topk` nearest, and the failures: wrong at rank 1, nearest
    first. `facts` stand above, `settings` below in a table; `history` is what `read_history` gives;
    `pictures` are PNG files by the title of their section. `similar` says that the distances are 1
    - cosine, so that the cosine is shown instead. All text is escaped.

    Raises ImportError without matplotlib, OSError for a picture that cannot be read.
    """
    require_matplotlib()
    parts = [f"<h1>{escape(title)}</h1>", _words(facts or {})]
    parts += [f"<p>{escape(note)}</p>" for note in report.notes]
    parts += ["<h2>Figures</h2>", _table(report.figures)]
    for name, rows in report.others.items():
        parts += [f"<h3>{escape(name)}</h3>", _table(rows)]
    curves = []
    if report.cmc:
        curves.append(_drawn("CMC curves", cmc_curves, report.cmc))
    if report.verifications:
        curves.append(_drawn("ROC curves", roc_curves, report.verifications))
    parts += ["<h2>Curves</h2>", f'<div class="grid">{"".join(curves)}</div>'] if curves else []
    parts += _history(history) if history else []
    for name, ranked in report.ranked.items():
        parts += _examples(name, *ranked, similar=similar, queries=queries, topk=topk)
    for name, files in (pictures or {}).items():
        shown = "".join(_figure(Path(f).read_bytes(), ".png", Path(f).stem) for f in files)
        parts += [f"<h2>{escape(name)}</h2>", f'<div class="row">{shown}</div>'] if shown else []
        if len(files) == 1:  # alone it has the whole width
            parts[-1] = shown
    if settings:
        parts += ["<h2>Settings</h2>", "<details><summary>All keys</summary>"]
        parts += [_words(settings), "</details>"]
    text = _document(title, "\n".join(filter(None, parts)))
    path = Path(path)
    make_folder(path.parent)
    # A file name may hold bytes that are no text; they become question marks.
    write_whole(path, lambda file: file.write(text.encode("utf-8", "replace")))


def _document(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def _history(history: History) -> list[str]:
    """Losses and scores of the run, if it wrote any."""
    drawn = []
    if history.scores:
        lines = {"title": "Scores in the course of training", "height": "%"}
        drawn.append(_drawn("Scores over epochs", progress_curves, history.scores, **lines))
    if history.losses:
        lines = {"title": "Losses in the course of training", "height": "Mean of the epoch"}
        drawn.append(_drawn("Losses over epochs", progress_curves, history.losses, **lines))
    return ["<h2>The run</h2>", f'<div class="grid">{"".join(drawn)}</div>'] if drawn else []


def _examples(
    name: str,
    query: Vectors,
    gallery: Vectors,
    ranked: Ranking,
    *,
    similar: bool,
    queries: int,
    topk: int,
) -> list[str]:
    """How the average precision of a test set is spread, and queries that are worth a look."""
    parts = [f"<h2>Queries of {escape(name)}</h2>"]
    parts.append(_drawn("Histogram of the average precision", ap_histogram, ranked.ap))
    if query.paths is None or gallery.paths is None:
        return [*parts, "<p>The vectors have no paths, so there are no pictures to show.</p>"]
    parts.append(f'<p class="key">{KEY.format("cosine" if similar else "distance")}</p>')
    for title, rows in choose_queries(query, gallery, ranked, queries).items():
        parts.append(f"<h3>{escape(title)}</h3>")
        for row in rows:
            made = example(query, gallery, ranked, row, topk=topk, similar=similar)
            parts.append(_figure(encoded(made.picture, ".jpg"), ".jpg", made.caption))
        parts += [] if rows else ["<p>None.</p>"]
    return parts


def _drawn(alt: str, draw: Callable, what: Any, **options: Any) -> str:
    """What `draw` draws of `what`, as a figure without a caption."""
    file = io.BytesIO()
    draw(what, file, **options)
    return f"<figure>{_image(file.getvalue(), '.png', alt)}</figure>"


def _figure(data: bytes, kind: str, caption: str) -> str:
    text = escape(caption)
    return f"<figure>{_image(data, kind, caption)}<figcaption>{text}</figcaption></figure>"


def _image(data: bytes, kind: str, alt: str) -> str:
    uri = f"data:{TYPES[kind]};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{escape(alt)}" src="{uri}">'


def _table(rows: Rows) -> str:
    """Figures by test set; a column for each that any of them has."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in ("Test set", *names))
    lines = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f"<td>{_number(row.get(column, math.nan))}</td>" for column in names)
        + "</tr>"
        for name, row in rows.items()
    ]
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _number(value: float) -> str:
    """Shares in percent with two decimals, counts whole, a dash for what is not known."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _words(pairs: Mapping[str, Any]) -> str:
    """Names and what they are, as a table."""
    lines = (
        f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in pairs.items()
    )
    return f'<div class="wide"><table class="words">{"".join(lines)}</table></div>' if pairs else ""
