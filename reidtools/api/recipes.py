"""Which config a run has: that of the files, or that which a checkpoint brings."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode
from yaml import YAMLError

from reidtools.build import told_of_pictures
from reidtools.config import load as configs
from reidtools.engine import checkpoints, logbook
from reidtools.modeling import weights, zoo
from reidtools.modeling.onnx_network import is_onnx, read_about
from reidtools.modeling.recognise import recognise

LOGGER = logging.getLogger("reidtools")
LOGS = Path("logs")


def get_config(
    path: str | Path | Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    *,
    fragment: str | Path | Sequence[str | Path] = (),
    stage: int = 2,
) -> CfgNode:
    """The complete, frozen config of YAML files and ``KEY VALUE`` pairs; later files win.

    Without a file, the checkpoint or run named by RESUME, or MODEL.WEIGHTS, brings its own config,
    if it has one; RESUME auto goes to OUTPUT_DIR, or to the run called EXP_NAME. Other weights
    bring the backbone and the head that they are of, read from their tensors. Otherwise the
    defaults count. A `fragment` is a file, or several, laid over either, unless the run that is
    resumed was made with it. Such a run keeps its INPUT.SCALE as well, where the pairs do not say
    another. Of SOLVER.STAGE1 and SOLVER.STAGE2 the words of that `stage` count.
    """
    logbook.set_up_logging()  # translations are told, and belong into the run's log
    files = [path] if isinstance(path, str | Path) else list(path)
    files = [file for file in files if file]
    over = [fragment] if isinstance(fragment, str | Path) else list(fragment)
    try:
        cfg, notes = configs.resolve([*files, *over], overrides, stage=stage)
    except (LookupError, ValueError):
        model = configs.pairs(overrides).get("MODEL", {})
        typed, format = model.get("WEIGHTS"), model.get("WEIGHTS_FORMAT", "")
        if files or not typed or not Path(typed).is_file():
            raise
        # The options may be those of the network that the weights are of.
        cfg, notes = configs.resolve(over, overrides, brought(typed, format), stage)
    start = _start(cfg, files)
    source = start or ("" if files else cfg.MODEL.WEIGHTS)
    there = bool(source) and Path(source).is_file()
    saved = weights.read(source, mapped=True) if there and not is_onnx(source) else {}
    own = recipe(saved)
    if there and is_onnx(source):
        own = of_onnx(source)
    elif saved and not (own or start or files):
        own = _network(saved, cfg, overrides)
    goes_on = bool(start and own and own.get("METHOD") == cfg.METHOD)
    if own and not files:
        cfg, notes = configs.resolve([] if goes_on else over, overrides, own, stage)
    elif goes_on and "INPUT.SCALE" not in overrides:
        scale = own["INPUT"].get("SCALE", 1)
        if scale != cfg.INPUT.SCALE:
            words = [*overrides, "INPUT.SCALE", str(scale)]
            cfg, _ = configs.resolve([*files, *over], words, stage=stage)
            notes.append(f"INPUT.SCALE is {scale:g}, as in the checkpoint that is resumed.")
    for note in notes:
        LOGGER.warning(note)
    return cfg


def _start(cfg: CfgNode, files: Sequence[str | Path]) -> Path | None:
    """The checkpoint that RESUME means, if there is one.

    A run called EXP_NAME is looked for everywhere only where no `files` say which dataset and
    method are meant.
    """
    if not cfg.RESUME:
        return None
    tuned = checkpoints.latest_checkpoint(tuning_folder(cfg)) if cfg.MODEL.WEIGHTS else None
    if tuned and cfg.RESUME == checkpoints.AUTO:
        return tuned
    run = cfg.OUTPUT_DIR
    if cfg.EXP_NAME and not run:
        own = checkpoints.named_run(cfg.EXP_NAME, run_parent(cfg))
        run = str(own if files or own.is_dir() else find_run(cfg.EXP_NAME) or own)
    return checkpoints.start_of(cfg.RESUME, run, run_parent(cfg))


def tuning_folder(cfg: CfgNode) -> Path:
    """Where a fine-tuning of MODEL.WEIGHTS runs: OUTPUT_DIR, else beside the checkpoint.

    There it is called EXP_NAME, else <method>_x<scale>.
    """
    if cfg.OUTPUT_DIR:
        return Path(cfg.OUTPUT_DIR)
    name = cfg.EXP_NAME or f"{cfg.METHOD}_x{cfg.DATASETS.LOW_SCALE:g}"
    return checkpoints.named_run(name, Path(cfg.MODEL.WEIGHTS).parent)


def run_parent(cfg: CfgNode) -> Path:
    """The folder in which runs of this kind are numbered: logs/<dataset>/<backbone>/<method>."""
    dataset = "+".join(Path(name).name for name in cfg.DATASETS.NAMES)
    backbone = cfg.MODEL.BACKBONE.get("TIMM_NAME", cfg.MODEL.BACKBONE.NAME)
    return LOGS / dataset / backbone.replace("/", "_") / cfg.METHOD


def find_run(name: str) -> Path | None:
    """The run called `name` (--exp_name), of whatever dataset, backbone and method."""
    found = sorted(LOGS.glob(f"*/*/*/{name}"))
    if len(found) > 1:
        raise ValueError(
            f"Several runs are called {name}: {', '.join(map(str, found))}; name the one you mean "
            "by its path."
        )
    return found[0] if found else None


def brought(path: str | Path, format: str = "") -> dict[str, Any]:
    """What a file of weights says about its config: all of it, or else the network that it is of.

    `format` is MODEL.WEIGHTS_FORMAT. ValueError for weights that are of no network here.
    """
    if is_onnx(path):
        return of_onnx(path)
    saved = weights.read(path, mapped=True)
    return recipe(saved) or network_of(saved, path, format)


def network_of(saved: dict[str, Any], path: str | Path, format: str = "") -> dict[str, Any]:
    """MODEL.BACKBONE and MODEL.HEADS of weights that bring no config, read from their tensors.

    The log tells them. `path` is where they come from: its name is a hint. ValueError for weights
    that are of no network here.
    """
    network = recognise(weights.state_of(saved), str(path), format)
    LOGGER.info("%s is %s", path, network)
    for doubt in network.doubts:
        LOGGER.warning("%s", doubt)
    backbone = slot(network.backbone, network.backbone_options)
    tree = {"MODEL": {"BACKBONE": backbone, "HEADS": slot(network.head, network.head_options)}}
    if network.pixels:
        tree["INPUT"] = dict(zip(("PIXEL_MEAN", "PIXEL_STD"), network.pixels, strict=True))
        LOGGER.info("Its pictures have the mean %s and the deviation %s.", *network.pixels)
    if network.interpolation:
        tree["INPUT"] = tree.get("INPUT", {}) | {"INTERPOLATION": network.interpolation}
    if known := zoo.pictures_of(path):
        tree["INPUT"] = tree.get("INPUT", {}) | known
        told = ", ".join(f"INPUT.{key} {value}" for key, value in known.items())
        LOGGER.info("%s is published with %s, unless you set it.", Path(path).name, told)
    if network.layout == "torchreid":
        LOGGER.info(
            "torchreid's figures are of TEST.METRIC euclidean; cosine is what is used here."
        )
    return tree


def of_onnx(path: str | Path) -> dict[str, Any]:
    """The config that an ONNX file of ours brings; of others what they tell of their pictures.

    That is mostly the size, if it is fixed; ImageNet's mean and deviation are then assumed.
    """
    metadata, size = read_about(path)
    if own := recipe(metadata):
        return own
    if metadata.get("colour_order", "RGB") != "RGB":
        raise ValueError(
            f"{path} takes pictures as {metadata['colour_order']}; export it for RGB, which is all "
            "that is made here."
        )
    told = told_of_pictures(metadata)
    LOGGER.warning(
        "%s does not tell how its pictures are made; they are RGB, of %s, with %s. Set INPUT.* "
        "where yours are otherwise.",
        path,
        "{} x {}".format(*size) if size else "256 x 128",
        "its own mean and deviation" if "PIXEL_MEAN" in told else "ImageNet's mean and deviation",
    )
    return {"INPUT": {**({"SIZE_TRAIN": list(size)} if size else {}), **told}}


def slot(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The node of a config for the component `name` with some of its options."""
    return {"NAME": name, **{key.upper(): value for key, value in options.items()}}


