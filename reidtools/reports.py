"""A report as files: metrics.json, the nearest pictures as a table, as pictures, and curves."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.nn import functional as F
from yacs.config import CfgNode

from reidtools.build import size_test
from reidtools.config.load import plain
from reidtools.evaluation import Ranking, Report, Vectors
from reidtools.files import write_csv, write_json
from reidtools.visualize import curves
from reidtools.visualize.ranked_lists import write_ranked_lists

SETTINGS = ("METRIC", "CAMERA_FILTER", "FLIP")


def write_report(cfg: CfgNode, report: Report, folder: Path, about: dict[str, Any]) -> list[Path]:
    """Write lists and curves, as TEST asks, and last metrics.json into `folder`; their paths."""
    files, test = [], cfg.TEST
    for name, ranked in report.ranked.items():
        if test.TOPK:
            files.append(folder / f"nearest_{file_word(name)}.csv")
            write_csv(files[-1], nearest_rows(*ranked, test.TOPK))
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
    if report.unseen:
        figures |= {"unseen": report.unseen, "unseen_mean": report.unseen_mean}
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


def nearest_rows(
    query: Vectors, gallery: Vectors, ranked: Ranking, topk: int
) -> Iterator[tuple[object, ...]]:
    """Names of columns, and a line for each of the `topk` nearest gallery pictures of a query."""
    yield "query", "place", "gallery", "distance", "same person"
    for row, columns in enumerate(ranked.topk.tolist()):
        for place, column in enumerate(columns[:topk]):
            if column >= 0:
                same = int(query.pids[row] == gallery.pids[column])
                distance = f"{ranked.topk_distances[row, place]:.6f}"
                yield query.names([row]), place + 1, gallery.names([column]), distance, same


def file_word(name: str) -> str:
    """The name of a dataset, which may be a path, as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_")
