"""Losses and schedule of CLIP-ReID and TransReID, in our words; see `clip_document`."""

from typing import Any

from reidtools.config.clip_file import ClipFile, Flat

LOSSES = "MODEL.LOSSES"
WEIGHTS = {
    "MODEL.ID_LOSS_WEIGHT": "CrossEntropyLoss",
    "MODEL.TRIPLET_LOSS_WEIGHT": "TripletLoss",
    "MODEL.I2T_LOSS_WEIGHT": "PromptLoss",
}
# What METRIC_LOSS_TYPE may name, alone or joined by _.
METRIC = {"triplet": "TripletLoss", "center": "CenterLoss"}
# Classifiers by ID_LOSS_TYPE. SOLVER.COSINE_SCALE and COSINE_MARGIN belong to those with a margin.
CLASSIFIERS = {
    "softmax": "Linear",
    "arcface": "ArcFace",
    "cosface": "CosSoftmax",
    "amsoftmax": "CosSoftmax",
    "circle": "CircleSoftmax",
}
COSINE = {"SOLVER.COSINE_SCALE": ("SCALE", 30.0), "SOLVER.COSINE_MARGIN": ("MARGIN", 0.5)}
SMOOTHED = ("CrossEntropyLoss", "PromptLoss")
# Keys of SNU_ReID as well. Only a document has losses that they must not bring back.
SHARED = {
    "SOLVER.MARGIN": ("TripletLoss", "MARGIN"),
    "SOLVER.CENTER_LOSS_WEIGHT": ("CenterLoss", "WEIGHT"),
    "SOLVER.CENTER_LR": ("CenterLoss", "LR"),
}
CENTER_WEIGHT = 0.0005
BASE_LR = 3e-4
KEYS = (
    *(*WEIGHTS, "MODEL.ID_LOSS_TYPE", "MODEL.METRIC_LOSS_TYPE", "MODEL.IF_LABELSMOOTH"),
    *("MODEL.NO_MARGIN", "SOLVER.WARMUP_LR_INIT", "SOLVER.LR_MIN"),
    *("MODEL.COS_LAYER", *COSINE),
)


def losses(file: ClipFile) -> None:
    """The losses by the sampler and METRIC_LOSS_TYPE, with their weights, margin and smoothing."""
    flat, used = file.flat, _used(file)
    for key, loss in WEIGHTS.items():
        _give(file, key, used, {f"{loss}.WEIGHT": flat.get(key)})
    smooth = flat.get("MODEL.IF_LABELSMOOTH") in (True, "on", "yes")
    smoothed = SMOOTHED if file.document else [n for n in SMOOTHED if n in _present(flat)]
    epsilon = {f"{loss}.EPSILON": 0.1 if smooth else 0.0 for loss in smoothed or SMOOTHED[:1]}
    _give(file, "MODEL.IF_LABELSMOOTH", used, epsilon)
    if flat.get("MODEL.NO_MARGIN"):
        if "SOLVER.MARGIN" in flat:
            file.leave_out("SOLVER.MARGIN", "MODEL.NO_MARGIN True is the soft margin")
        _give(file, "MODEL.NO_MARGIN", used, {"TripletLoss.MARGIN": 0.0})
    elif "MODEL.NO_MARGIN" in flat:
        file.leave_out("MODEL.NO_MARGIN", "the margin is that of SOLVER.MARGIN")
    if not file.document:
        return
    for key, (loss, option) in SHARED.items():
        _give(file, key, used, {f"{loss}.{option}": flat.get(key)})
    for loss in _present(flat) - used:
        flat[f"{LOSSES}.{loss}.WEIGHT"] = 0.0  # removes what a base file brought
    for loss in used:
        flat.setdefault(f"{LOSSES}.{loss}.WEIGHT", CENTER_WEIGHT if loss == "CenterLoss" else 1.0)
    file.notes.append(f"The losses of the file are {', '.join(sorted(used))}.")


def _used(file: ClipFile) -> set[str]:
    """The losses of a document; outside of one, all that a key may name."""
    flat = file.flat
    _classifier(file)
    metric = str(flat.get("MODEL.METRIC_LOSS_TYPE", "triplet"))
    if not {*metric.split("_")} <= {*METRIC}:
        raise ValueError(
            f"MODEL.METRIC_LOSS_TYPE {metric} is not here; triplet and triplet_center are."
        )
    for key in ("MODEL.ID_LOSS_TYPE", "MODEL.METRIC_LOSS_TYPE"):
        if file.document:
            flat.pop(key, None)  # it is told which losses they make
        elif key == "MODEL.METRIC_LOSS_TYPE" and "center" in metric:
            file.read(key, {f"{LOSSES}.CenterLoss.WEIGHT": CENTER_WEIGHT})
        elif key in flat:
            file.leave_out(key, "the losses are those of MODEL.LOSSES")
    if not file.document:
        return {*WEIGHTS.values(), *METRIC.values()}
    sampler = str(flat.get("DATALOADER.SAMPLER.NAME", "softmax"))
    used = {"PromptLoss"} if file.staged or "MODEL.I2T_LOSS_WEIGHT" in flat else set()
    if sampler in ("softmax", "RandomSampler"):
        if "MODEL.IF_LABELSMOOTH" in flat:
            file.leave_out("MODEL.IF_LABELSMOOTH", "the sampler softmax smooths no labels there")
        flat[f"{LOSSES}.CrossEntropyLoss.EPSILON"] = 0.0
        return used | {"CrossEntropyLoss"}
    used |= {METRIC[word] for word in metric.split("_")}
    return used if sampler == "triplet" else used | {"CrossEntropyLoss"}


