"""The YAML of the MARS sequence embedder, a document in lower-case keys, in our words."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reidtools.config.trees import make_room
from reidtools.engine.checkpoints import named_run
from reidtools.registry import BACKBONES, unknown
from reidtools.solver.optimizers import OPTIMIZERS
from reidtools.solver.schedules import SCHEDS

Flat = dict[str, Any]

NODES = ("experiment", "data", "model", "train", "loss", "eval")
STARTS = tuple(f"{node}." for node in NODES)
# Words that stay as typed: a run may be called 007.
WORDS = ("experiment.name", "data.root", "data.index_csv", "model.backbone")

# Their key -> our key; the value carries over.
RENAMED = {
    "data.root": "DATASETS.ROOT",
    "data.image_size": "INPUT.SIZE_TRAIN",
    "data.sequence_len": "INPUT.FRAMES",
    "data.num_workers": "DATALOADER.NUM_WORKERS",
    "model.pretrained": "MODEL.BACKBONE.PRETRAIN",
    "model.embed_dim": "MODEL.HEADS.EMBEDDING_DIM",
    "model.dropout": "MODEL.LOSSES.CrossEntropyLoss.DROPOUT",
    "train.epochs": "SOLVER.MAX_EPOCH",
    "train.optimizer.lr": "SOLVER.BASE_LR",
    "train.optimizer.weight_decay": "SOLVER.WEIGHT_DECAY",
    "loss.ce.label_smoothing": "MODEL.LOSSES.CrossEntropyLoss.EPSILON",
    "loss.ce.weight": "MODEL.LOSSES.CrossEntropyLoss.WEIGHT",
    "loss.triplet.margin": "MODEL.LOSSES.TripletLoss.MARGIN",
    "loss.triplet.weight": "MODEL.LOSSES.TripletLoss.WEIGHT",
}

# What the document means where its file says nothing; configs/vit_mars.yml says the same.
MARS_DEFAULTS: Flat = {
    "MODEL.BACKBONE.NAME": "vit_base_patch16",
    "MODEL.HEADS.NAME": "BNNeck",
    "MODEL.HEADS.EMBEDDING_DIM": 512,
    "MODEL.TEMPORAL.NAME": "Mean",
    "MODEL.TEMPORAL.NORM_FRAMES": True,
    "MODEL.LOSSES.CrossEntropyLoss.EPSILON": 0.1,
    "MODEL.LOSSES.CrossEntropyLoss.DROPOUT": 0.1,
    "MODEL.LOSSES.TripletLoss.MARGIN": 0.3,
    "MODEL.LOSSES.TripletLoss.NORM_FEAT": True,
    "INPUT.SIZE_TRAIN": [256, 128],
    "INPUT.FRAMES": 25,
    "INPUT.FRAME_CHOICE": "random",
    "INPUT.FLIP_PROB": 0.5,
    "INPUT.PADDING": 10,
    "INPUT.REA_PROB": 0.5,
    "DATASETS.NAMES": ["mars"],
    "DATALOADER.NUM_WORKERS": 4,
    "DATALOADER.SAMPLER.NAME": "RandomIdentitySampler",
    "DATALOADER.SAMPLER.NUM_INSTANCE": 4,
    "SOLVER.OPT": "AdamW",
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.WEIGHT_DECAY": 0.05,
    "SOLVER.SCHED": "CosineAnnealingLR",
    "SOLVER.ETA_MIN_LR": 1e-6,
    "SOLVER.WARMUP_EPOCHS": 5,
    "SOLVER.MAX_EPOCH": 60,
    "SOLVER.IMS_PER_BATCH": 64,
    "SOLVER.MICRO_BATCH": 64,
    "TEST.EVAL_PERIOD": 5,
    "TEST.LOSS_BATCHES": 8,
}


def mars_yaml(flat: Flat) -> list[str]:
    """Keys of the document in `flat` become ours, in place; a sentence for each.

    If they make up a document and are not just a few keys over a config of ours, `MARS_DEFAULTS`
    count where nothing else is said. Raises LookupError for a key that the document does not have
    and for an optimizer or schedule that is not here, ValueError for a name or a number that cannot
    be.
    """
    document = _is_document(flat)
    theirs = {key: flat.pop(key) for key in list(flat) if key in NODES or key.startswith(STARTS)}
    if not theirs:
        return []
    _refuse_unknown({**theirs, **{key: flat[key] for key in flat if key[:1].islower()}})
    notes = []
    # The backbone comes first: a new one takes the options of the one below with it.
    for key, value in sorted(theirs.items(), key=lambda item: item[0] != "model.backbone"):
        if key not in KNOWN or (value is None and key not in MAY_BE_NULL):
            continue  # it is empty and says nothing
        ours = SPECIAL[key](theirs, flat) if key in SPECIAL else {RENAMED[key]: value}
        flat.update(ours)
        read = " and ".join(f"{new} {worth}" for new, worth in ours.items())
        notes.append(f"{key} {value} is read as {read}.")
    if document:
        _fill(flat)
        notes.append("What the MARS document leaves open is as in configs/vit_mars.yml.")
    return notes


def _is_document(flat: Flat) -> bool:
    """Whether its main nodes are all there."""
    return {"data", "model", "train"} <= {key.partition(".")[0] for key in flat}


def _refuse_unknown(theirs: Flat) -> None:
    for key, value in theirs.items():
        if key in KNOWN:
            continue
        below = [known for known in KNOWN if known.startswith(f"{key}.")]
        if not below:
            raise unknown("key of the MARS document", key, KNOWN)
        if value not in (None, {}):
            raise TypeError(f"{key} is {value!r}; it holds keys, such as {', '.join(below)}.")


def _fill(flat: Flat) -> None:
    """`MARS_DEFAULTS` where `flat` says nothing."""
    if flat.get("SOLVER.WARMUP_ITERS"):
        flat.setdefault("SOLVER.WARMUP_EPOCHS", 0)  # a run warms up once
    if "MODEL.BACKBONE.NAME" not in flat:
        flat.update(_backbone({"model.backbone": MARS_DEFAULTS["MODEL.BACKBONE.NAME"]}, flat))
    for key, value in MARS_DEFAULTS.items():
        flat.setdefault(key, list(value) if isinstance(value, list) else value)


def _output_dir(theirs: Flat, flat: Flat) -> Flat:
    """runs/<name>/checkpoints; a name given in our words, EXP_NAME or --exp_name, comes first."""
    name = str(flat.get("EXP_NAME") or theirs["experiment.name"])
    try:
        return {"OUTPUT_DIR": (named_run(name, Path("runs")) / "checkpoints").as_posix()}
    except ValueError as error:
        raise ValueError(f"experiment.name names the run as EXP_NAME does: {error}") from error


def _index(theirs: Flat, flat: Flat) -> Flat:
    path = theirs["data.index_csv"] or ""
    return {"DATASETS.NAMES": ["sequences"], "DATASETS.SEQUENCES.INDEX_CSV": str(path)}


def _backbone(theirs: Flat, flat: Flat) -> Flat:
    """A ViT of ours, any other backbone of ours, or one of timm's."""
    name = str(theirs["model.backbone"])
    word = re.sub(r"[^a-z0-9]", "", name.lower())
    vit = re.fullmatch(r"vit(?:b(?:ase)?|s(?:mall)?)(?:patch)?(?:16)?(?:224)?", word)
    tail = "base" if word.startswith("vitb") else "small"
    ours = f"vit_{tail}_patch16" if vit else name if name in BACKBONES else "timm"
    make_room(flat, "MODEL.BACKBONE", ours)
    made = {"MODEL.BACKBONE.NAME": ours}
    if ours == "timm" and name != "timm":
        made["MODEL.BACKBONE.TIMM_NAME"] = name
    if vit and "MODEL.BACKBONE.DROP_PATH" not in flat:
        made["MODEL.BACKBONE.DROP_PATH"] = 0.0  # the document leaves no branches out
    return made


