"""The keys of other toolboxes: data for `compat`.

FastReID (old and new), SNU_ReID and centroids-reid; of CLIP-ReID and TransReID those that need a
table only, the others are in `clip_document`.
"""

from typing import Any

# Their key -> our key; the value carries over.
RENAMED = {
    # FastReID
    "DATALOADER.NUM_INSTANCE": "DATALOADER.SAMPLER.NUM_INSTANCE",
    "DATALOADER.SET_WEIGHT": "DATALOADER.SAMPLER.SET_WEIGHT",
    "SOLVER.MAX_ITER": "SOLVER.MAX_EPOCH",
    "CUDNN_DETERMINISTIC": "DETERMINISTIC",
    "TEST.AQE.QE_K": "TEST.AQE.K",
    "TEST.AQE.QE_TIME": "TEST.AQE.TIMES",
    "TEST.RE_RANKING": "TEST.RERANK.ENABLED",
    "TEST.ROC_EVAL": "TEST.ROC.ENABLED",
    # SNU_ReID, centroids-reid
    "DATASETS.ROOT_DIR": "DATASETS.ROOT",
    "INPUT.PROB": "INPUT.FLIP_PROB",
    "INPUT.RE_PROB": "INPUT.REA_PROB",
    "MODEL.KEEP_CAMID_CENTROIDS": "TEST.CENTROIDS.KEEP_CAMIDS",
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
    # CLIP-ReID, TransReID
    "SOLVER.SEED": "SEED",
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
            "Identity": "avg",  # of a ViT, which pools by itself
            "AdaptiveAvgMaxPool": "avg_max",
            "avgmaxpool": "avg_max",
            "GeneralizedMeanPooling": "gem_fixed",
            "gempool": "gem_fixed",
            "GeneralizedMeanPoolingP": "gem",
            "gempoolP": "gem",
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
            "TrainingSampler": "RandomSampler",  # others are called as here
        },
    ),
    "DATALOADER.SAMPLER.NAME": (
        "DATALOADER.SAMPLER.NAME",
        {
            "random_identity": "RandomIdentitySampler",
            "softmax_triplet": "RandomIdentitySampler",
            "triplet": "RandomIdentitySampler",
            "softmax": "RandomSampler",
        },
    ),
    "SOLVER.LR_SCHEDULER_NAME": (
        "SOLVER.SCHED",
        {"multistep_lr": "MultiStepLR", "cosine_annealing": "CosineAnnealingLR"},
    ),
    "SOLVER.SCHED": ("SOLVER.SCHED", {"WarmupMultiStepLR": "MultiStepLR"}),
    "MODEL.LOSSES.CrossEntropyLoss.CLS_LAYER": (
        "MODEL.LOSSES.CrossEntropyLoss.CLS_LAYER",
        {
            "linear": "Linear",
            "arcSoftmax": "ArcSoftmax",
            "cosSoftmax": "CosSoftmax",
            "amSoftmax": "CosSoftmax",
            "circleSoftmax": "CircleSoftmax",
        },
    ),
    # A constant there is 0 after normalisation, which is the mean colour.
    "INPUT.RE_MODE": ("INPUT.REA_MODE", {"const": "mean"}),
}

