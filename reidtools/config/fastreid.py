"""The YAML of FastReID in our words: backbone and head, losses, augmentation, distillation.

Each step of `STEPS` rewrites a flat tree in place and gives a sentence for each thing it changed.
"""

from ast import literal_eval
from typing import Any

from reidtools.config.foreign import (
    ABSENT,
    FASTREID_DEFAULTS,
    LOSS_NAMES,
    LOSS_NODES,
    OLD_FASTREID,
    OLD_FASTREID_DEFAULTS,
    PICTURES,
)

# build_…_backbone -> our name; what stands in braces are DEPTH and an ending for WITH_IBN.
MAKERS = {
    "build_resnet_backbone": ("resnet{}{}", "_ibn_a"),
    "build_resnest_backbone": ("resnest{}", ""),
    "build_osnet_backbone": ("osnet_{1}{0}", "ibn_"),
    "build_vit_backbone": ("transreid_vit_{}", ""),
}
ARCHITECTURES = ("Baseline", "MGN", "Distiller")
BLOCKS = {"WITH_SE": "squeeze-and-excitation", "WITH_NL": "non-local"}
# Options of FastReID's ViT, which is TransReID's, under our names.
OF_VIT = {
    "SIE_COE": "SIE_COE",
    "STRIDE_SIZE": "STRIDE_SIZE",
    "DROP_PATH_RATIO": "DROP_PATH",
    "DROP_RATIO": "DROPOUT",
}
SIDE_OPTIONS = ("MODEL.BACKBONE.SIE_COE", "MODEL.BACKBONE.STRIDE_SIZE")  # words of ours as well


def network(flat: dict[str, Any]) -> list[str]:
    """FastReID's defaults under its file, its architecture, and its backbone by one name."""
    name, notes = str(flat.get("MODEL.BACKBONE.NAME", "")), []
    theirs = "MODEL.META_ARCHITECTURE" in flat or name.startswith("build_")
    if theirs:
        for key, value in FASTREID_DEFAULTS.items():
            flat.setdefault(key, value)
        notes += _frozen(flat)
    else:
        notes += _older(flat)
    kind = flat.pop("MODEL.META_ARCHITECTURE", "Baseline")
    if kind not in ARCHITECTURES:
        raise ValueError(
            f"MODEL.META_ARCHITECTURE {kind} is not here; {', '.join(ARCHITECTURES)} are."
        )
    notes += _teacher(flat, kind)
    if not name.startswith("build_"):
        return notes
    if name not in MAKERS:
        raise ValueError(f"MODEL.BACKBONE.NAME {name} is not here; try NAME timm with TIMM_NAME.")
    if flat.get("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm") == "norm":
        flat["SOLVER.CLIP_GRADIENTS.CLIP_TYPE"] = "norm_each"  # theirs clips weight by weight
    _backbone(flat, name, mgn=kind == "MGN")
    notes.append(f"MODEL.BACKBONE.NAME {name} is read as {flat['MODEL.BACKBONE.NAME']}.")
    return notes + (_mgn(flat) if kind == "MGN" else [])


def _frozen(flat: dict[str, Any]) -> list[str]:
    """FREEZE_LAYERS freezes nothing there without FREEZE_ITERS; here it would to the end."""
    layers = flat.get("MODEL.FREEZE_LAYERS")
    if layers is None:
        return []
    layers = [layers] if isinstance(layers, str) else layers
    layers = [part for part in layers if part]
    if layers and not int(flat.get("SOLVER.FREEZE_ITERS", 0)):
        del flat["MODEL.FREEZE_LAYERS"]
        return ["MODEL.FREEZE_LAYERS has no effect there without SOLVER.FREEZE_ITERS."]
    flat["MODEL.FREEZE_LAYERS"] = layers
    return []


def _backbone(flat: dict[str, Any], name: str, *, mgn: bool) -> None:
    """One name for ``build_…``, DEPTH and WITH_IBN; options that our network lacks are dropped."""
    node = "MODEL.BACKBONE"
    depth = str(flat.pop(f"{node}.DEPTH", "50x"))
    ibn = str(flat.pop(f"{node}.WITH_IBN", False)).lower() == "true"
    pattern, ending = MAKERS[name]
    flat[f"{node}.NAME"] = pattern.format(
        depth.rstrip("x") if "resne" in name else depth, ending if ibn else ""
    )
    resnet = name == "build_resnet_backbone"
    for option, what in BLOCKS.items():
        if resnet and not (mgn and option == "WITH_NL"):
            continue
        if str(flat.pop(f"{node}.{option}", False)).lower() == "true":
            raise ValueError(
                f"{node}.{option} True asks for {what} blocks in a network that has none here; "
                "ResNets have them. Set it to False."
            )
    for theirs, ours in OF_VIT.items():
        value = flat.pop(f"{node}.{theirs}", None)
        if value is not None and name == "build_vit_backbone":
            tuple_ = isinstance(value, str) and value.startswith("(")  # which YAML does not know
            flat[f"{node}.{ours}"] = list(literal_eval(value)) if tuple_ else value
    if name == "build_osnet_backbone":
        flat[f"{node}.FC"] = False
    if resnet:
        flat.setdefault(f"{node}.STEM_CEIL", True)
    elif name != "build_resnest_backbone":
        flat.pop(f"{node}.LAST_STRIDE", None)


