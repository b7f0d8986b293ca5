"""Other toolboxes' keys, in one table: FastReID (old and new), SNU_ReID, centroids-reid, TransReID.

`translate` rewrites a tree of theirs into ours and says what it did, naming our key. A key that
asks for something we do not have is an error, never dropped in silence; one that had no effect
there, or can have none here, is left out with a word.
"""

from collections.abc import Callable, Iterable
from typing import Any

from reidtools.registry import DATASETS

Tree = dict[str, Any]

# Their key -> our key; the value carries over.
RENAMED = {
    # FastReID
    "DATALOADER.NUM_INSTANCE": "DATALOADER.SAMPLER.NUM_INSTANCE",
    "INPUT.FLIP.PROB": "INPUT.FLIP_PROB",
    "INPUT.PADDING.SIZE": "INPUT.PADDING",
    "INPUT.REA.PROB": "INPUT.REA_PROB",
    "SOLVER.MAX_ITER": "SOLVER.MAX_EPOCH",
    "CUDNN_DETERMINISTIC": "DETERMINISTIC",
    # SNU_ReID, centroids-reid, TransReID
    "DATASETS.ROOT_DIR": "DATASETS.ROOT",
    "INPUT.PROB": "INPUT.FLIP_PROB",
    "INPUT.RE_PROB": "INPUT.REA_PROB",
    "MODEL.LAST_STRIDE": "MODEL.BACKBONE.LAST_STRIDE",
    "MODEL.NAME": "MODEL.BACKBONE.NAME",
    "MODEL.PRETRAINED": "MODEL.BACKBONE.PRETRAIN",
    "MODEL.PRETRAIN_PATH": "MODEL.WEIGHTS",
    "REPRODUCIBLE_SEED": "SEED",
    "SOLVER.CENTER_LOSS_WEIGHT": "MODEL.LOSSES.CenterLoss.WEIGHT",
    "SOLVER.CENTER_LR": "MODEL.LOSSES.CenterLoss.LR",
    "SOLVER.DISTANCE_FUNC": "MODEL.LOSSES.TripletLoss.DISTANCE",
    "SOLVER.LR_STEPS": "SOLVER.STEPS",
    "SOLVER.MARGIN": "MODEL.LOSSES.TripletLoss.MARGIN",
    "SOLVER.MAX_EPOCHS": "SOLVER.MAX_EPOCH",
    "SOLVER.MIN_LR": "SOLVER.ETA_MIN_LR",
    "SOLVER.OPTIMIZER_NAME": "SOLVER.OPT",
    "SOLVER.QUERY_CONTRASTIVE_WEIGHT": "MODEL.LOSSES.TripletLoss.WEIGHT",
    "SOLVER.QUERY_XENT_WEIGHT": "MODEL.LOSSES.CrossEntropyLoss.WEIGHT",
    "SOLVER.USE_MIXED_PRECISION": "SOLVER.AMP.ENABLED",
    "FP16_ENABLED": "SOLVER.AMP.ENABLED",
    "TEST.WEIGHT": "MODEL.WEIGHTS",
}

# Their key -> (our key, {their value: our value}); another value is passed on as it is.
VALUES: dict[str, tuple[str, dict[Any, Any]]] = {
    "MODEL.HEADS.POOL_LAYER": (
        "MODEL.HEADS.POOL_LAYER",
        {
            "GlobalAvgPool": "avg",
            "FastGlobalAvgPool": "avg",
            "avgpool": "avg",
            "GlobalMaxPool": "max",
            "maxpool": "max",
            "GeneralizedMeanPoolingP": "gem",
            "gempoolP": "gem",
            "gempool": "gem",
        },
    ),
    "MODEL.HEADS.NAME": (
        "MODEL.HEADS.NAME",
        {"EmbeddingHead": "BNNeck", "BNneckHead": "BNNeck", "LinearHead": "Linear"},
    ),
    "DATALOADER.SAMPLER_TRAIN": (
        "DATALOADER.SAMPLER.NAME",
        {
            "NaiveIdentitySampler": "RandomIdentitySampler",
            "TrainingSampler": "RandomSampler",
        },
    ),
    "DATALOADER.SAMPLER.NAME": (
        "DATALOADER.SAMPLER.NAME",
        {
            "random_identity": "RandomIdentitySampler",
            "softmax_triplet": "RandomIdentitySampler",
            "softmax": "RandomSampler",
        },
    ),
    "SOLVER.LR_SCHEDULER_NAME": (
        "SOLVER.SCHED",
        {"multistep_lr": "MultiStepLR", "cosine_annealing": "CosineAnnealingLR"},
    ),
    "SOLVER.SCHED": ("SOLVER.SCHED", {"WarmupMultiStepLR": "MultiStepLR"}),
}