# Keys that change nothing, with the reason.
WITHOUT_EFFECT = {
    "MODEL.META_ARCHITECTURE": "a model here is always backbone + head",
    "MODEL.BACKBONE.FEAT_DIM": "the size is the backbone's own",
    "MODEL.BACKBONE.NORM": "batch norm is what the backbones have",
    "MODEL.BACKBONE.ATT_DROP_RATE": "it belongs to its own ViT",
    "MODEL.BACKBONE.DROP_PATH_RATIO": "set MODEL.BACKBONE.DROP_PATH of a ViT",
    "MODEL.BACKBONE.DROP_RATIO": "set MODEL.BACKBONE.DROPOUT of a ViT",
    "MODEL.QUEUE_SIZE": "it belongs to MoCo",
    "MODEL.BACKBONE_EMB_SIZE": "the size is the backbone's own",
    "MODEL.HEADS.IN_FEAT": "the size is the backbone's own",
    "MODEL.HEADS.NORM": "batch norm is what the neck has",
    "MODEL.HEADS.NUM_CLASSES": "people are counted from the data",
    "MODEL.NECK": "choose MODEL.HEADS.NAME",
    "DATASETS.JSON_TRAIN_PATH": "it was never read there",
    "DATALOADER.DROP_LAST": "batches are always full",
    "DATALOADER.USE_RESAMPLING": "people with few pictures are always drawn with repeats",
    "INPUT.REA.VALUE": "the erased part takes the mean colour INPUT.PIXEL_MEAN",
    "INPUT.REA.MEAN": "the erased part takes the mean colour INPUT.PIXEL_MEAN",
    "SOLVER.CLUSTER_MARGIN": "it was never read there",
    "SOLVER.MONITOR_METRIC_MODE": "the best checkpoint has the highest mAP",
    "SOLVER.MONITOR_METRIC_NAME": "the best checkpoint has the highest mAP",
    "SOLVER.USE_WARMUP_LR": "SOLVER.WARMUP_EPOCHS 0 means no warm-up",
    "TEST.FEAT_NORM": "TEST.METRIC cosine compares directions only",
    "TEST.ONLY_TEST": "use tools/test.py or --eval-only",
    "CUDNN_BENCHMARK": "cuDNN picks its kernels itself unless DETERMINISTIC is set",
    "LOG_DIR": "runs go to OUTPUT_DIR, or to logs/ when that is empty",
    "GPU_IDS": "choose the GPU with MODEL.DEVICE cuda:0",
    "DIST_BACKEND": "training runs in one process",
    "REPRODUCIBLE": "every run is seeded by SEED",
    "USE_AUTOMATIC_OPTIM": "there is one training loop",
    "MODEL.DEVICE_ID": "choose the GPU with MODEL.DEVICE cuda:0",
    "MODEL.DIST_TRAIN": "training runs in one process",
    "MODEL.FEAT_DIM_CENTER": "the size is the backbone's own",
    "MODEL.IF_WITH_CENTER": "MODEL.METRIC_LOSS_TYPE triplet_center asks for the centre loss",
    "TEST.DIST_MAT": "distances are not written to a file",
    "TEST.EVAL": "it was never read there",
    "DEBUG": "it was never read there",
}

# Switches for things we do not have: fine while they are off, refused when they are on.
ABSENT = {
    "SOLVER.LARGE_FC_LR": "a doubled rate for classifiers (SOLVER.HEADS_LR_FACTOR 2 is near)",
    "TEST.PRECISE_BN.ENABLED": "precise batch-norm statistics",
    "KD.EMA.ENABLED": "a teacher of averaged weights (SOLVER.EMA averages those of the student)",
}

# Switches of INPUT, their default of PROB where the file is silent, their options -> ours.
PICTURES: dict[str, tuple[str, float, dict[str, str]]] = {
    "FLIP": ("FLIP_PROB", 0.5, {}),
    "PADDING": ("PADDING", 10, {}),
    "REA": ("REA_PROB", 0.5, {}),
    "CROP": ("CROP_PROB", 1.0, {"SCALE": "CROP_SCALE", "RATIO": "CROP_RATIO"}),
    "CJ": (
        "CJ_PROB",
        0.5,
        {name: f"CJ_{name}" for name in ("BRIGHTNESS", "CONTRAST", "SATURATION", "HUE")},
    ),
    "AFFINE": ("AFFINE_PROB", 1.0, {}),
    "AUTOAUG": ("AUTOAUG_PROB", 0.0, {}),
    "AUGMIX": ("AUGMIX_PROB", 0.0, {}),
    "RPT": ("RPT_PROB", 0.5, {}),
}

