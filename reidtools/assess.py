"""What TEST asks for: the embeddings of a test set, all that is measured on them, the files."""

import csv
import hashlib
import io
import json
import logging
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools.build import own, size_test
from reidtools.config.load import plain
from reidtools.data.pictures import Batches
from reidtools.engine import checkpoints
from reidtools.evaluation import (
    Ranking,
    Report,
    Vectors,
    centralize,
    embed,
    expand,
    rank,
    rank_centroids,
    rerank,
    verify,
)
from reidtools.evaluation.density import density
from reidtools.evaluation.features import fingerprint, read_vectors, write_vectors
from reidtools.evaluation.vectors import FLIPS
from reidtools.modeling import Embedder
from reidtools.ops.degrade import degrade
from reidtools.registry import choose
from reidtools.visualize import curves

LOGGER = logging.getLogger("reidtools")
SETTINGS = ("METRIC", "CAMERA_FILTER", "FLIP", "QUERY_SCALE", "GALLERY_SCALE")
CENTROIDS = "Centroid gallery, made with ground-truth ids: not comparable with the other figures"


def rehearse(cfg: CfgNode) -> None:
    """Measure a handful of drawn vectors: a wrong option of TEST is found before any work is done.

    Raises what the functions that take the options raise, and ImportError where TEST.PLOTS asks for
    what is not installed.
    """
    choose("flip", cfg.TEST.FLIP, FLIPS)
    if cfg.TEST.FEATURES:
        checkpoints.make_folder(Path(cfg.TEST.FEATURES), "TEST.FEATURES")
    for scale in (cfg.TEST.QUERY_SCALE, cfg.TEST.GALLERY_SCALE):
        degrade(torch.zeros(1, 3, *size_test(cfg)), scale)
    drawn = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    people, cameras = torch.arange(1, 17) // 4 + 1, torch.arange(16) % 4
    query = Vectors(drawn, people, cameras)
    measure(cfg, Report(), "rehearsal", query, query, cfg.TEST.TOPK)
    if cfg.TEST.PLOTS:
        curves.require_matplotlib()


def report_on(
    cfg: CfgNode,
    model: Embedder,
    tests: dict[str, tuple[Batches, Batches]],
    amp: torch.dtype | None,
    *,
    final: bool,
) -> Report:
    """Embed, with autocast to `amp` if any, and measure every test set.

    A `final` test may take embeddings from files in TEST.FEATURES, and lists the TEST.TOPK nearest
    pictures; one in the course of training does neither.
    """
    report = Report()
    for name, sides in tests.items():
        query, gallery = embeddings(cfg, model, name, sides, amp, keep=final)
        ranked = measure(cfg, report, name, query, gallery, cfg.TEST.TOPK if final else 0)
        if ranked.topk is not None:
            report.nearest[name] = nearest_list(query, gallery, ranked)
    return report


