"""Datasets made from others, or from what their authors release: each once, before any training."""

from reidtools.data.prepare.captions import prepare_captions
from reidtools.data.prepare.files import Made
from reidtools.data.prepare.grouped import prepare_grouped
from reidtools.data.prepare.lowres import make_low_resolution
from reidtools.data.prepare.mars import prepare_mars
from reidtools.data.prepare.prw import prepare_prw
from reidtools.data.prepare.tracks import prepare_tracks

__all__ = [
    "Made",
    "make_low_resolution",
    "prepare_captions",
    "prepare_grouped",
    "prepare_mars",
    "prepare_prw",
    "prepare_tracks",
]
