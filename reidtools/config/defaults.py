"""The config tree: keys that belong to no component, and the slots that components fill."""

from collections.abc import Callable
from typing import Any, NamedTuple

from reidtools import data, losses, modeling  # noqa: F401  (they register their components)
from reidtools.data.augmentations import FIRST, RandomPatch
from reidtools.data.frames import FrameChoice, seen_frames
from reidtools.data.pictures import Pictures
from reidtools.data.transforms import Augment, LowResolution, Normalize
from reidtools.data.variants import VARIANTS
from reidtools.engine.average import MovingAverage
from reidtools.evaluation import (
    centralize,
    embed,
    expand,
    fuse_generated,
    rank,
    rank_centroids,
    rerank,
)
from reidtools.export.runtime import quick
from reidtools.modeling.text import TextTower
from reidtools.ops.resize import Resize
from reidtools.registry import BACKBONES, HEADS, LOSSES, SAMPLERS, TEMPORAL, Registry
from reidtools.solver import make_clipper, make_optimizer, make_schedule


class Slot(NamedTuple):
    """A node filled from `registry`; `common` are the options that every component there has."""

    registry: Registry
    common: dict[str, Any]


# NAME and that component's own options.
ONE = {
    "MODEL.BACKBONE": Slot(
        BACKBONES, {"PRETRAIN": True, "PRETRAIN_PATH": "", "GRAD_CHECKPOINT": False}
    ),
    "MODEL.HEADS": Slot(HEADS, {}),
    "MODEL.TEMPORAL": Slot(TEMPORAL, {}),
    "DATALOADER.SAMPLER": Slot(SAMPLERS, {}),
}
# Component name -> its options.
MANY = {"MODEL.LOSSES": Slot(LOSSES, {"WEIGHT": 1.0})}
# Nodes with the options of these callables; what the node above has already counts there as well.
FIXED: dict[str, tuple[Callable, ...]] = {
    "INPUT": (Resize, Normalize, *FIRST, Augment, RandomPatch, LowResolution, FrameChoice),
    **{f"DATASETS.{name.upper()}": (variant,) for name, variant in VARIANTS.items()},
    "DATALOADER": (Pictures,),
    "SOLVER": (make_optimizer, make_schedule),
    "SOLVER.CLIP_GRADIENTS": (make_clipper,),
    "SOLVER.EMA": (MovingAverage,),
    "MODEL.TEXT": (TextTower,),
    "TEST": (embed, quick, rank, seen_frames),
    "TEST.AQE": (expand,),
    "TEST.CENTROIDS": (rank_centroids,),
    "TEST.IPG": (fuse_generated,),
    "TEST.NFC": (centralize,),
    "TEST.RERANK": (rerank,),
}

# The smallest value that makes sense; null is none.
AT_LEAST = {
    "DATASETS.LOW_SCALE": 1,
    "DATALOADER.NUM_WORKERS": 0,
    "INPUT.FRAMES": 1,
    "INPUT.SCALE": 1,
    "LOG.TEXT_MAPS": 0,
    "SEED": 0,
    "SOLVER.ACCUMULATE": 1,
    "SOLVER.CHECKPOINT_PERIOD": 0,
    "SOLVER.FREEZE_EPOCHS": 0,
    "SOLVER.FREEZE_ITERS": 0,
    "SOLVER.IMS_PER_BATCH": 2,  # batch norm wants two
    "SOLVER.LOG_PERIOD": 1,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.MICRO_BATCH": 0,
    "TEST.EVAL_PERIOD": 0,
    "TEST.GALLERY_SCALE": 1,
    "TEST.IMS_PER_BATCH": 1,
    "TEST.LOSS_BATCHES": 0,
    "TEST.MEMORY_MB": 1,
    "TEST.QUERY_SCALE": 1,
    "TEST.SINGLE_SHOT": 0,
    "TEST.TOPK": 0,
    "TEST.VISUALIZE_MAX_NUMBER": 1,
    "TEST.VISUALIZE_TOPK": 1,
}


