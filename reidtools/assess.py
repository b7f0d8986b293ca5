"""What TEST asks for: the embeddings of a test set, and all that is measured on them."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools import processes
from reidtools.build import (
    PLAIN_MEAN,
    Sides,
    at_speed,
    check_scales,
    own,
    size_test,
    test_batches,
    test_scale,
)
from reidtools.data.generated import Pose, generated_poses
from reidtools.data.pictures import Batches
from reidtools.data.samples import of_other_sets
from reidtools.evaluation import (
    Ranking,
    Report,
    Vectors,
    centralize,
    embed,
    expand,
    fuse_generated,
    rank,
    rank_centroids,
    rerank,
    verify,
)
from reidtools.evaluation.density import density
from reidtools.evaluation.features import fingerprint, read_vectors, write_vectors
from reidtools.evaluation.report import CENTROIDS
from reidtools.evaluation.vectors import FLIPS
from reidtools.export.runtime import RUNTIMES
from reidtools.files import make_folder, write_whole
from reidtools.modeling import Embedder
from reidtools.registry import choose
from reidtools.reports import file_word
from reidtools.visualize.figures import require_matplotlib

LOGGER = logging.getLogger("reidtools")
RESOLUTIONS = "Across resolutions, query - gallery"


def rehearse(cfg: CfgNode) -> None:
    """Measure a handful of drawn vectors: a wrong option of TEST is found before any work is done.

    Raises what the functions that take the options raise, and ImportError where TEST.PLOTS asks for
    what is not installed.
    """
    choose("flip", cfg.TEST.FLIP, FLIPS)
    choose("TEST.RUNTIME", cfg.TEST.RUNTIME, RUNTIMES)
    if cfg.TEST.FEATURES:
        make_folder(Path(cfg.TEST.FEATURES), "TEST.FEATURES")
    for side in ("query", "gallery"):
        check_scales(f"TEST.{side.upper()}_SCALE", [test_scale(cfg, side)], size_test(cfg))
    drawn = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    people, cameras = torch.arange(1, 17) // 4 + 1, torch.arange(16) % 4
    query, fused = Vectors(drawn, people, cameras), None
    if cfg.TEST.IPG.ENABLED:
        options = own(cfg.TEST.IPG, maker=fuse_generated)
        fused = (fuse_generated(query, [(query, range(16))], **options),) * 2
    measure(cfg, Report(), "rehearsal", query, query, cfg.TEST.TOPK, fused)
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
    may take embeddings from files in TEST.FEATURES, keeps the nearest pictures that TEST.TOPK and
    TEST.VISUALIZE want, and does TEST.IPG; one in the course of training does none of it, and tells
    the sets of `cfg` that it is trained on from others.
    """
    report, test = Report(), cfg.TEST
    if not final:
        report.unseen = of_other_sets(tests, cfg.DATASETS.NAMES)
    if test.IPG.ENABLED and not final:
        LOGGER.info("TEST.IPG embeds many times as many pictures; tools/test.py does it, not this.")
    poses = {name: _poses(cfg, name, s) for name, s in tests.items() if final and test.IPG.ENABLED}
    topk = max(test.TOPK, test.VISUALIZE_TOPK if test.VISUALIZE else 0) if final else 0
    for name, sides in tests.items():
        queries = [embedded(cfg, model, name, "query", b, amp, keep=final) for b in sides.queries]
        galleries = [
            embedded(cfg, model, name, "gallery", b, amp, keep=final) for b in sides.galleries
        ]
        query, gallery, fused = queries[0], galleries[0], None
        if name in poses:
            both = zip((query, gallery), sides, ("query", "gallery"), strict=True)
            fused = [_fused(cfg, model, v, b[0], poses[name][s], amp, s) for v, b, s in both]
        ranked = measure(cfg, report, name, query, gallery, topk, fused)
        if topk:
            report.ranked[name] = query, gallery, ranked
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
    if folder and processes.from_first(path.is_file):
        vectors = read_vectors(path, about)
        LOGGER.info("Embeddings of %s %s are those in %s", name, side, path)
    else:
        begin, title = time.perf_counter(), f"{name} {side} {kind}"
        # In the course of training weights change too soon for what takes long to prepare.
        runs = at_speed(cfg, model, len(batches.pictures) if keep else 0, amp)
        vectors = embed(runs, batches, amp, title, **own(cfg.TEST, maker=embed))
        if keep:
            seconds = time.perf_counter() - begin
            LOGGER.info("Embedded %s: %d in %.0f s", title, len(vectors), seconds)
        if folder and processes.first():
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