def _mgn(flat: dict[str, Any]) -> list[str]:
    """META_ARCHITECTURE MGN: three branches of the ResNet, and a head for their stripes.

    Its losses are averaged over the branches by the head, as they are there by fixed weights.
    """
    base = flat["MODEL.BACKBONE.NAME"]
    if not base.startswith("resnet"):
        raise ValueError(f"MGN is made of a ResNet here, not of {base}; choose one.")
    flat |= {"MODEL.BACKBONE.NAME": "mgn", "MODEL.BACKBONE.BASE": base}
    flat["MODEL.HEADS.NAME"] = "MGN"
    flat.pop("MODEL.BACKBONE.LAST_STRIDE", None)
    layers = [str(layer) for layer in flat.get("MODEL.FREEZE_LAYERS", [])]
    if layers:  # its branches are parts of the backbone here
        flat["MODEL.FREEZE_LAYERS"] = list(
            dict.fromkeys("backbone" if part in ("b1", "b2", "b3") else part for part in layers)
        )
    return ["MODEL.META_ARCHITECTURE MGN is read as the backbone and the head of that name."]


def _teacher(flat: dict[str, Any], kind: str) -> list[str]:
    """KD: the weights of a teacher, from which the student of a Distiller learns."""
    configs, files = flat.pop("KD.MODEL_CONFIG", []), flat.pop("KD.MODEL_WEIGHTS", [])
    files = [files] if isinstance(files, str) else [str(file) for file in files]
    if not files:
        if configs or kind == "Distiller":
            raise ValueError("Distillation needs KD.MODEL_WEIGHTS, the checkpoint of the teacher.")
        return []
    if len(files) > 1:
        raise ValueError(f"KD.MODEL_WEIGHTS names {len(files)} teachers; there is one here.")
    loss = "MODEL.LOSSES.DistillationLoss"
    flat |= {"MODEL.TEACHER": files[0], f"{loss}.WEIGHT": 1.0, f"{loss}.KIND": "logits"}
    return [
        f"KD is read as MODEL.TEACHER {files[0]} and DistillationLoss; the teacher's config comes "
        "from the file of weights, and the student answers with a classifier of its own."
    ]


def _older(flat: dict[str, Any]) -> list[str]:
    """``BNneckHead`` with our backbones: id and triplet loss, no download, unless it says more."""
    old = [flat[k] for k, words in OLD_FASTREID.items() if str(flat.get(k)) in words]
    open_ = {k: value for k, value in OLD_FASTREID_DEFAULTS.items() if k not in flat}
    if "MODEL.LOSSES.NAME" in flat:
        open_ = {k: value for k, value in open_.items() if not k.startswith("MODEL.LOSSES")}
    if not old or not open_:
        return []
    flat |= open_
    told = ", ".join(f"{key} {value}" for key, value in open_.items())
    return [f"{' and '.join(old)}: words of FastReID. Where the file is silent, {told} count."]


def norms(flat: dict[str, Any]) -> list[str]:
    """NORM of backbone and head: batch norm, which processes may compute together (syncBN)."""
    notes: list[str] = []
    for key in ("MODEL.BACKBONE.NORM", "MODEL.HEADS.NORM"):
        if (kind := flat.get(key, "BN")) == "syncBN":
            flat["MODEL.SYNC_BN"] = True
            notes.append(f"{flat.pop(key)} of {key} is read as MODEL.SYNC_BN True.")
        elif kind != "BN":
            raise ValueError(
                f"{key} {kind} is not here, backbones and necks have batch norm; set BN, or syncBN "
                "for several GPUs."
            )
    return notes


