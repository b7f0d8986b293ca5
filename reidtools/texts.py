"""Config nodes become texts: captions of training pictures, and the tower that reads them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from reidtools.batches import own
from reidtools.data.captions import captions_of, coverage, read_captions
from reidtools.data.samples import Sample
from reidtools.modeling import Embedder, weights
from reidtools.modeling.clip_files import TOKENS, of_text_tower
from reidtools.modeling.text import TextTower, of_openai

LOGGER = logging.getLogger("reidtools")
Captions = list[list[str]]


def captioned(cfg: CfgNode, samples: list[Sample]) -> tuple[list[Sample], Captions | None]:
    """`samples` and the captions of each, None without DATASETS.CAPTIONS; how many have is told.

    With DATASETS.CAPTIONED_ONLY those with captions.
    """
    path = cfg.DATASETS.CAPTIONS
    if not path:
        if cfg.DATASETS.CAPTIONED_ONLY:
            raise ValueError(
                "DATASETS.CAPTIONED_ONLY needs captions; set DATASETS.CAPTIONS to the file that "
                "tools/prepare_captions.py writes."
            )
        return samples, None
    known = read_captions(path)
    LOGGER.info("%s: %s", path, coverage(samples, known))
    captions = captions_of(samples, known)
    if cfg.DATASETS.CAPTIONED_ONLY:
        rows = [row for row, texts in enumerate(captions) if texts]
        samples, captions = [samples[row] for row in rows], [captions[row] for row in rows]
        if len({sample.pid for sample in samples}) < 2:
            raise ValueError(
                f"{path} describes fewer than two people of the training set; name the captions "
                "of this dataset, or leave out DATASETS.CAPTIONED_ONLY."
            )
    return samples, captions


def new_tower(cfg: CfgNode, model: Embedder) -> TextTower:
    """A text tower for `model` with random weights."""
    return TextTower(model.heads.widths["joint"][0], **own(cfg.MODEL.TEXT, maker=TextTower))


def text_tower(
    cfg: CfgNode, model: Embedder, start: Mapping[str, Any], captions: Captions | None
) -> TextTower:
    """The text tower for `model`: of the content of a file, `start`, else CLIP's own, else new.

    CLIP's own is that of MODEL.BACKBONE.PRETRAIN; it also fills in the table of tokens, which
    `captions` need and files of CLIP-ReID lack. A new one is told.
    """
    tower, found = new_tower(cfg, model), _in_file(start)
    lacks = not found or (captions is not None and TOKENS not in found)
    if cfg.MODEL.BACKBONE.PRETRAIN and lacks:
        clip = weights.pretrained(model.backbone, cfg.MODEL.BACKBONE.PRETRAIN_PATH)
        found = {**of_openai(clip), **found}
    if not found:
        LOGGER.warning("The text tower is new: its words mean nothing yet.")
        return tower
    ours = tower.state_dict()
    wrong = [n for n in ours if n not in found or found[n].shape != ours[n].shape]
    if wrong and not (wrong == [TOKENS] and captions is None):
        raise ValueError(
            f"The file has no text tower of the sizes in MODEL.TEXT ({weights.some(wrong)}); name "
            "a file of CLIP itself (RN50.pt, ViT-B-16.pt) that goes with MODEL.BACKBONE.NAME, in "
            "MODEL.BACKBONE.PRETRAIN_PATH."
        )
    tower.load_state_dict({name: found[name] for name in ours if name not in wrong}, strict=False)
    return tower


def _in_file(start: Mapping[str, Any]) -> dict[str, Tensor]:
    """The text tower in a checkpoint of ours, of CLIP-ReID or of CLIP; empty if there is none."""
    if "objective" in start:
        split = {re.sub(r"^losses\.\w+\.text\.", "", k): v for k, v in start["objective"].items()}
        return {k: v for k, v in split.items() if k not in start["objective"]}
    state = weights.state_of(dict(start))
    if "text_projection" in state:
        return of_openai(state)
    return of_text_tower(state)