# Keys that change nothing, with the reason.
WITHOUT_EFFECT = {
    "MODEL.META_ARCHITECTURE": "a model here is always backbone + head",
    "MODEL.BACKBONE.FEAT_DIM": "the size is the backbone's own",
    "MODEL.BACKBONE.NORM": "batch norm is what the backbones have",
    "MODEL.BACKBONE_EMB_SIZE": "the size is the backbone's own",
    "MODEL.HEADS.IN_FEAT": "the size is the backbone's own",
    "MODEL.HEADS.NORM": "batch norm is what the neck has",
    "MODEL.HEADS.NUM_CLASSES": "people are counted from the data",
    "MODEL.HEADS.NECK_FEAT": "TripletLoss takes the features before the neck, tests those after it",
    "MODEL.KEEP_CAMID_CENTROIDS": "it belongs to the centroid evaluation",
    "MODEL.NECK": "choose MODEL.HEADS.NAME",
    "DATASETS.JSON_TRAIN_PATH": "it was never read there",
    "DATALOADER.DROP_LAST": "batches are always full",
    "DATALOADER.USE_RESAMPLING": "people with few pictures are always drawn with repeats",
    "INPUT.REA.VALUE": "the erased part takes the mean colour INPUT.PIXEL_MEAN",
    "INPUT.REA.MEAN": "the erased part takes the mean colour INPUT.PIXEL_MEAN",
    "SOLVER.CLUSTER_MARGIN": "it was never read there",
    "SOLVER.CENTROID_CONTRASTIVE_WEIGHT": "it belongs to CentroidTripletLoss",
    "SOLVER.USE_WARMUP_LR": "SOLVER.WARMUP_EPOCHS 0 means no warm-up",
    "TEST.FEAT_NORM": "TEST.METRIC cosine compares directions only",
    "TEST.ONLY_TEST": "use tools/test.py or --eval-only",
    "CUDNN_BENCHMARK": "cuDNN picks its kernels itself unless DETERMINISTIC is set",
    "LOG_DIR": "runs go to OUTPUT_DIR, or to logs/ when that is empty",
    "GPU_IDS": "choose the GPU with MODEL.DEVICE cuda:0",
    "DIST_BACKEND": "training runs in one process",
    "REPRODUCIBLE": "every run is seeded by SEED",
    "USE_AUTOMATIC_OPTIM": "there is one training loop",
}

# Switches for things we do not have: fine while they are off, refused when they are on.
ABSENT = {
    "INPUT.CROP.ENABLED": "random resized crops",
    "INPUT.CJ.ENABLED": "colour jitter",
    "INPUT.AFFINE.ENABLED": "random affine transforms",
    "INPUT.AUTOAUG.ENABLED": "AutoAugment",
    "INPUT.AUGMIX.ENABLED": "AugMix",
    "INPUT.RPT.ENABLED": "random patches",
    "MODEL.BACKBONE.WITH_SE": "squeeze-and-excitation blocks",
    "MODEL.BACKBONE.WITH_NL": "non-local blocks",
    "MODEL.USE_CENTROIDS": "centroid training",
    "SOLVER.CLIP_GRADIENTS.ENABLED": "gradient clipping",
    "SOLVER.FREEZE_ITERS": "unfreezing after some iterations",
    "MODEL.FREEZE_LAYERS": "freezing by name (MODEL.BACKBONE.FROZEN_LAYERS counts stages)",
    "TEST.ROC.ENABLED": "ROC curves",
    "TEST.FLIP.ENABLED": "testing with mirrored pictures",
    "TEST.FLIP_ENABLED": "testing with mirrored pictures",
    "TEST.AQE.ENABLED": "query expansion",
    "TEST.RERANK.ENABLED": "re-ranking",
    "TEST.PRECISE_BN.ENABLED": "precise batch-norm statistics",
    "KD.MODEL_CONFIG": "distillation",
    "KD.EMA.ENABLED": "averaged weights",
    "DATASETS.COMBINEALL": "training on query and gallery pictures",
}

# Keys by which a tree of SNU_ReID or centroids-reid is known: batches count people there.
COUNTS_PEOPLE = ("MODEL.BACKBONE_EMB_SIZE", "MODEL.KEEP_CAMID_CENTROIDS", "SOLVER.OPTIMIZER_NAME")