def _word(name: str) -> str:
    """The name of a dataset, which may be a path, as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")


def embeddings(
    cfg: CfgNode,
    model: Embedder,
    name: str,
    sides: tuple[Batches, Batches],
    amp: torch.dtype | None,
    *,
    keep: bool,
) -> tuple[Vectors, Vectors]:
    """Query and gallery of a test set, on the device if that is CUDA, to be ranked there.

    With `keep` and a folder in TEST.FEATURES they are stored there, and taken from there the next
    time; a file made from other weights, pictures or settings is a ValueError.
    """
    folder = cfg.TEST.FEATURES if keep else ""
    weights, found = fingerprint(model) if folder else "", []
    for side, batches in zip(("query", "gallery"), sides, strict=True):
        path = Path(folder) / f"{_word(name)}_{side}.npz"
        about = {"weights": weights, **_sources(cfg, batches, side, amp)} if folder else {}
        if folder and path.is_file():
            vectors = read_vectors(path, about)
            LOGGER.info("Embeddings of %s %s are those in %s", name, side, path)
        else:
            begin = time.perf_counter()
            vectors = embed(model, batches, amp, f"{name} {side}", **own(cfg.TEST, maker=embed))
            seconds = time.perf_counter() - begin
            if keep:
                LOGGER.info("Embedded %s %s: %d in %.0f s", name, side, len(vectors), seconds)
            if folder:
                write = partial(write_vectors, vectors=vectors, about=about)
                checkpoints.write_whole(path, write)
                LOGGER.info("Kept in %s", path)
        found.append(vectors.to(batches.device) if batches.device.type == "cuda" else vectors)
    query, gallery = found
    return query, gallery


def _sources(cfg: CfgNode, batches: Batches, side: str, amp: torch.dtype | None) -> dict[str, str]:
    """What embeddings depend on besides the weights, by name."""
    digest = hashlib.sha256()
    for sample in batches.pictures.samples:
        sizes = [Path(path).stat().st_size for path in sample.paths]
        digest.update(f"{sample} {sizes}\n".encode())
    settings = {
        "backbone": cfg.MODEL.BACKBONE,
        "head": cfg.MODEL.HEADS,
        "size": size_test(cfg),
        "pixel mean": cfg.INPUT.PIXEL_MEAN,
        "pixel std": cfg.INPUT.PIXEL_STD,
        "flip": cfg.TEST.FLIP,
        "scale": cfg.TEST[f"{side.upper()}_SCALE"],
        "autocast": str(amp),
    }
    texts = {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
    return {"pictures": digest.hexdigest(), **texts}


def measure(
    cfg: CfgNode, report: Report, name: str, query: Vectors, gallery: Vectors, topk: int = 0
) -> Ranking:
    """Put into `report` all that TEST asks about the test set `name`.

    First comes the plain protocol; whatever departs from it has a title of its own. Returns the
    last ranking, after NFC, query expansion and re-ranking if there are any, with `topk`.
    """
    test = cfg.TEST
    given = own(test, cfg, maker=rank)
    usual = given | {"ap_rule": "standard", "single_shot": 0, "topk": 0}
    ranked = rank(query, gallery, **usual | {"topk": topk})
    report.add(name, ranked)
    if (rule := given["ap_rule"]) != "standard":
        other = rank(query, gallery, **usual | {"ap_rule": rule})
        report.add(name, other, f"Average precision by the {rule} rule")
    if draws := given["single_shot"]:
        other = rank(query, gallery, **usual | {"single_shot": draws})
        title = f"One gallery picture a person, mean of {draws} draws"
        report.add(name, other, title, only_cmc=True)
    if test.ROC.ENABLED:
        report.add_verification(name, verify(query, gallery, **own(test, maker=verify)))
    if test.DENSITY.ENABLED:
        figures = density(gallery, **own(test, maker=density)).figures()
        report.add_row(name, figures, "Density of the gallery's embeddings")
    if test.CENTROIDS.ENABLED:
        options = own(test.CENTROIDS, test, maker=rank_centroids)
        report.add(name, rank_centroids(query, gallery, **options), CENTROIDS)
    steps = {"NFC": test.NFC, "query expansion": test.AQE, "re-ranking": test.RERANK}
    steps = {step: node for step, node in steps.items() if node.ENABLED}
    if not steps:
        return ranked
    if "NFC" in steps:
        options = own(test.NFC, test, maker=centralize)
        query, gallery = (centralize(side, **options) for side in (query, gallery))
    if "query expansion" in steps:
        query, gallery = expand(query, gallery, **own(test.AQE, test, maker=expand))
    if "re-ranking" in steps:
        usual |= own(test.RERANK, maker=rerank)
    last = rerank if "re-ranking" in steps else rank
    ranked = last(query, gallery, **usual | {"topk": topk})
    title = " and ".join(f"{step} ({_options(node)})" for step, node in steps.items())
    report.add(name, ranked, f"After {title}")
    report.cmc[f"{name} after {' and '.join(steps)}"] = ranked.cmc
    return ranked


def _options(node: CfgNode) -> str:
    return ", ".join(f"{key.lower()} {node[key]}" for key in sorted(node) if key != "ENABLED")


def nearest_list(query: Vectors, gallery: Vectors, ranked: Ranking) -> str:
    """The nearest gallery pictures of every query as CSV."""

    def lines():
        yield "query", "place", "gallery", "distance", "same person"
        for row, columns in enumerate(ranked.topk.tolist()):
            for place, column in enumerate(columns):
                if column >= 0:
                    same = int(query.pids[row] == gallery.pids[column])
                    distance = f"{ranked.topk_distances[row, place]:.6f}"
                    yield query.names([row]), place + 1, gallery.names([column]), distance, same

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines())
    return text.getvalue()


def write_report(cfg: CfgNode, report: Report, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write lists, with TEST.PLOTS curves, and last metrics.json into `folder`; their paths."""
    files = []
    for name, text in report.nearest.items():
        files.append(folder / f"nearest_{_word(name)}.csv")
        checkpoints.write_whole(files[-1], lambda file, text=text: file.write(text.encode()))
    if cfg.TEST.PLOTS:
        files.append(folder / "cmc.png")
        curves.cmc_curves(report.cmc, files[-1])
        if report.verifications:
            files.append(folder / "roc.png")
            curves.roc_curves(report.verifications, files[-1])
    figures = {"figures": report.figures, "others": report.others, "test": plain(cfg.TEST)}
    files.append(folder / "metrics.json")
    checkpoints.write_json(files[-1], {**about, **settings(cfg), **figures})
    return files


def settings(cfg: CfgNode) -> dict[str, Any]:
    """What figures depend on besides the weights."""
    test = {key.lower(): value for key, value in cfg.TEST.items() if key in SETTINGS}
    return {"size": list(size_test(cfg)), **test}