def _classifier(file: ClipFile) -> None:
    """ID_LOSS_TYPE, or COS_LAYER, which is ArcFace, with its scale and its margin."""
    flat = file.flat
    kind = "arcface" if flat.pop("MODEL.COS_LAYER", False) else "softmax"
    kind = str(flat.get("MODEL.ID_LOSS_TYPE", kind)) if kind == "softmax" else kind
    if kind not in CLASSIFIERS:
        raise ValueError(f"MODEL.ID_LOSS_TYPE {kind} is not here; {', '.join(CLASSIFIERS)} are.")
    if kind != "softmax" and file.staged:
        raise ValueError(f"MODEL.ID_LOSS_TYPE {kind} is not for CLIP-ReID; softmax is.")
    given = {option: flat.pop(key, usual) for key, (option, usual) in COSINE.items()}
    if kind != "softmax":
        words = {"CLS_LAYER": CLASSIFIERS[kind], **given}
        flat |= {f"{LOSSES}.CrossEntropyLoss.{k}": v for k, v in words.items()}
        file.notes.append(f"The classifier of the file is {kind}: {words}.")


def _present(flat: Flat) -> set[str]:
    return {key.split(".")[2] for key in flat if key.startswith(f"{LOSSES}.")}


def _give(file: ClipFile, key: str, used: set[str], ours: Flat) -> None:
    """Read `key`, if it is there, as those of `ours`, options of losses, that are in use."""
    ours = {f"{LOSSES}.{k}": v for k, v in ours.items() if k.partition(".")[0] in used}
    if key not in file.flat:
        return
    if file.stage in (0, 1):  # configs/clip_prompts.yml and clip_captions.yml have theirs
        file.leave_out(key, "it belongs to stage 2")
    elif ours:
        file.read(key, ours)
    else:
        file.leave_out(key, "its loss is not among those of the file")


def schedule(file: ClipFile) -> None:
    """A cosine for TransReID, steps for CLIP-ReID, whose stage 1 brings its own."""
    flat, cosine = file.flat, file.transformer
    _warmup(file)
    for key in ("SOLVER.WARMUP_LR_INIT", "SOLVER.LR_MIN"):
        if key not in flat:
            continue
        worth = rate(key, flat[key])
        if file.document and not cosine:
            file.leave_out(key, "it belongs to the cosine of stage 1")
        elif key == "SOLVER.LR_MIN":
            file.read(key, {"SOLVER.ETA_MIN_LR": worth})
        else:
            file.read(key, {"SOLVER.WARMUP_FACTOR": worth / _base(flat)})
    if not file.document:
        return
    flat["SOLVER.SCHED"] = "CosineAnnealingLR" if cosine else "MultiStepLR"
    file.notes.append(f"The schedule of the file is SOLVER.SCHED {flat['SOLVER.SCHED']}.")
    if file.transformer:
        own = {"ETA_MIN_LR": 0.002 * _base(flat), "WARMUP_FACTOR": 0.01, "WARMUP_EPOCHS": 5}
        for option, value in own.items():
            flat.setdefault(f"SOLVER.{option}", value)
    if "SOLVER.EVAL_PERIOD" in flat and file.stage in (0, 1):
        file.leave_out("SOLVER.EVAL_PERIOD", "it belongs to stage 2")
    elif "SOLVER.EVAL_PERIOD" in flat:
        file.read("SOLVER.EVAL_PERIOD", {"TEST.EVAL_PERIOD": flat["SOLVER.EVAL_PERIOD"]})


def _warmup(file: ClipFile) -> None:
    """WARMUP_ITERS of a document counts epochs; that of a stage is `split_stages`'s."""
    key = "SOLVER.WARMUP_ITERS"
    if file.document and not file.staged and key in file.flat:
        file.read(key, {"SOLVER.WARMUP_EPOCHS": file.flat[key]})


def _base(flat: Flat) -> float:
    return rate("SOLVER.BASE_LR", flat.get("SOLVER.BASE_LR", BASE_LR))


def rate(key: str, value: Any) -> float:
    """`value` as a learning rate; ValueError for what is none."""
    try:
        rate = float(value)
    except (TypeError, ValueError):
        rate = 0.0
    if not rate > 0:
        raise ValueError(f"{key} is {value!r}; write a learning rate above 0, like 1e-5.")
    return rate
