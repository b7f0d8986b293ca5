"""torchreid's way to features: one object, called with pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidtools import build
from reidtools.api.pictures import Pictures
from reidtools.api.recipes import brought, slot
from reidtools.api.using import at_work, embed
from reidtools.config import load as configs
from reidtools.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from reidtools.engine import logbook
from reidtools.modeling.onnx_network import is_onnx
from reidtools.modeling.recognise import customs

LOGGER = logging.getLogger("reidtools")


class FeatureExtractor:
    """Pictures in, features (N, D) out, as ``torchreid.utils.FeatureExtractor`` is called.

    `model_path` is a file of weights: one of ours, which brings all settings, or torchreid's or
    another's, whose network is read from its tensors, or an ONNX file. Without one it is the
    backbone `model_name` with its ImageNet weights; with one, `model_name` is what the file has to
    be of (of an ONNX file nobody can tell, so it counts for nothing). `image_size`
    (height, width), `pixel_mean`, `pixel_std` and `pixel_norm` count where the file brings none.
    `device` ``"auto"`` is a GPU if there is one. Raises ValueError for weights that are of another
    network, or of none here.
    """

    def __init__(
        self,
        model_name: str = "",
        model_path: str | Path = "",
        image_size: Sequence[int] = (256, 128),
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
        pixel_norm: bool = True,
        device: str = "auto",
        verbose: bool = True,
    ):
        logbook.set_up_logging()
        words = {"MODEL.DEVICE": device, "MODEL.WEIGHTS": str(model_path)}
        base = _base(model_name, model_path)
        mean, std = (pixel_mean, pixel_std) if pixel_norm else ((0, 0, 0), (1, 1, 1))
        given = {"SIZE_TRAIN": image_size, "PIXEL_MEAN": mean, "PIXEL_STD": std}
        for key, value in given.items():
            if key not in base.get("INPUT", {}):  # the file, if any, does not bring its own
                words[f"INPUT.{key}"] = str(list(value))
        cfg = configs.load("", [word for pair in words.items() for word in pair], base=base)
        self.model = at_work(cfg)
        self.device = self.model.device
        if verbose:
            count = sum(parameter.numel() for parameter in self.model.parameters())
            name = f"{cfg.MODEL.BACKBONE.NAME}, {count} parameters,"
            name = Path(model_path).name if is_onnx(model_path) else name
            LOGGER.info("Model: %s on %s", name, self.device)

    def __call__(self, pictures: Pictures | Tensor) -> Tensor:
        """The features (N, D), on the device, of files or arrays, as `embed` takes them.

        A tensor (3, H, W) or (B, 3, H, W) is taken as it is: resized and normalised already.
        """
        if not isinstance(pictures, Tensor):
            return embed(self.model, pictures).vectors.to(self.device)
        batch = pictures[None] if pictures.ndim == 3 else pictures
        model = build.at_speed(self.model.config, self.model, len(batch))
        with torch.inference_mode():
            return model(batch.to(self.device))[1]


def _base(name: str, path: str | Path) -> dict[str, Any]:
    """What the file at `path` says of its config; without one, the backbone `name` of ImageNet.

    That has no neck and the stride of its last layer, as torchreid has it.
    """
    if not path and not name:
        raise ValueError("There is no model: give a file with model_path, or a model_name.")
    if not path:
        backbone = slot(name, customs("torchvision", name))
        return {"MODEL": {"BACKBONE": backbone, "HEADS": {"NAME": "Linear"}}}
    base = brought(path)
    if is_onnx(path):
        return base
    theirs = base["MODEL"]["BACKBONE"]["NAME"]
    if name not in ("", theirs):
        raise ValueError(f"{path} is a {theirs}, not a {name}; leave model_name out.")
    return base
