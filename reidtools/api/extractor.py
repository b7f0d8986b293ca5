"""torchreid's way to features: one object, called with pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from reidtools import build
from reidtools.api.pictures import Pictures
from reidtools.api.using import embed, load
from reidtools.config import load as configs
from reidtools.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from reidtools.engine import logbook
from reidtools.modeling import Embedder, weights

LOGGER = logging.getLogger("reidtools")


class FeatureExtractor:
    """Pictures in, features (N, D) out, as ``torchreid.utils.FeatureExtractor`` is called.

    `model_path` is a file of weights: one of ours, which brings all settings, or torchreid's or
    another's of the backbone `model_name` (without one: its ImageNet weights). `image_size`
    (height, width), `pixel_mean`, `pixel_std` and `pixel_norm` count where the file brings none.
    `device` ``"auto"`` is a GPU if there is one. Raises ValueError for weights that do not fill the
    model whole.
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
        saved = weights.read(model_path) if model_path else {}
        if "config" in saved:
            self.model = load(model_path, device)
            ours = self.model.config.MODEL.BACKBONE.NAME
            if model_name and model_name != ours:
                raise ValueError(
                    f"{model_path} is a {ours}, not a {model_name}; leave model_name out."
                )
        elif not model_name:
            raise ValueError(
                f"{model_path or 'No model_path'} tells no model; say which one with model_name, "
                "such as osnet_x1_0."
            )
        else:
            mean, std = (pixel_mean, pixel_std) if pixel_norm else ((0, 0, 0), (1, 1, 1))
            self.model = _foreign(model_name, model_path, saved, image_size, mean, std, device)
        self.device = self.model.device
        if verbose:
            count = sum(parameter.numel() for parameter in self.model.parameters())
            name = self.model.config.MODEL.BACKBONE.NAME
            LOGGER.info("Model: %s, %d parameters, on %s", name, count, self.device)

    def __call__(self, pictures: Pictures | Tensor) -> Tensor:
        """The features (N, D), on the device, of files or arrays, as `embed` takes them.

        A tensor (3, H, W) or (B, 3, H, W) is taken as it is: resized and normalised already.
        """
        if not isinstance(pictures, Tensor):
            return embed(self.model, pictures).vectors.to(self.device)
        batch = pictures[None] if pictures.ndim == 3 else pictures
        with torch.inference_mode():
            return self.model(batch.to(self.device))[1]


def _foreign(
    name: str,
    path: str | Path,
    saved: dict,
    image_size: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    device: str,
) -> Embedder:
    """A backbone without a neck, as torchreid has it, with the weights in `saved` or ImageNet's."""
    pairs = {
        "MODEL.DEVICE": device,
        "MODEL.BACKBONE.NAME": name,
        "MODEL.HEADS.NAME": "Linear",
        "INPUT.SIZE_TRAIN": str(list(image_size)),
        "INPUT.PIXEL_MEAN": str([float(value) for value in mean]),
        "INPUT.PIXEL_STD": str([float(value) for value in std]),
    }
    if name.startswith("resnet") and "ibn" not in name:
        pairs["MODEL.BACKBONE.LAST_STRIDE"] = "2"  # theirs keep it
    cfg = configs.load("", [word for pair in pairs.items() for word in pair])
    on = build.device(cfg)
    model = build.embedder(cfg, pretrain=not saved)
    if saved:
        fitted = weights.fit(model, weights.state_of(saved))
        if not fitted.complete:
            raise ValueError(
                f"{path} does not fill {name} ({fitted}); name the model that it was made for."
            )
    model.config = cfg
    return model.to(on).eval()
