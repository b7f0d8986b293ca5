"""What TEST asks for: the embeddings of a test set, all that is measured on them, the files."""

import csv
import hashlib
import io
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools.build import own, size_test
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
PLAIN = ("METRIC", "CAMERA_FILTER", "FLIP", "QUERY_SCALE", "GALLERY_SCALE")
CENTROIDS = "Centroid gallery, made with ground-truth ids: not comparable with the other figures"


def rehearse(cfg: CfgNode) -> None:
    """Measure a handful of drawn vectors: a wrong option of TEST is found before any work is done.

    Raises what the functions that take the options raise, and ImportError where TEST.PLOTS asks for
    what is not installed.
    """
    choose("flip", cfg.TEST.FLIP, FLIPS)
    for scale in (cfg.TEST.QUERY_SCALE, cfg.TEST.GALLERY_SCALE):
        degrade(torch.zeros(1, 3, *size_test(cfg)), scale)
    drawn = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    people, cameras = torch.arange(1, 17) // 4 + 1, torch.arange(16) % 4
    query = Vectors(drawn, people, cameras)
    measure(cfg, Report(), "rehearsal", query, query)
    if cfg.TEST.PLOTS:
        curves.require_matplotlib()


def report_on(
    cfg: CfgNode,
    model: Embedder,
    tests: dict[str, tuple[Batches, Batches]],
    amp: torch.dtype | None,
    folder: Path | None = None,
) -> Report:
    """Embed, with autocast to `amp` if any, and measure every test set.

    With `folder` embeddings may come from files in TEST.FEATURES, and lists of the nearest pictures
    are written.
    """
    report = Report()
    for name, sides in tests.items():
        query, gallery = embeddings(cfg, model, name, sides, amp, keep=folder is not None)
        ranked = measure(cfg, report, name, query, gallery)
        if folder and ranked.topk is not None:
            write_nearest(folder / f"nearest_{Path(name).name}.csv", query, gallery, ranked)
    return report


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
    found = []
    for side, batches in zip(("query", "gallery"), sides, strict=True):
        path = Path(folder) / f"{Path(name).name}_{side}.npz"
        about = _sources(cfg, model, batches, side, amp) if folder else {}
        if folder and path.is_file():
            vectors = read_vectors(path, about)
            LOGGER.info("Embeddings of %s %s are those in %s", name, side, path)
        else:
            vectors = embed(model, batches, amp, f"{name} {side}", **own(cfg.TEST, maker=embed))
            if folder:
                checkpoints.make_folder(path.parent)
                write = partial(write_vectors, vectors=vectors, about=about)
                checkpoints.write_whole(path, write)
        found.append(vectors.to(batches.device) if batches.device.type == "cuda" else vectors)
    query, gallery = found
    return query, gallery


def _sources(
    cfg: CfgNode, model: Embedder, batches: Batches, side: str, amp: torch.dtype | None
) -> dict[str, str]:
    """What embeddings depend on, by name."""
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
    plain = {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
    return {"weights": fingerprint(model), "pictures": digest.hexdigest(), **plain}


def measure(cfg: CfgNode, report: Report, name: str, query: Vectors, gallery: Vectors) -> Ranking:
    """Put into `report` all that TEST asks about the test set `name`; returns the last ranking.

    First comes the plain protocol; whatever departs from it has a title of its own.
    """
    test = cfg.TEST
    given = own(test, maker=rank)
    plain = given | {"ap_rule": "standard", "single_shot": 0}
    ranked = rank(query, gallery, **plain)
    report.add(name, ranked)
    if (rule := given["ap_rule"]) != "standard":
        other = rank(query, gallery, **plain | {"ap_rule": rule})
        report.add(name, other, f"Average precision by the {rule} rule")
    if draws := given["single_shot"]:
        other = rank(query, gallery, **plain | {"single_shot": draws})
        report.add(name, other, f"One gallery picture a person, mean of {draws} draws")
    if test.ROC.ENABLED:
        report.verify(name, verify(query, gallery, **own(test, maker=verify)))
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
        ranked = rerank(query, gallery, **own(test.RERANK, maker=rerank), **plain)
    else:
        ranked = rank(query, gallery, **plain)
    done = " and ".join(steps)
    report.add(name, ranked, f"After {done}")
    report.cmc[f"{name} after {done}"] = ranked.cmc
    return ranked


def write_nearest(path: Path, query: Vectors, gallery: Vectors, ranked: Ranking) -> None:
    """Write the nearest gallery pictures of every query into the CSV file `path`."""

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
    checkpoints.write_whole(path, lambda file: file.write(text.getvalue().encode()))
    LOGGER.info("Written: %s", path)


def write_report(cfg: CfgNode, report: Report, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write metrics.json, and with TEST.PLOTS the curves, into `folder`; returns their paths."""
    files = [folder / "metrics.json"]
    figures = {"figures": report.figures, "others": report.others}
    checkpoints.write_json(files[0], {**about, **settings(cfg), **figures})
    if cfg.TEST.PLOTS:
        files.append(folder / "cmc.png")
        curves.cmc_curves(report.cmc, files[-1])
        if report.verifications:
            files.append(folder / "roc.png")
            curves.roc_curves(report.verifications, files[-1])
    return files


def settings(cfg: CfgNode) -> dict[str, Any]:
    """What figures depend on besides the weights."""
    test = {key.lower(): value for key, value in cfg.TEST.items() if key in PLAIN}
    return {"size": list(size_test(cfg)), **test}
