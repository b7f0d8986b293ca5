"""The YAML of CLIP-ReID and of TransReID, its parent, in our words.

A file with MODEL.NAME and MODEL.PRETRAIN_CHOICE is a document of theirs: where it says nothing,
their defaults count, epochs count from 1, and SOLVER.WARMUP_ITERS counts epochs. Anywhere else
their keys change only what they name.
"""

from pathlib import Path
from typing import Any

from reidtools.config import clip_training
from reidtools.config.clip_file import CLIP, ClipFile, Flat, is_document

TRANSFORMERS = {
    "vit_base_patch16_224": "transreid_vit_base",
    "vit_small_patch16_224": "transreid_vit_small",
    "deit_base_patch16_224": "transreid_vit_base",
    "deit_small_patch16_224": "transreid_deit_small",
    "swin_tiny_patch4_window7_224": "solider_swin_tiny",
    "swin_small_patch4_window7_224": "solider_swin_small",
    "swin_base_patch4_window7_224": "solider_swin_base",
}
# Their key -> (the option of a backbone, values that ask for nothing, what others ask for). Where a
# backbone has no such option, that is refused; a key that asks for nothing in particular is not.
OPTIONS: dict[str, tuple[str, tuple, str]] = {
    "MODEL.SIE_CAMERA": ("SIE_CAMERA", (False, None), "camera embeddings"),
    "MODEL.SIE_COE": ("SIE_COE", (), ""),
    "MODEL.STRIDE_SIZE": ("STRIDE_SIZE", ([16, 16], (16, 16)), "patches that overlap"),
    "MODEL.DROP_PATH": ("DROP_PATH", (), ""),
    "MODEL.DROP_OUT": ("DROPOUT", (), ""),
    "MODEL.ATT_DROP_RATE": ("ATT_DROP_RATE", (0, None), "dropout of attention"),
    "MODEL.LAST_STRIDE": ("LAST_STRIDE", (), ""),
    "MODEL.SEMANTIC_WEIGHT": ("SEMANTIC_WEIGHT", (), ""),
    "MODEL.JPM": ("JPM", (False, None), "the jigsaw patches of TransReID"),
    "MODEL.SHIFT_NUM": ("SHIFT_NUM", (), ""),
    "MODEL.SHUFFLE_GROUP": ("SHUFFLE_GROUPS", (), ""),
    "MODEL.DEVIDE_LENGTH": ("DIVIDE_LENGTH", (), ""),
}
KEYS = (
    *clip_training.KEYS,
    *(key for key in OPTIONS if key != "MODEL.LAST_STRIDE"),
    *("MODEL.PRETRAIN_CHOICE", "MODEL.TRANSFORMER_TYPE", "MODEL.SIE_VIEW"),
    *("INPUT.RE_MAX_COUNT", "TEST.NECK_FEAT", "MODEL.RE_ARRANGE"),
)
# Stays as typed: the word no counted as yes there.
WORDS = ("TEST.FEAT_NORM",)

# What their defaults say and ours do not: their key -> (ours, value).
DEFAULTS: dict[str, tuple[str, Any]] = {
    "INPUT.SIZE_TRAIN": ("INPUT.SIZE_TRAIN", [384, 128]),
    "DATALOADER.NUM_WORKERS": ("DATALOADER.NUM_WORKERS", 8),
    "DATALOADER.SAMPLER": ("DATALOADER.SAMPLER.NAME", "RandomSampler"),
    "DATALOADER.NUM_INSTANCE": ("DATALOADER.SAMPLER.NUM_INSTANCE", 16),
    "SOLVER.SEED": ("SEED", 1234),
    "SOLVER.MAX_EPOCHS": ("SOLVER.MAX_EPOCH", 100),
    "SOLVER.BASE_LR": ("SOLVER.BASE_LR", clip_training.BASE_LR),
    "SOLVER.CHECKPOINT_PERIOD": ("SOLVER.CHECKPOINT_PERIOD", 10),
    "SOLVER.LOG_PERIOD": ("SOLVER.LOG_PERIOD", 100),
    "SOLVER.EVAL_PERIOD": ("TEST.EVAL_PERIOD", 10),
}
# What their code does, whatever the file says.
ALWAYS = {
    "INPUT.INTERPOLATION": "bicubic",
    "SOLVER.FIRST_EPOCH": 1,
    "SOLVER.AMP.ENABLED": True,
    "TEST.RERANK.K1": 50,
    "TEST.RERANK.K2": 15,
    "TEST.RERANK.LAMBDA": 0.3,
}
# With CLIP and transformers they erase as timm does.
ERASING = {"INPUT.REA_MODE": "pixel", "INPUT.REA_AREA": [0.02, 0.333333]}


