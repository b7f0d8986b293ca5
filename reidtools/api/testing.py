"""Figures of a model: test sets, and the threshold at which two pictures are one person."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from reidtools import assess, build, processes, reports
from reidtools.api.recipes import recipe
from reidtools.config import load as configs
from reidtools.data.preflight import preflight
from reidtools.data.samples import Splits, of_other_sets
from reidtools.engine import logbook
from reidtools.evaluation import Report, verify
from reidtools.evaluation.features import fingerprint
from reidtools.files import make_folder, write_json
from reidtools.modeling import Embedder, weights
from reidtools.modeling.onnx_network import is_onnx, read_about
from reidtools.modeling.recognise import customs

LOGGER = logging.getLogger("reidtools")
CAMERAS = ("cv_embed", "sie_embed")  # tables with a row for each camera
CERTAIN = ("FastReID", "centroids-reid", "strong-baseline")  # all built in one way


def evaluate(cfg: CfgNode, model: Embedder | None = None) -> Report:
    """Test `model`, or the embedder in MODEL.WEIGHTS, on the test sets of `cfg`.

    Weights that do not fill the model whole are refused. Writes metrics.json, and what TEST.PLOTS,
    TEST.TOPK and TEST.VISUALIZE ask for, into OUTPUT_DIR, else for the checkpoint of a run into
    test_<checkpoint> beside it, else into output_dir. With TEST.FEATURES embeddings are kept there
    and used again. Of a checkpoint that tells what it was trained on, the report says which test
    sets are others; one whose people it was trained on (DATASETS.COMBINEALL) is a ValueError. In
    each of several processes (torchrun) it does its part of the work; the first writes.
    """
    logbook.set_up_logging()
    with processes.joined():
        return _evaluate(cfg, model)


def _evaluate(cfg: CfgNode, model: Embedder | None) -> Report:
    device = seeded_device(cfg)
    model = ready(cfg, model, device)
    trained = trained_on(cfg.MODEL.WEIGHTS)
    refuse_known(trained or cfg.DATASETS, test_names(cfg))
    with processes.first_before_others():
        tests = test_splits(cfg)
    folder, amp = output_folder(cfg), build.amp_dtype(cfg, device)
    report = assess.report_on(cfg, model, build.test_sets(cfg, tests, device), amp, final=True)
    report.unseen = of_other_sets(tests, trained["NAMES"]) if trained else []
    LOGGER.info("%s", report)
    if processes.first():
        files = reports.write_report(cfg, report, folder, {"weights": cfg.MODEL.WEIGHTS})
        LOGGER.info("Written: %s", ", ".join(map(str, files)))
    return report


def calibrate(cfg: CfgNode, far: float, model: Embedder | None = None) -> dict[str, Any]:
    """Find the distance at which two pictures pass as one person, with false accept rate `far`.

    Pairs of the query and the gallery of the one test set of `cfg` decide. Writes calibration.json
    where `evaluate` would write, and returns its content: threshold, metric, far, tar, eer …
    """
    logbook.set_up_logging()
    if not 0 < far < 1:
        raise ValueError(f"The false accept rate is {far}; it is a share, such as 0.001.")
    names = test_names(cfg)
    if len(names) > 1:
        raise ValueError(
            f"A threshold comes from one test set, not from {', '.join(names)}; name one in "
            "DATASETS.TESTS."
        )
    refuse_known(trained_on(cfg.MODEL.WEIGHTS) or cfg.DATASETS, names)
    device = seeded_device(cfg)
    model = ready(cfg, model, device)
    ((name, sides),) = build.test_sets(cfg, test_splits(cfg), device).items()
    amp = build.amp_dtype(cfg, device)
    query, gallery = assess.as_asked(cfg, model, name, sides, amp)
    pairs = verify(query, gallery, **build.own(cfg.TEST, maker=verify))
    found = pairs.calibration(far)
    found |= {"weights": cfg.MODEL.WEIGHTS, "fingerprint": fingerprint(model), "dataset": name}
    found["resolution"] = " - ".join(assess.resolution(batches[0]) for batches in sides)
    found |= reports.settings(cfg)
    path = output_folder(cfg) / "calibration.json"
    write_json(path, found)
    LOGGER.info(
        "A %s distance of at most %.4g means the same person: %.2f %% of same pairs pass, %g %% of "
        "different ones. Equal errors: %.2f %% at %.4g.\nWritten: %s",
        cfg.TEST.METRIC,
        found["threshold"],
        100 * found["tar"],
        100 * far,
        100 * found["eer"],
        found["eer_threshold"],
        path,
    )
    return found


def seeded_device(cfg: CfgNode) -> torch.device:
    """The device of `cfg`, with torch's chance and determinism set as it says."""
    torch.manual_seed(cfg.SEED)
    if cfg.DETERMINISTIC:  # cuBLAS wants this before its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Torch loads its compiler for this, which takes a second, so it is told only what it must know.
    if cfg.DETERMINISTIC or torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(cfg.DETERMINISTIC, warn_only=True)
    torch.backends.cudnn.benchmark = not cfg.DETERMINISTIC
    return build.device(cfg)


