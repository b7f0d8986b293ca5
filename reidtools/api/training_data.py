"""Who is trained on and tested: the datasets of a config, looked through before anything else."""

import logging

from yacs.config import CfgNode

from reidtools import build, texts
from reidtools.api.testing import refuse_known, test_names, warn
from reidtools.config import load as configs
from reidtools.data.preflight import preflight
from reidtools.data.samples import Sample, Splits, everybody, join_train, seen_pictures
from reidtools.engine import logbook
from reidtools.registry import DATASETS, options

LOGGER = logging.getLogger("reidtools")


def check(cfg: CfgNode) -> None:
    """Read the datasets of `cfg`, print their tables; a ValueError says why training would fail."""
    logbook.set_up_logging()
    training_data(cfg)
    LOGGER.info("No problem found.")


def training_data(cfg: CfgNode) -> tuple[list[Sample], texts.Captions | None, dict[str, Splits]]:
    """Training samples of all NAMES, their captions, and the splits of each test set.

    With DATASETS.COMBINEALL all people of a set are trained on, and a test of them is refused. All
    is looked through for trouble.
    """
    trains, tests = cfg.DATASETS.NAMES, test_names(cfg)
    if variants := [name for name in trains if "@" in name]:
        raise ValueError(
            f"{', '.join(variants)} is a test set; train without the part from @ on, with "
            "INPUT.LOW_RES_PROB, and name it in DATASETS.TESTS."
        )
    refuse_known(cfg.DATASETS, tests)
    if cfg.DATASETS.COMBINEALL:
        loaded = {name: build.splits(cfg, name) for name in tests}
        samples = join_train([_everybody(cfg, name) for name in trains])
    else:
        loaded = {name: build.splits(cfg, name) for name in dict.fromkeys([*trains, *tests])}
        samples = join_train([loaded[name].train for name in trains])
    for name, seen in seen_pictures(samples, {name: loaded[name] for name in tests}).items():
        told = f"{len(seen)} pictures of the test are trained on, such as {seen[0]}"
        if cfg.DATASETS.COMBINEALL:  # the same set by another name
            raise ValueError(f"{name}: {told}; name other sets in DATASETS.TESTS.")
        warn(name, [f"{told}."])
    samples, captions = texts.captioned(cfg, samples)
    num_instance = cfg.DATALOADER.SAMPLER.get("NUM_INSTANCE", 0)
    for place, name in enumerate(tests):
        found = preflight(
            loaded[name]._replace(train=samples),
            training=place == 0,  # the training pictures are the same for every test set
            num_instance=num_instance,
            people_per_batch=cfg.SOLVER.IMS_PER_BATCH // num_instance if num_instance else 0,
            camera_filter=cfg.TEST.CAMERA_FILTER,
        )
        warn(name, found)
    return samples, captions, {name: loaded[name] for name in tests}


def _everybody(cfg: CfgNode, name: str) -> list[Sample]:
    """All people of the set `name`, with those of its validation list where it has one."""
    known = options(DATASETS[name]) if name in DATASETS else {}
    splits = None
    if "with_val" in known:
        with_val = configs.changed(cfg, {f"DATASETS.{name.upper()}.WITH_VAL": True})
        try:
            splits = build.splits(with_val, name)
        except FileNotFoundError as error:
            LOGGER.warning("%s", error)
    samples = everybody(splits or build.splits(cfg, name))
    people = len({sample.pid for sample in samples})
    LOGGER.info(
        "%s: all of it is trained on, %d people in %d samples; distractors are left out",
        *(name, people, len(samples)),
    )
    return samples