def _network(saved: dict[str, Any], cfg: CfgNode, overrides: Sequence[str]) -> dict[str, Any]:
    """`network_of` MODEL.WEIGHTS, unless another backbone is asked for in `overrides`.

    Then the defaults count, as for weights of no network here: whether the two belong together is
    seen when the weights are loaded.
    """
    typed = configs.pairs(overrides).get("MODEL", {})
    if "NAME" not in typed and "NAME" not in typed.get("BACKBONE", {}):
        return network_of(saved, cfg.MODEL.WEIGHTS, cfg.MODEL.WEIGHTS_FORMAT)
    try:
        found = network_of(saved, cfg.MODEL.WEIGHTS, cfg.MODEL.WEIGHTS_FORMAT)
    except ValueError:
        return {}
    return found if found["MODEL"]["BACKBONE"]["NAME"] == cfg.MODEL.BACKBONE.NAME else {}


def recipe(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The config in a checkpoint without what was of its run alone: where it began and went.

    Nothing where it has none of ours: other toolboxes keep theirs under the same name.
    """
    text = saved.get("config")
    try:
        tree = configs.plain(text) if isinstance(text, str) else None
    except YAMLError:
        return {}
    if not isinstance(tree, dict) or not {"MODEL", "INPUT", "METHOD"} <= tree.keys():
        return {}
    tree["RESUME"] = tree["OUTPUT_DIR"] = tree["EXP_NAME"] = ""
    tree["MODEL"]["WEIGHTS"] = tree["MODEL"]["WEIGHTS_FORMAT"] = ""
    return tree
