"""reidtools: person re-identification, from pictures to ranked galleries.

>>> import reidtools as rt                                            # doctest: +SKIP
>>> demo = rt.get_config("configs/demo.yml")        # doctest: +SKIP
>>> rt.train(demo).figures["toy"]["mAP"]            # doctest: +SKIP

Names are looked up when they are used, so that importing this package costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"
_HOMES = {
    "api": (
        *("calibrate", "check", "create_embeddings", "embed", "embed_sequences", "evaluate"),
        *("cross_domain", "download"),
        *("describe", "download_weights", "write_page"),
        *("find_similar", "finetune", "get_config", "infer", "load", "look", "train"),
        *("train_clipreid", "with_final"),
        *("predict", "predict_labels"),
        *("centralize_track_features", "export_model", "extract_tracks"),
        "extraction_config",
        *("associate_tracks", "compare_tracks", "map_tracks", "reduce_tracks"),
        *("FeatureExtractor", "add_to_gallery", "build_gallery", "evaluate_index"),
        *("experiment_config", "export_gallery", "gallery_config", "index"),
        *("remove_from_gallery", "search", "search_gallery", "search_index", "top_line"),
    ),
    "evaluation": (
        *("Ranking", "Report", "Vectors", "centralize", "expand", "rank", "rank_centroids"),
        *("rerank", "verify"),
    ),
    "evaluation.density": ("density",),
    "data.prepare": (
        *("make_low_resolution", "prepare_captions", "prepare_mars", "prepare_prw"),
        "prepare_tracks",
    ),
    "data.samples": ("Sample", "Splits"),
    "retrieval": ("Gallery",),
    "registry": ("BACKBONES", "DATASETS", "HEADS", "LOSSES", "SAMPLERS"),
}
ROOMS = ("tracks",)  # whose names say enough with the room before them
__all__ = sorted([*(name for names in _HOMES.values() for name in names), *ROOMS])


def __getattr__(name: str):
    if name in ROOMS:
        return import_module(f"reidtools.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"reidtools.{home}"), name)
    raise AttributeError(f"reidtools has no '{name}'; it has {', '.join(__all__)}.")