def two_meanings(flat: Flat) -> tuple[str, ...]:
    """Keys of `flat` that are words of ours, but mean something else in their documents."""
    return ("SOLVER.WARMUP_ITERS",) if is_document(flat) else ()


def clip_yaml(flat: Flat, stage: int | None = None) -> list[str]:
    """Keys of CLIP-ReID and TransReID in `flat` become ours, in place; a sentence for each.

    `stage` is the one that is wanted of a training of stages. Raises ValueError for what
    a file asks for and is not here, and for a rate that cannot be.
    """
    file = ClipFile(flat, stage)
    for step in STEPS:
        step(file)
    return file.notes


def _backbone(file: ClipFile) -> None:
    """RN50, ViT-B-16 and the ViTs of TransReID; other names are everybody's."""
    flat, kind = file.flat, "MODEL.TRANSFORMER_TYPE"
    name = str(flat.get("MODEL.NAME"))
    if file.transformer:
        _transformer(file)
    elif name in CLIP or file.document:
        ours = CLIP.get(name, name)
        file.choose("MODEL.BACKBONE", ours)
        file.read("MODEL.NAME", {"MODEL.BACKBONE.NAME": ours})
    if name in CLIP:
        file.choose("MODEL.HEADS", "ClipNecks")
    if kind in flat:
        file.leave_out(kind, "it belongs to MODEL.NAME transformer")


def _transformer(file: ClipFile) -> None:
    theirs = str(file.flat.pop("MODEL.TRANSFORMER_TYPE", None))
    kind = theirs.removesuffix("_TransReID")
    if kind not in TRANSFORMERS:
        raise ValueError(
            f"MODEL.TRANSFORMER_TYPE {theirs} is not here; {', '.join(TRANSFORMERS)} are, and so "
            "is every model of timm, as MODEL.BACKBONE.NAME timm with TIMM_NAME."
        )
    file.choose("MODEL.BACKBONE", TRANSFORMERS[kind])
    file.flat.setdefault("MODEL.BACKBONE.DROP_PATH", 0.1)
    file.flat["MODEL.NAME"] = theirs
    file.read("MODEL.NAME", {"MODEL.BACKBONE.NAME": TRANSFORMERS[kind]})


def _options(file: ClipFile) -> None:
    """Options of a backbone, which stand beside its name there."""
    flat, (name, has) = file.flat, file.backbone()
    if not flat.pop("MODEL.RE_ARRANGE", True) and "JPM" in has:
        flat |= {"MODEL.SHIFT_NUM": 1, "MODEL.SHUFFLE_GROUP": 1}  # which mixes nothing
    if flat.get("MODEL.JPM") and "JPM" in has:
        file.choose("MODEL.HEADS", "PartNecks")
    if flat.pop("MODEL.SIE_VIEW", False):
        raise ValueError(
            "MODEL.SIE_VIEW True asks for embeddings of the side that a vehicle shows, and "
            "pictures of people have none; remove the key, or use MODEL.SIE_CAMERA."
        )
    for key, (option, nothing, what) in OPTIONS.items():
        if key not in flat or (key == "MODEL.LAST_STRIDE" and not file.document):
            continue
        value = flat[key]
        if option in has:
            file.read(key, {f"MODEL.BACKBONE.{option}": value})
        elif what and value not in nothing:
            raise ValueError(
                f"{key} {value} asks for {what}, which {name} does not have; remove the key."
            )
        else:
            file.leave_out(key, f"{name} has no such option")