DATASET_NAMES = {
    "dukemtmc": "dukemtmcreid",
    "msmt17_v1": "msmt17",
    "mot17": "mot17_reid",
    "prw": "PRW_reid",
}


def dataset_names(names: Any) -> list[str]:
    """``market1501``, ``("Market1501",)`` or a list, as a list of our names.

    A name that is no dataset of ours stays as typed: it may be a folder.
    """
    if isinstance(names, str):
        names = names.strip("()[] ").replace("'", "").replace('"', "").split(",")
    words = [str(name).strip() for name in names or []]
    known = [DATASET_NAMES.get(word.lower(), word.lower()) for word in words]
    ours = {*DATASETS, *DATASET_NAMES.values()}
    return [k if k in ours else word for k, word in zip(known, words, strict=True) if word]


def translate(tree: Tree) -> tuple[Tree, list[str]]:
    """`tree` in our vocabulary, and a sentence for each thing that was changed or left out.

    A key of theirs wins over ours of the same meaning, which can only come from a base file. Raises
    ValueError for a switch that asks for what we do not have.
    """
    flat, notes = flatten(tree), []
    people = any(key in flat for key in COUNTS_PEOPLE)
    for step in (_fastreid_backbone, _fastreid_losses, _switches, _pixels, _resume):
        notes += step(flat)
    for key in [key for key in flat if key in RENAMED]:
        _move(flat, key, RENAMED[key], flat[key], notes)
    for key in [key for key in flat if key in VALUES]:
        new, table = VALUES[key]
        value = table.get(flat[key], flat[key]) if isinstance(flat[key], str) else flat[key]
        if (new, value) != (key, flat[key]):
            _move(flat, key, new, value, notes)
    for key in [key for key in flat if key in WITHOUT_EFFECT]:
        del flat[key]
        notes.append(f"{key} has no effect here: {WITHOUT_EFFECT[key]}.")
    if "SOLVER.EVAL_PERIOD" in flat:
        flat["SOLVER.CHECKPOINT_PERIOD"] = flat["SOLVER.EVAL_PERIOD"]
        _move(flat, "SOLVER.EVAL_PERIOD", "TEST.EVAL_PERIOD", flat["SOLVER.EVAL_PERIOD"], notes)
    if people and "SOLVER.IMS_PER_BATCH" in flat:
        pictures = flat.get("DATALOADER.SAMPLER.NUM_INSTANCE", 4) * flat["SOLVER.IMS_PER_BATCH"]
        notes.append(f"SOLVER.IMS_PER_BATCH counts people there; here it is {pictures} pictures.")
        flat["SOLVER.IMS_PER_BATCH"] = pictures
    return unflatten(flat.items()), notes


def flatten(tree: Tree, path: str = "") -> dict[str, Any]:
    """Nested to dotted keys; an empty node stays, as an empty dict."""
    flat = {}
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict) and value:
            flat.update(flatten(value, here))
        else:
            flat[here] = value
    return flat


def unflatten(items: Iterable[tuple[str, Any]]) -> Tree:
    """Dotted to nested keys."""
    tree: Tree = {}
    for key, value in items:
        *route, last = key.split(".")
        node = tree
        for part in route:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        if not (value == {} and last in node):
            node[last] = value
    return tree


def _move(flat: dict[str, Any], old: str, new: str, value: Any, notes: list[str]) -> None:
    theirs = flat.pop(old)
    flat[new] = value
    notes.append(f"{old} {theirs} is read as {new} {value}.")


def _switches(flat: dict[str, Any]) -> list[str]:
    """ENABLED: off becomes a probability of 0, on needs nothing, absent things are refused."""
    for key, what in ABSENT.items():
        asked = flat.pop(key, None)
        if asked and asked != "False":
            raise ValueError(f"{key} {asked} asks for {what}, which is not here; remove the key.")
        rest = key.removesuffix("ENABLED") if key.endswith(".ENABLED") else f"{key}."
        for option in [k for k in flat if k.startswith(rest)]:
            del flat[option]
    for switch, ours in (("FLIP", "FLIP_PROB"), ("REA", "REA_PROB"), ("PADDING", "PADDING")):
        if flat.pop(f"INPUT.{switch}.ENABLED", True) is False:
            flat[f"INPUT.{ours}"] = 0
            flat.pop(f"INPUT.{switch}.PROB", None)
            flat.pop(f"INPUT.{switch}.SIZE", None)
    flat.pop("INPUT.PADDING.MODE", None)
    return []


