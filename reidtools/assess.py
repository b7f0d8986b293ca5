"""What TEST asks for: the embeddings of a test set, all that is measured on them, the files."""

import csv
import hashlib
import io
import json
import logging
import re
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from reidtools.build import Sides, check_scales, own, size_test, test_scale
from reidtools.config.load import plain
from reidtools.data.pictures import Batches
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
from reidtools.evaluation.report import CENTROIDS
from reidtools.evaluation.vectors import FLIPS
from reidtools.files import make_folder, write_json, write_whole
from reidtools.modeling import Embedder
from reidtools.registry import choose
from reidtools.visualize import curves
from reidtools.visualize.figures import require_matplotlib
from reidtools.visualize.ranked_lists import write_ranked_lists

LOGGER = logging.getLogger("reidtools")
PLAIN_MEAN = {"NAME": "Mean", "NORM_FRAMES": False}
SETTINGS = ("METRIC", "CAMERA_FILTER", "FLIP")
RESOLUTIONS = "Across resolutions, query - gallery"


def rehearse(cfg: CfgNode) -> None:
    """Measure a handful of drawn vectors: a wrong option of TEST is found before any work is done.

    Raises what the functions that take the options raise, and ImportError where TEST.PLOTS asks for
    what is not installed.
    """
    choose("flip", cfg.TEST.FLIP, FLIPS)
    if cfg.TEST.FEATURES:
        make_folder(Path(cfg.TEST.FEATURES), "TEST.FEATURES")
    for side in ("query", "gallery"):
        check_scales(f"TEST.{side.upper()}_SCALE", [test_scale(cfg, side)], size_test(cfg))
    drawn = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    people, cameras = torch.arange(1, 17) // 4 + 1, torch.arange(16) % 4
    query = Vectors(drawn, people, cameras)
    measure(cfg, Report(), "rehearsal", query, query, cfg.TEST.TOPK)
    if cfg.TEST.PLOTS:
        require_matplotlib()


def report_on(
    cfg: CfgNode,
    model: Embedder,
    tests: dict[str, Sides],
    amp: torch.dtype | None,
    *,
    final: bool,
) -> Report:
    """Embed, with autocast to `amp` if any, and measure every test set.

    A test at low resolution is followed by every pairing of it with the full one. A `final` test
    may take embeddings from files in TEST.FEATURES, and keeps the nearest pictures that TEST.TOPK
    and TEST.VISUALIZE want; one in the course of training does neither.
    """
    report, test = Report(), cfg.TEST
    topk = max(test.TOPK, test.VISUALIZE_TOPK if test.VISUALIZE else 0) if final else 0
    for name, sides in tests.items():
        queries = [embedded(cfg, model, name, "query", b, amp, keep=final) for b in sides.queries]
        galleries = [
            embedded(cfg, model, name, "gallery", b, amp, keep=final) for b in sides.galleries
        ]
        ranked = measure(cfg, report, name, queries[0], galleries[0], topk)
        if topk:
            report.ranked[name] = queries[0], galleries[0], ranked
        kinds = [[resolution(batches) for batches in side] for side in sides]
        asked = report.resolutions[name] = f"{kinds[0][0]} - {kinds[1][0]}"
        if len(queries) + len(galleries) > 2:
            # Full resolution first: HR - HR, LR - HR, HR - LR, LR - LR.
            for g, q in product(reversed(range(len(galleries))), reversed(range(len(queries)))):
                pair = f"{kinds[0][q]} - {kinds[1][g]}"
                if pair == asked:
                    report.add_row(f"{name} {pair}", report.figures[name], RESOLUTIONS)
                else:
                    found = rank(queries[q], galleries[g], **_plain(cfg))
                    report.add(f"{name} {pair}", found, RESOLUTIONS)
    return report


def resolution(batches: Batches) -> str:
    """HR for pictures as they are stored, LR(x4) for a quarter of it, MLR for several at once."""
    scales = {sample.scale for sample in batches.pictures.samples}
    if scales == {1}:
        return "HR"
    return f"LR(x{scales.pop():g})" if len(scales) == 1 else "MLR"