def _weights(file: ClipFile) -> None:
    """PRETRAIN_CHOICE says what PRETRAIN_PATH is: weights of the backbone, or of a whole model."""
    flat, key = file.flat, "MODEL.PRETRAIN_CHOICE"
    tested = str(flat.get("TEST.WEIGHT") or "")
    if file.document and file.transformer and tested and not Path(tested).is_file():
        file.leave_out("TEST.WEIGHT", "there is no such file; name one for a test")
    elif file.document and tested:
        file.notes.append(
            "TEST.WEIGHT is a checkpoint for tests there; here training starts from it as well, "
            "unless you type MODEL.WEIGHTS ''."
        )
    if key not in flat:
        return
    choice, path = flat[key], flat.pop("MODEL.PRETRAIN_PATH", "")
    if choice not in ("imagenet", "self", "finetune"):
        raise ValueError(f"{key} is {choice!r}; it is imagenet, self or finetune.")
    if choice == "imagenet":
        of_backbone = {"MODEL.BACKBONE.PRETRAIN_PATH": path} if path else {}
        file.read(key, {"MODEL.BACKBONE.PRETRAIN": True, **of_backbone})
    elif path:
        file.read(key, {"MODEL.WEIGHTS": path})
    else:
        raise ValueError(f"{key} {choice} needs MODEL.PRETRAIN_PATH, the checkpoint.")


def _erasing(file: ClipFile) -> None:
    """One rectangle a picture, with noise in it."""
    flat = file.flat
    if flat.pop("INPUT.RE_MAX_COUNT", 1) != 1:
        raise ValueError("INPUT.RE_MAX_COUNT: one rectangle is erased here, so make it 1.")
    if file.document and (file.clip or file.transformer):
        for key, value in ERASING.items():
            flat.setdefault(key, value)


def _tests(file: ClipFile) -> None:
    """Which features are compared, and how."""
    flat, key = file.flat, "TEST.NECK_FEAT"
    if key in flat and flat.get("MODEL.NECK", "bnneck") == "no":
        file.leave_out(key, "there is no neck")
    elif key in flat:
        file.read(key, {"MODEL.HEADS.TEST_FEAT": flat[key]})
    elif file.document and file.clip:
        flat.setdefault("MODEL.HEADS.TEST_FEAT", "after")
    key = "TEST.FEAT_NORM"
    if not file.document or key not in flat:
        return
    if str(flat[key]).lower() == "no" and flat[key] is not False:
        file.notes.append(
            "TEST.FEAT_NORM no counted as yes there, as every word did; for distances of vectors "
            "as they are write TEST.METRIC euclidean."
        )
    off = str(flat[key]).lower() == "false"
    file.read(key, {"TEST.METRIC": "euclidean" if off else "cosine"})


def _defaults(file: ClipFile) -> None:
    """Their defaults where a document is silent, and what their code does in any case."""
    flat = file.flat
    if not file.document:
        return
    if flat.get("DATASETS.ROOT_DIR") == "":
        del flat["DATASETS.ROOT_DIR"]
    if flat.get("MODEL.NECK") == "no" and not file.clip:
        file.choose("MODEL.HEADS", "Linear")
        file.read("MODEL.NECK", {"MODEL.HEADS.NAME": "Linear"})
    told = []
    for theirs, (ours, value) in DEFAULTS.items():
        drawn = flat.get("DATALOADER.SAMPLER.NAME") in ("RandomSampler", "softmax")
        needless = drawn if ours.endswith("NUM_INSTANCE") else False
        if theirs not in flat and ours not in flat and not needless:
            flat[ours] = value
            told.append(f"{ours} {value}")
    if file.staged:
        flat.setdefault("METHOD", "clipreid")
        flat.setdefault("LOG.STAGE", "stage2")  # other stages are laid over it
    if told:
        file.notes.append(f"Where the file is silent, their defaults count: {', '.join(told)}.")
    for key, value in ALWAYS.items():
        flat.setdefault(key, value)


STEPS = (
    *(_backbone, _options, _weights, clip_training.losses, clip_training.schedule),
    *(_erasing, _tests, _defaults),
)
