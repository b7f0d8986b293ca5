"""docs/model_zoo.md: what there is, as a page that is made and never edited."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from reidtools.api.inventory import (
    KINDS,
    Component,
    components,
    outline,
    recipes,
    shown,
    told_figures,
)
from reidtools.files import make_folder, write_whole
from reidtools.modeling.zoo import Published, of_backbone, read_zoo

HEAD = """\
# Model zoo

What this toolbox has: backbones, heads, losses, samplers, datasets, recipes, and weights that
others have published and that it takes. The page is made from the registries, the heads of the
config files and [zoo.yml](../reidtools/modeling/zoo.yml), by
`python tools/describe.py --markdown docs/model_zoo.md`; edit those, not this. In the terminal
`python tools/describe.py` shows the same tables, and `python tools/describe.py resnet50` one thing
whole.
"""
WEIGHTS = """\
## Published weights

`MODEL.WEIGHTS zoo:NAME` downloads a file of these tables and takes it, as `rt.load("zoo:NAME")`
does; `python tools/download.py --weights NAME` only downloads. Files go to torch's cache
(`$TORCH_HOME/hub/checkpoints`, by default in `~/.cache/torch`). A download that broke off goes on,
and is checked where the SHA-256 is known. A file in the folder at hand or in `models/` that is
called NAME.pth, or as its publisher calls it, counts before; FastReID's cache is searched as well.

Figures are Rank-1 / mAP / mINP in percent as their publishers tell them, without re-ranking; none
of them were measured here, and they compare within a project only.
Datasets show real people, and weights made of them are for research, as the datasets are.
"""


def write_page(path: str | Path) -> Path:
    """Write the page to `path`, and say where."""
    file = Path(path).expanduser()
    make_folder(file.parent, "--markdown")
    write_whole(file, lambda out: out.write(page().encode()))
    return file


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD, *(_section(kind) for kind in KINDS), _recipes(), WEIGHTS, *_projects()]
    return "\n".join(parts)


def _section(kind: str) -> str:
    found, common = components(kind), shown(KINDS[kind].common)
    note = f"All of them have the options {common} as well.\n\n" if common else ""
    if kind == "backbones":
        titles = ("name", "what it is", "values", "parameters", "paper", "pretrained", "published")
        return f"## Backbones\n\n{note}{_table(titles, map(_backbone, found))}"
    titles = ("name", "what it is", "options and defaults", "from")
    rows = (
        (f"`{one.name}`", one.summary, _code(shown(one.options)), _links(one.papers))
        for one in found
    )
    return f"## {kind.capitalize()}\n\n{note}{_table(titles, rows)}"


def _backbone(one: Component) -> tuple[str, ...]:
    built, count = outline(one.name), len(of_backbone(one.name))
    size = f"{built.parameters / 1e6:.1f} M"
    known = f"{count} below" if count else ""
    links = _links(one.papers)
    return f"`{one.name}`", one.summary, str(built.dim), size, links, _origin(built.origin), known


def _recipes() -> str:
    rows = ((f"[{one.name}](../configs/{one.name})", one.summary) for one in recipes())
    return f"## Recipes\n\n{_table(('config', 'what it is'), rows)}"


def _projects() -> Iterator[str]:
    """A table of weights for each project, with the notes of its families below."""
    projects: dict[str, list[Published]] = {}
    for weights in read_zoo().values():
        projects.setdefault(weights.project, []).append(weights)
    titles = ("name", "network", "trained on", "size", "Rank-1 / mAP / mINP", "SHA-256")
    for project, files in projects.items():
        lines = [f"Told at <{files[0].source}>.", *_notes(files)]
        yield f"### {project}\n\n{_lines(lines)}\n{_table(titles, map(_weights, files))}"


def _notes(files: list[Published]) -> Iterator[str]:
    """What to know of files, each told once, and of which families."""
    families = {weights.family: weights.note for weights in files}
    for note in dict.fromkeys(note for note in families.values() if note):
        of = [family for family, own in families.items() if own == note]
        yield f"- {'' if len(of) == len(families) else '; '.join(of) + ': '}{note}"


def _lines(lines: list[str]) -> str:
    first, *rest = lines
    return "\n".join([first, "", *rest, ""] if rest else [first, ""])


def _weights(weights: Published) -> tuple[str, ...]:
    figures = "<br>".join(told_figures(weights))
    name = f"[`{weights.name}`]({weights.address})"
    size, known = "{} x {}".format(*weights.size), _code(weights.sha256[:8])
    return name, weights.family, weights.trained_on, size, figures, known


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(titles)]
    lines += [["---"] * len(lines[0])]
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _links(papers: Iterable[str]) -> str:
    """Papers and addresses as links with short words."""
    shorter = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
    links = []
    for paper in papers:
        whose, _, number = paper.partition(":")
        if whose in shorter:
            links.append(f"[{paper}]({shorter[whose]}{number})")
        else:
            links.append(f"[{number.removeprefix('//').partition('/')[0]}]({paper})")
    return ", ".join(links)


def _origin(origin: str) -> str:
    if not origin.startswith("https:"):
        return origin
    drive = "drive.google" in origin
    return f"[{'Google Drive' if drive else origin.rpartition('/')[2]}]({origin})"