def defaults() -> dict[str, Any]:
    """A fresh tree of the keys that no component declares."""
    return {
        "MODEL": {
            "DEVICE": "auto",  # auto, cpu, cuda, cuda:1, mps
            "COMPILE": False,  # the backbone, for training; takes a minute or more at first
            "BACKBONE": {"NAME": "resnet50"},
            "HEADS": {"NAME": "BNNeck"},
            "TEMPORAL": {"NAME": "Mean"},  # what joins the frames of a tracklet
            "LOSSES": {},
            "TEXT": {},  # the text tower of CLIP, where a loss wants one
            "WEIGHTS": "",  # a checkpoint to start from or to test
            "WEIGHTS_FORMAT": "",  # whose it is, such as FastReID; empty: its names tell
            "FREEZE_LAYERS": [],  # parts that do not learn, such as [backbone]; see FREEZE_ITERS
            "SYNC_BN": False,  # batch norms of the backbone see the pictures of all processes
            "TEACHER": "",  # a checkpoint that DistillationLoss learns from
        },
        "INPUT": {
            "SIZE_TRAIN": [256, 128],  # height, width
            "SIZE_TEST": [],  # empty: as SIZE_TRAIN
            "SCALE": 1.0,  # 4: training pictures a quarter as wide and high, at the same size
        },
        "DATASETS": {
            "ROOT": "datasets",
            "NAMES": ["market1501"],  # trained on together
            "TESTS": [],  # tested one by one; empty: as NAMES
            "COMBINEALL": False,  # train on query and gallery as well
            "CAPTIONS": "",  # captions_parsed.json of tools/prepare_captions.py
            "CAPTIONED_ONLY": False,  # train on pictures with captions only
            "LOW_SCALE": 1.0,  # how many times as coarse low_features are (OctupletLoss)
            **{name.upper(): {} for name in VARIANTS},
        },
        "DATALOADER": {
            "NUM_WORKERS": 4,  # reading threads
            "SAMPLER": {"NAME": "RandomIdentitySampler"},
        },
        "SOLVER": {
            "MAX_EPOCH": 120,
            "IMS_PER_BATCH": 64,  # pictures, or tracklets
            "MICRO_BATCH": 0,  # pictures in the network at a time, which saves memory; 0: all
            "ACCUMULATE": 1,  # batches whose gradients count as one
            "FSDP": False,  # weights divided among processes, for towers too large for a GPU
            "GATHER": True,  # losses see what all processes see, not each its own part
            "FREEZE": "",  # model: only losses learn, from features that are embedded once
            "FREEZE_ITERS": 0,  # for how long MODEL.FREEZE_LAYERS are frozen …
            "FREEZE_EPOCHS": 0,  # … or this; 0 of both: to the end
            "CLIP_GRADIENTS": {"ENABLED": False},  # before weights move
            "EMA": {"ENABLED": False},  # the average of weights over time is what is kept
            "CHECKPOINT_PERIOD": 20,  # epochs; 0 keeps only the last and the best
            "LOG_PERIOD": 20,  # iterations
            "AMP": {"ENABLED": False, "DTYPE": "auto"},  # auto, bf16, fp16
        },
        "TEST": {
            "IMS_PER_BATCH": 128,  # pictures, also of tracklets
            "EVAL_PERIOD": 20,  # epochs; 0 tests only at the end
            "LOSS_BATCHES": 0,  # batches of a test set whose losses are logged in training
            "QUERY_SCALE": None,  # as INPUT.SCALE; null: as trained
            "GALLERY_SCALE": None,
            "FEATURES": "",  # a folder that keeps embeddings, so that the next test needs none
            "AQE": {"ENABLED": False},  # query expansion
            "IPG": {"ENABLED": False, "ROOT": ""},  # generated pictures; empty: beside the others
            "NFC": {"ENABLED": False},  # neighbour feature centralisation
            "RERANK": {"ENABLED": False},  # k-reciprocal
            "CENTROIDS": {"ENABLED": False},  # a gallery of means by its own ids
            "ROC": {"ENABLED": False},  # verification: EER, TAR at FAR
            "DENSITY": {"ENABLED": False},  # how close a person's gallery pictures lie
            "PLOTS": False,  # CMC and ROC curves as PNG
            "VISUALIZE": False,  # the nearest of every query as PNG, in visrank/
            "VISUALIZE_TOPK": 10,
            "VISUALIZE_MAX_NUMBER": 1_000_000,  # queries
        },
        "LOG": {  # beside TensorBoard's events, which are always written
            "MLFLOW": False,  # settings, figures and files to an MLflow server as well
            "MLFLOW_URI": "",  # empty: MLFLOW_TRACKING_URI, else that of tools/dashboards.py
            "STAGE": "",  # the part of a longer training that this run is, such as stage1
            "TEXT_MAPS": 0,  # iterations until prompts are drawn as CLIP sees them; 0: never
            "EXPERIMENT": "",  # in MLflow; empty: <dataset>/<backbone>/<method>
        },
        "METHOD": "baseline",  # names the folder of the run
        "EXP_NAME": "",  # names the run; empty: exp<i>
        "OUTPUT_DIR": "",  # empty: logs/<dataset>/<backbone>/<method>/<EXP_NAME>
        "RESUME": "",  # a checkpoint, a run folder, or auto for the newest of the run
        "SEED": 1,
        "DETERMINISTIC": False,
    }
