"""Embedders as files that run without reidtools, with what their pictures need."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from reidtools import assess, build
from reidtools.api.testing import filled, test_splits
from reidtools.config import load as configs
from reidtools.data.samples import Splits
from reidtools.engine import logbook
from reidtools.evaluation import Report
from reidtools.evaluation.features import fingerprint
from reidtools.export import FORMATS, Exported, export_embedder
from reidtools.modeling import Embedder
from reidtools.registry import choose

LOGGER = logging.getLogger("reidtools")


def export_model(
    cfg: CfgNode,
    output: str | Path = "",
    *,
    format: str = "onnx",
    opset: int = 18,
    int8: bool = False,
    test: bool = False,
) -> Exported:
    """Write the embedder in MODEL.WEIGHTS as a file of `format`; see `export_embedder`.

    It goes to `output`, else into OUTPUT_DIR or output_dir, called as the weights. It tells how
    pictures are prepared (size, interpolation, pixel_mean, pixel_std, colour order, flip), and the
    whole config.
    `int8` writes a smaller one as well. With `test` the test sets of `cfg` are measured with the
    model and with its files, and what they cost is told.
    """
    logbook.set_up_logging()
    ending = choose("format", format, FORMATS).ending
    tests = test_splits(cfg) if test else {}
    model = filled(cfg)
    if cfg.MODEL.TEMPORAL != build.PLAIN_MEAN:
        LOGGER.warning(
            "The file makes a vector of a picture: MODEL.TEMPORAL %s, which joins the frames of a "
            "tracklet, is not in it.",
            cfg.MODEL.TEMPORAL.NAME,
        )
    weights = Path(cfg.MODEL.WEIGHTS)
    path = Path(output or Path(cfg.OUTPUT_DIR or "output_dir") / f"{weights.stem}{ending}")
    if path.resolve() == weights.resolve():
        raise ValueError(f"{path} is MODEL.WEIGHTS itself; choose another --output.")
    about = _about(cfg, fingerprint(model))
    made = export_embedder(
        model, path, build.size_test(cfg), about, format=format, opset=opset, int8=int8
    )
    LOGGER.info("Written: %s", made)
    if tests:
        files = [made.path] if ending == ".onnx" else []
        files += [made.quantised.path] if made.quantised else []
        pictures = Embedder(model.backbone, model.heads, None, model.preparation)
        LOGGER.info("%s", _costs(cfg, tests, pictures, files))
    return made


def _about(cfg: CfgNode, mark: str) -> dict[str, str]:
    """What the file tells of its pictures and its model."""
    # What was of this machine stays here.
    here = {"MODEL.WEIGHTS": "", "OUTPUT_DIR": "", "TEST.FEATURES": "", "MODEL.DEVICE": "auto"}
    inside = configs.changed(_of_pictures(cfg), {**here, "DATASETS.ROOT": "datasets"})
    return {
        "backbone": cfg.MODEL.BACKBONE.NAME,
        **{name: json.dumps(list(cfg.INPUT[key])) for key, name in build.ONNX_KEYS.items()},
        "pixel_range": "0 1",
        "interpolation": cfg.INPUT.INTERPOLATION,
        "colour_order": "RGB",
        "flip": cfg.TEST.FLIP,
        "metric": cfg.TEST.METRIC,
        "weights": Path(cfg.MODEL.WEIGHTS).name,
        "fingerprint": mark,
        "config": configs.dump(inside),
    }


def _of_pictures(cfg: CfgNode) -> CfgNode:
    """`cfg` as a file has it, which makes a vector of a picture."""
    return configs.changed(cfg, {"MODEL.TEMPORAL": CfgNode(build.PLAIN_MEAN)})


def _costs(
    cfg: CfgNode, tests: dict[str, Splits], model: Embedder, files: Sequence[Path]
) -> Report:
    """The figures of the test sets with the `model`, and with each of the `files` made of it."""
    report, on = Report(), build.device(cfg)
    sets = build.test_sets(cfg, tests, on)
    models = {Path(cfg.MODEL.WEIGHTS): model.to(on)}
    for file in files:
        own = configs.changed(_of_pictures(cfg), {"MODEL.WEIGHTS": str(file)})
        models[file] = build.onnx_embedder(own)
    for file, one in models.items():
        found = assess.report_on(cfg, one, sets, None, final=False)
        for name, row in found.figures.items():
            report.add_row(f"{file.name}, {name}", row)
    return report
