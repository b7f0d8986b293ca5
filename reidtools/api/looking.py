"""Looking at a model: a page of its test, a map of its embeddings, where in a picture it looks."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools import assess, build, reports
from reidtools.api.testing import output_folder, ready, seeded_device, test_splits
from reidtools.config.compat import flatten
from reidtools.config.load import changed, plain
from reidtools.data.samples import Sample
from reidtools.engine import logbook
from reidtools.evaluation import Vectors
from reidtools.evaluation.features import fingerprint
from reidtools.modeling import Embedder
from reidtools.modeling.onnx_network import OnnxNetwork
from reidtools.registry import choose
from reidtools.visualize.activations import activation_maps, write_activations
from reidtools.visualize.figures import require_matplotlib
from reidtools.visualize.history import read_history
from reidtools.visualize.maps import embedding_map, require_method
from reidtools.visualize.page import write_page

LOGGER = logging.getLogger("reidtools")
KINDS = ("page", "map", "activations")


def look(
    cfg: CfgNode,
    model: Embedder | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    method: str = "tsne",
    activations: int = 8,
) -> list[Path]:
    """Make pictures of `model`, or of the embedder in MODEL.WEIGHTS, on the test sets; the files.

    Of `kinds`, ``"map"`` is map_<method>.png, all embeddings of a test set on a plane
    (``"tsne"``, ``"umap"`` or ``"pca"``); ``"activations"`` is where in a picture the model looks,
    for so many queries of each set, evenly spread; ``"page"`` is page.html: figures, curves, the
    history of the run beside the checkpoint, the best and the worst queries and failures, and what
    else was drawn. They lie where `evaluate` writes; of several test sets each has a name of its
    own. Everything is embedded once; with TEST.FEATURES embeddings are kept and used again.

    Raises ImportError, before any work is done, where a package for it is not installed.
    """
    logbook.set_up_logging()
    _check(kinds, method, activations)
    asked = plain(cfg)
    if "page" in kinds:
        cfg = _for_a_page(cfg)
    device = seeded_device(cfg)
    model = ready(cfg, model, device)
    if "activations" in kinds and isinstance(model.backbone, OnnxNetwork):
        told = f"{cfg.MODEL.WEIGHTS} shows no maps; use the checkpoint that it was made from"
        if len(kinds) == 1:
            raise ValueError(f"{told}.")
        LOGGER.warning("%s to see where the model looks.", told)
        kinds = [kind for kind in kinds if kind != "activations"]
    tests = build.test_sets(cfg, test_splits(cfg), device)
    folder, amp = output_folder(cfg), build.amp_dtype(cfg, device)
    marks = {name: f"_{reports.file_word(name)}" if len(tests) > 1 else "" for name in tests}
    if "page" in kinds:
        report = assess.report_on(cfg, model, tests, amp, final=True)
        LOGGER.info("%s", report)
    drawn: dict[str, list[Path]] = {}
    for name, sides in tests.items():
        if "map" in kinds:
            ranked = report.ranked[name] if "page" in kinds else None
            pair = ranked[:2] if ranked else assess.as_asked(cfg, model, name, sides, amp)
            file = folder / f"map_{method}{marks[name]}.png"
            _draw_map(*pair, file, method, cfg.SEED)
            drawn[f"Embeddings of {name}"] = [file]
        if "activations" in kinds:
            samples = _spread(sides.queries[0].pictures.samples, activations)
            files = _draw_activations(cfg, model, samples, folder / f"activations{marks[name]}")
            drawn[f"Where the model looks in {name}"] = files
    files = [file for some in drawn.values() for file in some]
    if "page" in kinds:
        files.append(folder / "page.html")
        write_page(
            files[-1],
            report,
            title=f"Test of {cfg.MODEL.BACKBONE.NAME} on {', '.join(tests)}",
            facts=_facts(cfg, model),
            settings=flatten(asked),
            history=read_history(Path(cfg.MODEL.WEIGHTS or "none/x").parent / "metrics.jsonl"),
            pictures=drawn,
            similar=cfg.TEST.METRIC == "cosine" and not cfg.TEST.RERANK.ENABLED,
        )
    LOGGER.info("Written: %s", ", ".join(map(str, files)))
    return files


def _check(kinds: Sequence[str], method: str, activations: int) -> None:
    """Find a wrong word or a missing package before any work is done."""
    if not kinds:
        raise ValueError(f"There is nothing to draw; ask for some of {', '.join(KINDS)}.")
    for kind in kinds:
        choose("kind of picture", kind, dict.fromkeys(KINDS))
    if "activations" in kinds and activations < 1:
        raise ValueError(f"{activations} pictures to look at are none; ask for 1 or more.")
    if "map" in kinds:
        require_method(method)
    if "page" in kinds:
        require_matplotlib()


def _for_a_page(cfg: CfgNode) -> CfgNode:
    """`cfg` with what a page shows beyond the figures: ROC curves and the nearest pictures."""
    return changed(cfg, {"TEST.ROC.ENABLED": True, "TEST.TOPK": max(10, cfg.TEST.TOPK)})


def _facts(cfg: CfgNode, model: Embedder) -> dict[str, Any]:
    """What stands at the top of a page."""
    settings = {name.replace("_", " "): value for name, value in reports.settings(cfg).items()}
    return {
        "weights": cfg.MODEL.WEIGHTS or "given by the caller",
        "fingerprint": fingerprint(model)[:16],
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "dimensions": model.dim,
        **settings,
        "made with": f"torch {torch.__version__}",
    }


def _draw_map(query: Vectors, gallery: Vectors, file: Path, method: str, seed: int) -> None:
    """A map of both sides; who is never asked for (distractors) is nobody there."""
    vectors = torch.cat([query.vectors.cpu(), gallery.vectors.cpu()])
    pids, camids = (
        torch.cat([getattr(side, part) for side in (query, gallery)]) for part in ("pids", "camids")
    )
    pids = pids.where(torch.isin(pids, query.pids), -1)
    embedding_map(vectors, pids, camids, file, method=method, seed=seed)


def _spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most `most` of `samples`, evenly spread, the first among them."""
    count = min(most, len(samples))
    return [samples[i * len(samples) // count] for i in range(count)]


def _draw_activations(
    cfg: CfgNode, model: Embedder, samples: list[Sample], folder: Path
) -> list[Path]:
    device = model.device
    batches = build.test_batches(cfg, samples, device)
    maps = torch.cat([activation_maps(model, batch["images"]) for batch in batches])
    return write_activations([sample.paths[0] for sample in samples], maps, folder)
