"""What tools and notebooks call."""

from reidtools.api.clipreid import train_clipreid, with_final
from reidtools.api.crossing import cross_domain
from reidtools.api.describing import describe
from reidtools.api.downloads import download, download_weights
from reidtools.api.exporting import export_model
from reidtools.api.extractor import FeatureExtractor
from reidtools.api.galleries import (
    add_to_gallery,
    build_gallery,
    export_gallery,
    gallery_config,
    index,
    remove_from_gallery,
)
from reidtools.api.looking import look
from reidtools.api.matlab_index import (
    evaluate_index,
    experiment_config,
    search_index,
    top_line,
)
from reidtools.api.predicting import predict, predict_labels
from reidtools.api.recipes import get_config
from reidtools.api.searching import search, search_gallery
from reidtools.api.sequences import embed_sequences
from reidtools.api.testing import calibrate, evaluate
from reidtools.api.track_files import (
    associate_tracks,
    compare_tracks,
    map_tracks,
    reduce_tracks,
)
from reidtools.api.tracks import (
    centralize_track_features,
    extract_tracks,
    extraction_config,
)
from reidtools.api.training import train
from reidtools.api.training_data import check
from reidtools.api.tuning import finetune
from reidtools.api.using import create_embeddings, embed, find_similar, infer, load
from reidtools.api.zoo_page import write_page

__all__ = [
    "FeatureExtractor",
    "add_to_gallery",
    "associate_tracks",
    "build_gallery",
    "calibrate",
    "centralize_track_features",
    "check",
    "compare_tracks",
    "create_embeddings",
    "cross_domain",
    "describe",
    "download",
    "download_weights",
    "embed",
    "embed_sequences",
    "evaluate",
    "evaluate_index",
    "experiment_config",
    "export_model",
    "export_gallery",
    "extract_tracks",
    "extraction_config",
    "find_similar",
    "finetune",
    "gallery_config",
    "get_config",
    "index",
    "infer",
    "load",
    "look",
    "map_tracks",
    "predict",
    "predict_labels",
    "reduce_tracks",
    "remove_from_gallery",
    "search",
    "search_gallery",
    "search_index",
    "top_line",
    "train",
    "train_clipreid",
    "with_final",
    "write_page",
]