def losses(flat: dict[str, Any]) -> list[str]:
    """``LOSSES.NAME: (…)`` with CE and TRI beside it; a loss that is not named does not count."""
    neck = flat.pop("MODEL.HEADS.WITH_BNNECK", True)
    if not neck and flat.get("MODEL.HEADS.NAME") == "EmbeddingHead":
        flat["MODEL.HEADS.NAME"] = "Linear"
        flat.pop("MODEL.HEADS.NECK_FEAT", None)  # there is no neck to come before or after
    layer = {
        option: flat.pop(f"MODEL.HEADS.{option}")
        for option in ("CLS_LAYER", "SCALE", "MARGIN")
        if f"MODEL.HEADS.{option}" in flat
    }
    if str(layer.get("CLS_LAYER", "Linear")).lower() == "linear":
        layer = {"SCALE": layer["SCALE"]} if layer.get("SCALE", 1) != 1 else {}
    if "MODEL.LOSSES.NAME" not in flat:
        return _classifier(flat, layer, ["CrossEntropyLoss"])
    names = flat.pop("MODEL.LOSSES.NAME")
    names = [names] if isinstance(names, str) else list(names)
    names = [LOSS_NAMES.get(name, name) for name in names]
    if flat.get("MODEL.TEACHER") and "DistillationLoss" not in names:
        names.append("DistillationLoss")
    for key in [k for k in flat if k.startswith("MODEL.LOSSES.") and k.count(".") == 3]:
        _, _, node, option = key.split(".")
        value = flat.pop(key)
        loss = LOSS_NODES.get(node, node)
        if loss in names:
            option = {"SCALE": "WEIGHT"}.get(option, option) if node in LOSS_NODES else option
            flat[f"MODEL.LOSSES.{loss}.{option}"] = value
    notes = _classifier(flat, layer, [n for n in names if n in ("CrossEntropyLoss", "FocalLoss")])
    for name in names:
        if not any(k.startswith(f"MODEL.LOSSES.{name}.") for k in flat):
            flat[f"MODEL.LOSSES.{name}"] = {}
    if "CrossEntropyLoss" in names:
        flat["MODEL.LOSSES.CrossEntropyLoss.VARIANT"] = "fastreid"
    if flat.get("MODEL.LOSSES.TripletLoss.NORM_FEAT") is True:
        flat["MODEL.LOSSES.TripletLoss.DISTANCE"] = "squared_euclidean"
    return [*notes, f"MODEL.LOSSES.NAME is read as the losses {', '.join(names)}."]


def _classifier(flat: dict[str, Any], layer: dict[str, Any], losses: list[str]) -> list[str]:
    """HEADS.CLS_LAYER, SCALE and MARGIN are options of the losses with a classifier here."""
    words = {f"MODEL.LOSSES.{loss}.{option}": v for loss in losses for option, v in layer.items()}
    flat |= words
    told = " ".join(f"{option} {value}" for option, value in layer.items())
    return [f"MODEL.HEADS {told} is read as an option of {' and '.join(losses)}."] if words else []


def pictures(flat: dict[str, Any]) -> list[str]:
    """INPUT.X.ENABLED and its options become X_PROB and ours; absent things are refused."""
    for key, what in ABSENT.items():
        asked = flat.pop(key, None)
        if asked and asked != "no":
            raise ValueError(f"{key} {asked} asks for {what}, which is not here; remove the key.")
        rest = key.removesuffix("ENABLED") if key.endswith(".ENABLED") else f"{key}."
        for option in [k for k in flat if k.startswith(rest)]:
            del flat[option]
    notes: list[str] = []
    for switch, (ours, usual, further) in PICTURES.items():
        node = f"INPUT.{switch}"
        size = flat.pop(f"{node}.SIZE", None)
        prob = flat.pop(f"{node}.PROB", size if switch == "PADDING" else None)
        on = flat.pop(f"{node}.ENABLED", None)
        if on is not None or prob is not None:
            default = flat.get(f"INPUT.{ours}", usual) if on is None else usual
            off = on is not None and not on
            flat[f"INPUT.{ours}"] = 0 if off else default if prob is None else prob
        if on or (on is None and prob is not None):
            notes.append(f"{node} is read as INPUT.{ours} {flat[f'INPUT.{ours}']}.")
        for theirs, key in further.items():
            if f"{node}.{theirs}" in flat:
                flat[f"INPUT.{key}"] = flat.pop(f"{node}.{theirs}")
        if on and switch == "CROP" and size and list(size) != flat.get("INPUT.SIZE_TRAIN", size):
            flat["INPUT.SIZE_TRAIN"] = list(size)
            notes.append(f"{node}.SIZE is what the network sees: INPUT.SIZE_TRAIN {list(size)}.")
    flat.pop("INPUT.PADDING.MODE", None)
    return notes