def _poses(cfg: CfgNode, name: str, sides: Sides) -> dict[str, list[Pose]]:
    """Generated pictures of both sides of the test set `name`; how many there are is logged."""
    query, gallery = (batches[0].pictures for batches in sides)
    if query.ends is not None or gallery.ends is not None:
        raise ValueError(f"TEST.IPG takes pictures, and {name} has tracklets; test it without IPG.")
    # Pid 0 is a distractor where nobody asks for it: Pose2ID generates nothing of those.
    without = {0} - {sample.pid for sample in query.samples}
    found = {}
    for side, pictures in (("query", query), ("gallery", gallery)):
        samples = pictures.samples
        found[side] = generated_poses(samples, cfg.TEST.IPG.ROOT, without=without)
        there = sum(len(pose.rows) for pose in found[side])
        LOGGER.info(
            "IPG, %s %s: %d poses of %d pictures, %d generated ones found; for %d, %d of them of "
            "distractors, the original stands in",
            *(name, side, len(found[side]), len(samples), there),
            len(found[side]) * len(samples) - there,
            len(found[side]) * sum(sample.pid in without for sample in samples),
        )
    return found


def _fused(
    cfg: CfgNode,
    model: Embedder,
    vectors: Vectors,
    batches: Batches,
    poses: list[Pose],
    amp: torch.dtype | None,
    side: str,
) -> Vectors:
    """`vectors` fused with those of the generated pictures, which are embedded pose by pose."""

    def embeddings(pose: Pose) -> Vectors | None:
        made = test_batches(cfg, pose.samples, batches.device) if pose.samples else None
        title, options = f"{side} {pose.name}", own(cfg.TEST, maker=embed)
        runs = at_speed(cfg, model, len(pose.samples), amp)
        return embed(runs, made, amp, title, **options) if made else None

    seen = ((embeddings(pose), pose.rows) for pose in poses)
    return fuse_generated(vectors, seen, **own(cfg.TEST.IPG, maker=fuse_generated))


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
    # Older files tell neither of these, and were made with the defaults.
    if cfg.MODEL.TEMPORAL != PLAIN_MEAN:
        settings["temporal"] = cfg.MODEL.TEMPORAL
    if cfg.INPUT.INTERPOLATION != "area":
        settings["interpolation"] = cfg.INPUT.INTERPOLATION
    texts = {name: json.dumps(value, sort_keys=True) for name, value in settings.items()}
    return {"pictures": digest.hexdigest(), **texts}


def _plain(cfg: CfgNode) -> dict[str, Any]:
    """The options of `rank` that the plain protocol leaves to the config."""
    given = own(cfg.TEST, cfg, maker=rank)
    return given | {"ap_rule": "standard", "single_shot": 0, "topk": 0}


def measure(
    cfg: CfgNode,
    report: Report,
    name: str,
    query: Vectors,
    gallery: Vectors,
    topk: int = 0,
    fused: Sequence[Vectors] | None = None,
) -> Ranking:
    """Put into `report` all that TEST asks about the test set `name`.

    First comes the plain protocol; whatever departs from it has a title of its own. `fused` are
    query and gallery after IPG, if it is done. Returns the last ranking, after IPG, NFC, query
    expansion and re-ranking if there are any, with `topk`.
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
    if fused:
        steps, (query, gallery) = {"IPG": test.IPG, **steps}, fused
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
    keys = sorted(node.keys() - {"ENABLED", "ROOT"})
    return ", ".join(f"{key.lower()} {node[key]}" for key in keys)