def _batch(theirs: Flat, flat: Flat) -> Flat:
    """P people with K sequences each; what is not given stays as it is, or is 16 and 4."""
    below = [flat.get("SOLVER.IMS_PER_BATCH"), flat.get("DATALOADER.SAMPLER.NUM_INSTANCE", 4)]
    people, each = theirs.get("train.batch.P"), theirs.get("train.batch.K")
    each = _whole("train.batch.K", below[1] if each is None else each)
    if people is None:
        pictures = 64 if below[0] is None else _whole("SOLVER.IMS_PER_BATCH", below[0])
        people = pictures // _whole("DATALOADER.SAMPLER.NUM_INSTANCE", below[1])
    ours = {"SOLVER.IMS_PER_BATCH": _whole("train.batch.P", people) * each}
    ours["DATALOADER.SAMPLER.NUM_INSTANCE"] = each
    if flat.get("DATALOADER.SAMPLER.NAME", "RandomIdentitySampler") != "RandomIdentitySampler":
        ours["DATALOADER.SAMPLER.NAME"] = "RandomIdentitySampler"
    return ours


def _whole(key: str, value: Any) -> int:
    if str(value).isdigit() and int(value) > 0:
        return int(value)
    raise ValueError(f"{key} is {value!r}; write a whole number above 0, like 4.")


def _optimizer(theirs: Flat, flat: Flat) -> Flat:
    words = {name.lower(): name for name in OPTIMIZERS}
    return {"SOLVER.OPT": _named("train.optimizer.name", theirs, words)}


def _schedule(theirs: Flat, flat: Flat) -> Flat:
    words = {name.lower(): name for name in SCHEDS}
    words |= {name.removesuffix("lr"): full for name, full in words.items()}
    words |= {"cosine": "CosineAnnealingLR", "step": "MultiStepLR", "none": "ConstantLR"}
    return {"SOLVER.SCHED": _named("train.scheduler.name", theirs, words)}


def _named(key: str, theirs: Flat, words: dict[str, str]) -> str:
    word = re.sub(r"[^a-z0-9]", "", str(theirs[key]).lower())
    if word not in words:
        raise unknown(key, theirs[key], words)
    return words[word]


def _warmup(theirs: Flat, flat: Flat) -> Flat:
    epochs = theirs["train.scheduler.warmup_epochs"]
    iterations = {"SOLVER.WARMUP_ITERS": 0} if flat.get("SOLVER.WARMUP_ITERS") else {}
    return {"SOLVER.WARMUP_EPOCHS": epochs, **iterations}  # a run warms up once


def _normalize(theirs: Flat, flat: Flat) -> Flat:
    wanted = theirs["eval.normalize_embeddings"]
    if not isinstance(wanted, bool):
        raise TypeError(f"eval.normalize_embeddings is {wanted!r}; write true or false.")
    return {"TEST.METRIC": "cosine" if wanted else "euclidean"}


# Keys whose value is made from theirs, and from what is there in our words.
SPECIAL: dict[str, Callable[[Flat, Flat], Flat]] = {
    "experiment.name": _output_dir,
    "data.index_csv": _index,
    "model.backbone": _backbone,
    "train.batch.P": _batch,
    "train.batch.K": _batch,
    "train.optimizer.name": _optimizer,
    "train.scheduler.name": _schedule,
    "train.scheduler.warmup_epochs": _warmup,
    "eval.normalize_embeddings": _normalize,
}
KNOWN = (*RENAMED, *SPECIAL)
MAY_BE_NULL = ("data.index_csv", "train.scheduler.name")