def filled(cfg: CfgNode) -> Embedder:
    """The embedder of `cfg`, filled whole from MODEL.WEIGHTS; anything less is a ValueError."""
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("There is no model: give a checkpoint with MODEL.WEIGHTS.")
    if is_onnx(cfg.MODEL.WEIGHTS):
        return build.onnx_embedder(cfg)
    state = weights.state_of(weights.read(Path(cfg.MODEL.WEIGHTS), mapped=True))
    table = next((tensor for name, tensor in state.items() if name.endswith(CAMERAS)), ())
    model = build.embedder(configs.with_cameras(cfg, len(table)), blank=True)
    fitted = weights.fit(model, state, cfg.MODEL.WEIGHTS_FORMAT)
    if not fitted.complete:
        raise ValueError(
            f"{cfg.MODEL.WEIGHTS} does not fill {cfg.MODEL.BACKBONE.NAME} with "
            f"{cfg.MODEL.HEADS.NAME} ({fitted}), so what it says would mean nothing; use the "
            "config it was trained with."
        )
    LOGGER.info("Weights: %s", fitted)
    for option, theirs in customs(fitted.layout, cfg.MODEL.BACKBONE.NAME).items():
        ours = cfg.MODEL.BACKBONE[option.upper()]
        if fitted.layout in CERTAIN and ours != theirs:
            LOGGER.warning(
                "MODEL.BACKBONE.%s is %s, and %s has %s; set it, unless the weights were trained "
                "otherwise.",
                option.upper(),
                ours,
                fitted.layout,
                theirs,
            )
    return model


def ready(cfg: CfgNode, model: Embedder | None, device: torch.device) -> Embedder:
    """`model`, or the one in MODEL.WEIGHTS, on the device, tried with a picture."""
    model = model or filled(cfg)
    build.try_out(cfg, model.to(device))
    assess.rehearse(cfg)
    return model


def test_names(cfg: CfgNode) -> list[str]:
    """The names of the test sets."""
    return cfg.DATASETS.TESTS or cfg.DATASETS.NAMES


def trained_on(path: str) -> dict[str, Any]:
    """DATASETS of the config in the checkpoint or ONNX file `path`; nothing where it has none."""
    if not path:
        return {}
    own = recipe(read_about(path)[0] if is_onnx(path) else weights.read(path, mapped=True))
    return dict(own.get("DATASETS", {}))


def known_people(datasets: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Those of the test sets `names` whose own people were trained on, by `datasets` of a config.

    That is what DATASETS.COMBINEALL does.
    """
    others = of_other_sets(names, datasets["NAMES"]) if datasets.get("COMBINEALL") else names
    return [name for name in names if name not in others]


def refuse_known(datasets: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise a ValueError if there are `known_people`: figures of them would say nothing."""
    if known := known_people(datasets, names):
        raise ValueError(
            f"DATASETS.COMBINEALL trains on the test people of {', '.join(known)}, so a test there "
            "says nothing; name other sets in DATASETS.TESTS, or train with COMBINEALL False."
        )


def warn(name: str, warnings: list[str]) -> None:
    """Log what the preflight says of the dataset `name`."""
    for warning in warnings:
        LOGGER.warning("%s: %s", name, warning)


def test_splits(cfg: CfgNode) -> dict[str, Splits]:
    """The test sets, looked through for trouble."""
    tests = {name: build.splits(cfg, name) for name in test_names(cfg)}
    for name, splits in tests.items():
        warn(name, preflight(splits, camera_filter=cfg.TEST.CAMERA_FILTER, training=False))
    return tests


def output_folder(cfg: CfgNode) -> Path:
    """Where a test of `cfg` writes: see `evaluate`."""
    beside = Path(cfg.MODEL.WEIGHTS).parent
    of_a_run = cfg.MODEL.WEIGHTS and (beside / "config.yml").is_file()
    own = beside / f"test_{Path(cfg.MODEL.WEIGHTS).stem}"
    # A run's config may name its own folder; what training wrote there stays.
    elsewhere = cfg.OUTPUT_DIR and not (
        of_a_run and beside.resolve() == Path(cfg.OUTPUT_DIR).resolve()
    )
    return make_folder(Path(cfg.OUTPUT_DIR if elsewhere else own if of_a_run else "output_dir"))
