"""Config nodes become texts: captions of training pictures, and the tower that reads them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
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
    `captions` need and files of CLIP-ReID lack. Without captions the table is then NaN. A new tower
    is told.
    """
    tower, found = new_tower(cfg, model), _in_file(start)
    wordless = bool(found) and TOKENS not in found
    if cfg.MODEL.BACKBONE.PRETRAIN and (not found or (wordless and captions is not None)):
        clip = weights.pretrained(model.backbone, cfg.MODEL.BACKBONE.PRETRAIN_PATH)
        found, wordless = {**of_openai(clip), **found}, False
    elif not found:
        LOGGER.warning("The text tower is new: its words mean nothing yet.")
        return tower
    if wordless and captions is None:  # then the prompts of the file bring all the words there are
        found[TOKENS] = torch.full_like(tower.token_embedding.weight, float("nan"))
    ours = tower.state_dict()
    wrong = [n for n in ours if n not in found or found[n].shape != ours[n].shape]
    if wrong := wrong + [name for name in found if name not in ours]:
        why = ", and captions need its table of tokens" if wrong == [TOKENS] else ""
        raise ValueError(
            f"The file has no text tower of the sizes in MODEL.TEXT ({weights.some(wrong)}){why}; "
            "name a file of CLIP itself (RN50.pt, ViT-B-16.pt) that goes with MODEL.BACKBONE.NAME "
            "in MODEL.BACKBONE.PRETRAIN_PATH, with MODEL.BACKBONE.PRETRAIN True."
        )
    tower.load_state_dict(found)
    return tower


def _in_file(start: Mapping[str, Any]) -> dict[str, Tensor]:
    """The text tower in a checkpoint of ours, of CLIP-ReID or of CLIP; empty if there is none."""
    if "objective" in start:
        split = {re.sub(r"^losses\.\w+\.text\.", "", k): v for k, v in start["objective"].items()}
        return {k: v for k, v in split.items() if k not in start["objective"]}
    state = weights.state_of(dict(start))
    return of_openai(state) if "text_projection" in state else of_text_tower(state)
