"""Human Re-ID with DenseNet's commands: a gallery in index/<experiment>.mat, asked and tested."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from reidtools import build
from reidtools.api.pictures import model_of, vectors_of, writing
from reidtools.api.recipes import find_run, get_config
from reidtools.api.searching import Found, ask, expand_queries, write_found
from reidtools.api.sources import about, check_index
from reidtools.api.testing import test_names
from reidtools.engine import logbook
from reidtools.evaluation import Ranking, Vectors, rank
from reidtools.modeling import Embedder
from reidtools.retrieval import Gallery, read_matlab, write_matlab

LOGGER = logging.getLogger("reidtools")
TOPS = (1, 5, 10)
Kept = tuple[Vectors | None, Vectors, dict[str, Any] | None]  # query, gallery, about the model


def experiment_config(
    name: str, files: Sequence[str | Path], overrides: Sequence[str]
) -> tuple[CfgNode, Path]:
    """The config of experiment `name` with its weights, and the path of its index.

    The weights are best.pth of the run called so, wherever it is in logs/, else
    models/<name>/best.pth; MODEL.WEIGHTS in `files` or `overrides` wins. Without a `name` the index
    is called like the run of the weights. Raises ValueError where there are no weights.
    """
    cfg = get_config(files, overrides)
    if name and not cfg.MODEL.WEIGHTS:
        folder = find_run(name) or Path("models") / name
        if not (folder / "best.pth").is_file():
            raise FileNotFoundError(
                f"There is no run called {name} in logs/ and no models/{name}/best.pth; train with "
                f"--exp_name {name}, or give MODEL.WEIGHTS."
            )
        cfg = get_config(files, [*overrides, "MODEL.WEIGHTS", str(folder / "best.pth")])
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("There is no model: say --exp_name, or give MODEL.WEIGHTS.")
    weights = Path(cfg.MODEL.WEIGHTS)
    of_a_run = (weights.parent / "config.yml").is_file()
    own = f"{weights.parent.name}_{weights.stem}" if of_a_run else weights.stem
    return cfg, Path("index") / f"{name or own}.mat"


def search_index(
    cfg: CfgNode,
    path: Path,
    queries: Sequence[str | Path],
    topk: int = 5,
    *,
    load: bool = False,
    save: bool = False,
) -> Found:
    """Find the `topk` nearest to `queries` in the gallery of the test set of `cfg`.

    With `load` its vectors come from the index `path`, which must be of the same model;
    with `save` they are written there. Writes result.csv, results.json and results.npy into
    OUTPUT_DIR, else output_dir.
    """
    logbook.set_up_logging()
    pictures = expand_queries(queries)
    kept = read_matlab(path) if load else None
    model = model_of(cfg)
    asked, vectors, told = _gallery(cfg, model, kept, path)
    if save:
        write_matlab(path, vectors, asked, told)
        LOGGER.info("Written: %s", path)
    gallery = Gallery.build(vectors, about(cfg, model))
    with writing(cfg) as home:
        query = vectors_of(cfg, model, pictures, False, "query")
        found = ask(gallery, query, topk)
        files = write_found(home, found, gallery, query.paths, picture=False)
    LOGGER.info("Written: %s", ", ".join(map(str, files)))
    return found


def evaluate_index(cfg: CfgNode, path: Path, *, load: bool = False, save: bool = False) -> Ranking:
    """Rank the gallery of the test set of `cfg` for its queries, by TEST's protocol and AP rule.

    With `load` vectors come from the index `path`, which must be of the same model; queries
    that it lacks are embedded. With `save` both are written there.
    """
    logbook.set_up_logging()
    kept = read_matlab(path) if load else None
    model = model_of(cfg)
    query, gallery, told = _gallery(cfg, model, kept, path)
    if query is None:
        own = build.splits(cfg, _test_set(cfg)).query
        query = vectors_of(cfg, model, own, strict=True, side="query")
    if save:
        write_matlab(path, gallery, query, told)
        LOGGER.info("Written: %s", path)
    return rank(query, gallery, **build.own(cfg.TEST, cfg, maker=rank))


def top_line(ranked: Ranking) -> str:
    """``Top-1 accuracy: …%, Top-5 accuracy: …%, Top-10 accuracy: …%, mAP: …%``.

    Top-k is cumulative: a match among the nearest k. The original's Top-5 counted matches at place
    5 alone.
    """
    tops = [ranked.cmc[min(k, len(ranked.cmc)) - 1].item() for k in TOPS]
    told = [f"Top-{k} accuracy: {100 * top:.2f}%" for k, top in zip(TOPS, tops, strict=True)]
    return ", ".join([*told, f"mAP: {100 * ranked.mAP:.2f}%"])


def _gallery(cfg: CfgNode, model: Embedder, kept: Kept | None, path: Path) -> Kept:
    """What was `kept` at `path`, if `model` made it, or the gallery embedded now."""
    if kept is None:
        samples = build.splits(cfg, _test_set(cfg)).gallery
        return None, vectors_of(cfg, model, samples, strict=True), about(cfg, model)
    query, gallery, told = kept
    check_index(cfg, model, path, gallery, told)
    try:  # the file has no paths
        samples = build.splits(cfg, _test_set(cfg)).gallery
    except (OSError, LookupError):
        samples = []
    people = list(zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True))
    if people == [(sample.pid, sample.camid) for sample in samples]:
        paths = [sample.paths[0] for sample in samples]
        return query, Vectors(gallery.vectors, gallery.pids, gallery.camids, paths), told
    LOGGER.warning(
        "The pictures of %s are not those of %s, so hits are called by person, camera and row.",
        path,
        _test_set(cfg),
    )
    return query, gallery, told


def _test_set(cfg: CfgNode) -> str:
    return test_names(cfg)[0]
