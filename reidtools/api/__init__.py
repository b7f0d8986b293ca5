"""What tools and notebooks call."""

from reidtools.api.recipes import get_config
from reidtools.api.testing import calibrate, evaluate
from reidtools.api.training import check, train
from reidtools.api.tuning import finetune
from reidtools.api.using import create_embeddings, embed, find_similar, infer, load

__all__ = [
    "calibrate",
    "check",
    "create_embeddings",
    "embed",
    "evaluate",
    "find_similar",
    "finetune",
    "get_config",
    "infer",
    "load",
    "train",
]