def _pixels(flat: dict[str, Any]) -> list[str]:
    """FastReID counts pixels from 0 to 255 and keeps the statistics with the model."""
    notes: list[str] = []
    for name in ("PIXEL_MEAN", "PIXEL_STD"):
        if f"MODEL.{name}" in flat:
            value = [round(v / 255, 6) for v in flat[f"MODEL.{name}"]]
            _move(flat, f"MODEL.{name}", f"INPUT.{name}", value, notes)
    return notes


def _resume(flat: dict[str, Any]) -> list[str]:
    """SNU_ReID: RESUME_TRAINING True makes MODEL.PRETRAIN_PATH the checkpoint to resume from."""
    if flat.pop("MODEL.RESUME_TRAINING", False) is not True:
        return []
    path = flat.pop("MODEL.PRETRAIN_PATH", "") or flat.get("MODEL.WEIGHTS", "")
    if not path:
        raise ValueError("MODEL.RESUME_TRAINING True needs MODEL.PRETRAIN_PATH, the checkpoint.")
    flat["RESUME"] = path
    return [f"MODEL.RESUME_TRAINING and MODEL.PRETRAIN_PATH are read as RESUME {path}."]


def _fastreid_backbone(flat: dict[str, Any]) -> list[str]:
    """``build_resnet_backbone`` + DEPTH + WITH_IBN name one backbone."""
    name = flat.get("MODEL.BACKBONE.NAME")
    if not (isinstance(name, str) and name.startswith("build_")):
        return []
    depth = str(flat.pop("MODEL.BACKBONE.DEPTH", "50x"))
    ibn = flat.pop("MODEL.BACKBONE.WITH_IBN", False)
    make: dict[str, Callable[[], str]] = {
        "build_resnet_backbone": lambda: f"resnet{depth.rstrip('x')}{'_ibn_a' if ibn else ''}",
        "build_osnet_backbone": lambda: f"osnet_{'ibn_' if ibn else ''}{depth}",
        "build_vit_backbone": lambda: f"vit_{depth}_patch16",
    }
    if name not in make:
        raise ValueError(f"MODEL.BACKBONE.NAME {name} is not here; try NAME timm with TIMM_NAME.")
    new = flat["MODEL.BACKBONE.NAME"] = make[name]()
    if name == "build_osnet_backbone":
        flat["MODEL.BACKBONE.FC"] = False
    return [f"MODEL.BACKBONE.NAME {name} is read as {new}."]


def _fastreid_losses(flat: dict[str, Any]) -> list[str]:
    """``LOSSES.NAME: (…)`` with CE and TRI beside it; a loss that is not named does not count."""
    neck = flat.pop("MODEL.HEADS.WITH_BNNECK", None)
    if neck is False and flat.get("MODEL.HEADS.NAME") == "EmbeddingHead":
        flat["MODEL.HEADS.NAME"] = "Linear"
    layer = flat.pop("MODEL.HEADS.CLS_LAYER", "Linear")
    if layer not in ("Linear", "linear"):
        raise ValueError(f"MODEL.HEADS.CLS_LAYER {layer} is not here; Linear is.")
    for key in ("MODEL.HEADS.SCALE", "MODEL.HEADS.MARGIN"):
        flat.pop(key, None)
    if "MODEL.LOSSES.NAME" not in flat:
        return []
    names = flat.pop("MODEL.LOSSES.NAME")
    names = names.strip("() ").split(",") if isinstance(names, str) else names
    names = [word for name in names if (word := str(name).strip(" \"'"))]
    nodes = {"CE": "CrossEntropyLoss", "TRI": "TripletLoss"}
    keys = {"SCALE": "WEIGHT"}
    for key in [k for k in flat if k.startswith("MODEL.LOSSES.") and k.count(".") == 3]:
        _, _, node, option = key.split(".")
        value = flat.pop(key)
        if nodes.get(node) in names:
            flat[f"MODEL.LOSSES.{nodes[node]}.{keys.get(option, option)}"] = value
    for name in names:
        if not any(k.startswith(f"MODEL.LOSSES.{name}.") for k in flat):
            flat[f"MODEL.LOSSES.{name}"] = {}
    if "CrossEntropyLoss" in names:
        flat["MODEL.LOSSES.CrossEntropyLoss.VARIANT"] = "fastreid"
    if flat.get("MODEL.LOSSES.TripletLoss.NORM_FEAT") is True:
        flat["MODEL.LOSSES.TripletLoss.DISTANCE"] = "squared_euclidean"
    return [f"MODEL.LOSSES.NAME is read as the losses {', '.join(names)}."]