# The losses of FastReID: its node -> the name in LOSSES.NAME, which is ours but for Cosface.
LOSS_NODES = {
    "CE": "CrossEntropyLoss",
    "TRI": "TripletLoss",
    "CIRCLE": "CircleLoss",
    "COSFACE": "CosFaceLoss",
    "FL": "FocalLoss",
}
LOSS_NAMES = {"Cosface": "CosFaceLoss", "CosFace": "CosFaceLoss"}

# Keys by which a tree of SNU_ReID or centroids-reid is known: batches count people there.
COUNTS_PEOPLE = ("MODEL.BACKBONE_EMB_SIZE", "MODEL.KEEP_CAMID_CENTROIDS")

# What FastReID does where its file says nothing, and we would do something else.
FASTREID_DEFAULTS = {
    "DATALOADER.SAMPLER_TRAIN": "TrainingSampler",
    "INPUT.FLIP.ENABLED": False,
    "INPUT.PADDING.ENABLED": False,
    "INPUT.REA.ENABLED": False,
    "INPUT.REA_AREA": [0.02, 0.33],
    "INPUT.REA_RATIO": [0.3, 3.3],
    "INPUT.INTERPOLATION": "bicubic",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.HEADS.NAME": "EmbeddingHead",
    "MODEL.HEADS.WITH_BNNECK": False,
    "MODEL.LOSSES.NAME": ["CrossEntropyLoss"],
    "MODEL.LOSSES.CE.EPSILON": 0.0,
    "MODEL.LOSSES.TRI.HARD_MINING": False,
    "SOLVER.BASE_LR": 3e-4,
    "SOLVER.STEPS": [30, 55],
    "SOLVER.STEPS_FROM": "warmup",  # milestones are counted from the end of warm-up
    "SOLVER.WARMUP_FACTOR": 0.1,
    "SOLVER.WARMUP_ITERS": 1000,
    "SOLVER.WEIGHT_DECAY_BIAS": 5e-4,  # neither follows WEIGHT_DECAY
    "SOLVER.WEIGHT_DECAY_NORM": 5e-4,
    "TEST.RERANK.VARIANT": "fastreid",
}

# Words of FastReID before 1.0. A file with one of them that names no build_…_backbone ran on no
# FastReID, so it has no defaults of theirs to keep but one: nothing is downloaded unasked.
OLD_FASTREID = {
    "MODEL.HEADS.NAME": ("BNneckHead", "ReductionHead"),
    "MODEL.HEADS.POOL_LAYER": ("avgpool", "maxpool", "gempool", "gempoolP", "avgmaxpool"),
}
OLD_FASTREID_DEFAULTS = {
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.LOSSES.CrossEntropyLoss.WEIGHT": 1.0,
    "MODEL.LOSSES.TripletLoss.WEIGHT": 1.0,
}

# Exactly as their files write them; our own names are found in any case.
DATASET_NAMES = {"DukeMTMC": "dukemtmcreid", "dukemtmc": "dukemtmcreid", "MOT17": "mot17_reid"}

# Starts of further keys of theirs, which `compat` handles one by one.
STARTS = (
    *(f"INPUT.{switch}." for switch in PICTURES),
    "KD.",
    "MODEL.BACKBONE.DEPTH",
    "MODEL.BACKBONE.WITH_IBN",
    "MODEL.HEADS.CLS_LAYER",
    "MODEL.HEADS.MARGIN",
    "MODEL.HEADS.SCALE",
    "MODEL.HEADS.WITH_BNNECK",
    *(f"MODEL.LOSSES.{node}." for node in LOSS_NODES),
    "MODEL.LOSSES.NAME",
    "MODEL.PIXEL_",
    "MODEL.RESUME_TRAINING",
    "MODEL.USE_CENTROIDS",
    "FINETUNE_OCT",
    "SOLVER.CENTROID_CONTRASTIVE_WEIGHT",
    "SOLVER.EVAL_PERIOD",
    "TEST.FLIP.",
    "TEST.FLIP_ENABLED",
)