def file_word(name: str) -> str:
    """The name of a dataset, which may be a path, as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")


def embedded(
    cfg: CfgNode,
    model: Embedder,
    name: str,
    side: str,
    batches: Batches,
    amp: torch.dtype | None,
    *,
    keep: bool,
) -> Vectors:
    """The query or gallery of a test set, on the device if that is CUDA, to be ranked there.

    With `keep` and a folder in TEST.FEATURES it is stored there, and taken from there the next
    time; a file made from other weights, pictures or settings is a ValueError.
    """
    folder = cfg.TEST.FEATURES if keep else ""
    kind = resolution(batches)
    path = (
        Path(folder)
        / f"{file_word(name)}_{side}{'' if kind == 'HR' else '_' + file_word(kind)}.npz"
    )
    about = {"weights": fingerprint(model), **_sources(cfg, batches, amp)} if folder else {}
    if folder and path.is_file():
        vectors = read_vectors(path, about)
        LOGGER.info("Embeddings of %s %s are those in %s", name, side, path)
    else:
        begin, title = time.perf_counter(), f"{name} {side} {kind}"
        vectors = embed(model, batches, amp, title, **own(cfg.TEST, maker=embed))
        if keep:
            seconds = time.perf_counter() - begin
            LOGGER.info("Embedded %s: %d in %.0f s", title, len(vectors), seconds)
        if folder:
            write = partial(write_vectors, vectors=vectors, about=about)
            write_whole(path, write)
            LOGGER.info("Kept in %s", path)
    return vectors.to(batches.device) if batches.device.type == "cuda" else vectors


def as_asked(
    cfg: CfgNode, model: Embedder, name: str, sides: Sides, amp: torch.dtype | None
) -> list[Vectors]:
    """Query and gallery of a test set at the resolutions asked for, kept as `embedded` does."""
    return [
        embedded(cfg, model, name, side, batches[0], amp, keep=True)
        for side, batches in zip(("query", "gallery"), sides, strict=True)
    ]


def _sources(cfg: CfgNode, batches: Batches, amp: torch.dtype | None) -> dict[str, str]:
    """What embeddings depend on besides the weights, by name."""
    digest = hashlib.sha256()
    for sample in batches.pictures.samples:
        sizes = [Path(path).stat().st_size for path in sample.paths]
        digest.update(f"{sample} {sizes}\n".encode())
    if (ends := batches.pictures.ends) is not None:
        digest.update(ends.numpy().tobytes())
    settings = {
        "backbone": cfg.MODEL.BACKBONE,
        "head": cfg.MODEL.HEADS,
        "size": size_test(cfg),
        "pixel mean": cfg.INPUT.PIXEL_MEAN,
        "pixel std": cfg.INPUT.PIXEL_STD,
        "flip": cfg.TEST.FLIP,
        "autocast": str(amp),
    }
    if cfg.MODEL.TEMPORAL != PLAIN_MEAN:  # files from before there were tracklets do not tell it
        settings["temporal"] = cfg.MODEL.TEMPORAL
    texts = {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
    return {"pictures": digest.hexdigest(), **texts}


def _plain(cfg: CfgNode) -> dict[str, Any]:
    """The options of `rank` that the plain protocol leaves to the config."""
    given = own(cfg.TEST, cfg, maker=rank)
    return given | {"ap_rule": "standard", "single_shot": 0, "topk": 0}


def measure(
    cfg: CfgNode, report: Report, name: str, query: Vectors, gallery: Vectors, topk: int = 0
) -> Ranking:
    """Put into `report` all that TEST asks about the test set `name`.

    First comes the plain protocol; whatever departs from it has a title of its own. Returns the
    last ranking, after NFC, query expansion and re-ranking if there are any, with `topk`.
    """
    test = cfg.TEST
    given = own(test, cfg, maker=rank)
    usual = _plain(cfg)
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
        options["keep_camids"] &= test.CAMERA_FILTER != "none"
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


def nearest_list(query: Vectors, gallery: Vectors, ranked: Ranking, topk: int) -> str:
    """The `topk` nearest gallery pictures of every query as CSV."""

    def lines():
        yield "query", "place", "gallery", "distance", "same person"
        for row, columns in enumerate(ranked.topk.tolist()):
            for place, column in enumerate(columns[:topk]):
                if column >= 0:
                    same = int(query.pids[row] == gallery.pids[column])
                    distance = f"{ranked.topk_distances[row, place]:.6f}"
                    yield query.names([row]), place + 1, gallery.names([column]), distance, same

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines())
    return text.getvalue()


def write_report(cfg: CfgNode, report: Report, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write lists and curves, as TEST asks, and last metrics.json into `folder`; their paths."""
    files, test = [], cfg.TEST
    for name, ranked in report.ranked.items():
        if test.TOPK:
            text = nearest_list(*ranked, test.TOPK)
            files.append(folder / f"nearest_{file_word(name)}.csv")
            write_whole(files[-1], lambda file, text=text: file.write(text.encode()))
        if test.VISUALIZE:
            files.append(folder / "visrank" / (file_word(name) if len(report.ranked) > 1 else ""))
            draw_lists(cfg, *ranked, files[-1])
    if cfg.TEST.PLOTS:
        files.append(folder / "cmc.png")
        curves.cmc_curves(report.cmc, files[-1])
        if report.verifications:
            files.append(folder / "roc.png")
            curves.roc_curves(report.verifications, files[-1])
    figures = {"resolutions": report.resolutions, "figures": report.figures}
    figures |= {"others": report.others, "test": plain(cfg.TEST)}
    files.append(folder / "metrics.json")
    write_json(files[-1], {**about, **settings(cfg), **figures})
    return files


def draw_lists(
    cfg: CfgNode, query: Vectors, gallery: Vectors, ranked: Ranking, folder: Path
) -> None:
    """Write the pictures that TEST.VISUALIZE asks for."""
    topk = cfg.TEST.VISUALIZE_TOPK
    columns = F.pad(ranked.topk[:, :topk], (0, max(0, topk - len(gallery))), value=-1)
    right = query.pids[:, None] == gallery.pids[columns.clamp(min=0)]
    most = cfg.TEST.VISUALIZE_MAX_NUMBER
    write_ranked_lists(query.paths, gallery.paths, columns, right, folder, most=most)


def settings(cfg: CfgNode) -> dict[str, Any]:
    """What figures depend on besides the weights."""
    test = {key.lower(): value for key, value in cfg.TEST.items() if key in SETTINGS}
    return {"size": list(size_test(cfg)), **test}
