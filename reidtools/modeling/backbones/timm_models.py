"""Any model of timm (https://github.com/huggingface/pytorch-image-models) as a backbone."""

from difflib import get_close_matches
from itertools import takewhile

import torch
from torch import Tensor, nn

from reidtools.registry import BACKBONES

IN_A_ROW, LISTS = (nn.Sequential, nn.ModuleList), (nn.ModuleList, nn.ModuleDict)


class TimmBackbone(nn.Module):
    """The timm model called `timm_name`, without classifier, for pictures of `image_size` (H, W).

    A convolutional or windowed model gives its last map (B, dim, h, w); a model of tokens gives
    the vector (B, dim) that its own classifier would see. `settings` go to timm's maker.
    """

    def __init__(self, timm_name: str, image_size: tuple[int, int], settings: dict):
        super().__init__()
        import timm

        if not timm.is_model(timm_name):
            near = get_close_matches(timm_name, timm.list_models(), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise LookupError(
                f"timm {timm.__version__} has no model '{timm_name}'.{hint} "
                "timm.list_models('*part*') lists all whose name has a part."
            )
        if timm.get_pretrained_cfg(timm_name).fixed_input_size:
            settings = settings | {"img_size": tuple(image_size)}
        self.timm_name, self.settings = timm_name, settings
        self.model = timm.create_model(timm_name, num_classes=0, **settings)
        self.channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        self.dim, self.pooled = self._probe(image_size)

    @torch.no_grad()
    def _probe(self, image_size: tuple[int, int]) -> tuple[int, bool]:
        """`dim` and `pooled`, from one black picture: only its output tells the kind of model."""
        device = next(self.parameters()).device
        self.eval()
        try:
            self.pooled = False
            self.pooled = self(torch.zeros(1, 3, *image_size, device=device)).ndim != 4
            output = self(torch.zeros(1, 3, *image_size, device=device))
        except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
            raise ValueError(
                f"timm's {self.timm_name} makes no map and no vector of pictures of "
                f"{image_size[0]} x {image_size[1]} ({error}); change TIMM_NAME or the size."
            ) from error
        self.train()
        return output.shape[1], self.pooled

    def forward(self, images: Tensor) -> Tensor:
        x = self.model.forward_features(images)
        if self.pooled:
            return self.model.forward_head(x, pre_logits=True)
        return x.permute(0, 3, 1, 2) if self.channels_last else x

    @property
    def segments(self) -> list[nn.Module]:
        """What timm holds for layers, and what stands in a row with one of them."""
        from timm.models import group_parameters

        found: dict[nn.Module, None] = {}  # in their order
        for names in group_parameters(self.model, self.model.group_matcher(coarse=False)).values():
            steps = zip(*(name.split(".")[:-1] for name in names), strict=False)
            above = [step[0] for step in takewhile(lambda step: len({*step}) == 1, steps)]
            layer = self.model.get_submodule(".".join(above))
            row = self.model.get_submodule(".".join(above[:-1]))
            found |= dict.fromkeys([layer, *(row if isinstance(row, IN_A_ROW) else ())])
        compound = [part for part in found if [*part.children()] and not isinstance(part, LISTS)]
        return [part for part in compound if not found.keys() & set([*part.modules()][1:])]

    def fetch(self) -> dict[str, Tensor]:
        """timm's default pretrained weights of this model, fitted by timm to the picture size."""
        import timm

        settings = self.settings | {"num_classes": 0, "pretrained": True}
        return timm.create_model(self.timm_name, **settings).state_dict()

    def adapt(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        """An entry of a timm file, its position table resampled to this model's grid of patches."""
        name = f"model.{name.removeprefix('model.')}"
        if name == "model.pos_embed":
            return name, self._resample(tensor)
        return name, tensor

    def _resample(self, table: Tensor) -> Tensor:
        own = getattr(self.model, "pos_embed", None)
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        if own is None or grid is None or table.ndim != 3 or table.shape == own.shape:
            return table
        from timm.layers import resample_abs_pos_embed

        extra = own.shape[1] - grid[0] * grid[1]  # class token and the like
        old = grid_of(table.shape[1] - extra)
        if old is None:
            return table
        return resample_abs_pos_embed(table, list(grid), list(old), num_prefix_tokens=extra)


def grid_of(patches: int) -> tuple[int, int] | None:
    """The grid (h, w) of a position table that does not say it: square, or 2 or 3 times as high.

    No number of patches fits two of the three shapes, and one that fits none gives None.

    >>> grid_of(14 * 14), grid_of(16 * 8), grid_of(24 * 8), grid_of(7)
    ((14, 14), (16, 8), (24, 8), None)
    """
    for ratio in (1, 2, 3):
        width = round((patches / ratio) ** 0.5)
        if width > 0 and ratio * width * width == patches:
            return ratio * width, width
    return None


@BACKBONES
def timm(
    image_size: tuple[int, int], *, timm_name: str = "resnet50", drop_path: float = 0.0
) -> TimmBackbone:
    """The timm model called `timm_name`; see `TimmBackbone`.

    `drop_path` is the share of residual branches left out in training (arXiv:1603.09382).
    https://github.com/huggingface/pytorch-image-models
    """
    if drop_path == 0:
        return TimmBackbone(timm_name, image_size, {})
    try:
        return TimmBackbone(timm_name, image_size, {"drop_path_rate": drop_path})
    except TypeError as error:
        raise ValueError(
            f"timm's {timm_name} has no residual branches to drop; set DROP_PATH to 0."
        ) from error
