"""The Swin transformers of SOLIDER (Chen et al., 2023, arXiv:2303.17602; Swin: Liu et al., 2021,
arXiv:2103.14030), with the names of its files.

A Swin as mmdetection has it, so that pictures may be of any size: maps are padded to whole windows
before they are shifted, and every second block shifts, also where a map is one window. Between the
stages a map is scaled and moved by what has been learned of appearance and of meaning.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.fetching import fetch
from reidtools.modeling.weights import read, state_of
from reidtools.registry import BACKBONES

PATCH, WINDOW, SHIFT = 4, 7, 3
SPAN = 2 * WINDOW - 1  # distances in a window along one side
APART = -100.0  # added to products of positions that are neighbours by the shift only
# What Microsoft and timm call the parts of a block.
NAMES = (
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^norm\.", "norm3."),
    (r"^layers\.(\d+\.blocks\.\d+)\.attn\.", r"stages.\1.attn.w_msa."),
    (r"^layers\.(\d+\.blocks\.\d+)\.mlp\.fc1\.", r"stages.\1.ffn.layers.0.0."),
    (r"^layers\.(\d+\.blocks\.\d+)\.mlp\.fc2\.", r"stages.\1.ffn.layers.1."),
    (r"^layers\.(\d+\.blocks\.)", r"stages.\1"),
)
# Of SOLIDER's files: heads, norms of maps that nobody asks for, what would come after the last map.
LEFT_OUT = re.compile(r"head\.|norm[012]\.|semantic_embed_[wb]\.3\.")


def windows(x: Tensor) -> Tensor:
    """A map (B, H, W, C) of whole windows -> (B, windows, positions in one, C), row by row."""
    x = x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))  # (B, h, 7, w, 7, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def whole(x: Tensor, rows: int, columns: int) -> Tensor:
    """What `windows` was made of: (B, windows, positions, C) -> (B, rows, columns, C)."""
    grid = (rows // WINDOW, columns // WINDOW)
    x = x.unflatten(1, grid).unflatten(3, (WINDOW, WINDOW))  # (B, h, w, 7, 7, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def apart(rows: int, columns: int, device: torch.device) -> Tensor:
    """What keeps those apart who came into a window from opposite ends of a shifted map.

    0 or `APART` by window and two positions in it, (windows, positions, positions).
    """

    def end(length: int) -> Tensor:
        """0 before the last window, 1 in it, 2 for what the shift has brought from the start."""
        place = torch.arange(length, device=device)
        return (place >= length - WINDOW).long() + (place >= length - SHIFT)

    region = 3 * end(rows)[:, None] + end(columns)
    region = windows(region[None, :, :, None])[0, :, :, 0]
    return APART * (region[:, :, None] != region[:, None, :])


class WindowAttention(nn.Module):
    """Attention in windows, with a learned bias by the distance of two positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros(SPAN * SPAN, heads))
        side = torch.arange(WINDOW)
        place = (SPAN * side[:, None] + side).flatten()
        index = place[:, None] - place + SPAN * SPAN // 2  # as far before as behind
        self.register_buffer("relative_position_index", index)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, windows, positions, C), and `apart` or None, -> the same shape as x."""
        count = x.shape[1]
        qkv = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        # Heads of all windows in a row, because kernels take four axes.
        query, key, value = qkv.flatten(2, 3)  # (B, windows * heads, positions, C / heads)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = bias.expand(count, -1, -1, -1)
        if mask is not None:
            bias = bias + mask[:, None]
        bias = bias.flatten(0, 1)[None].to(query.dtype)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(x.unflatten(1, (count, self.heads)).transpose(2, 3).flatten(3))


class Block(nn.Module):
    """Attention in windows and a network of one hidden layer, each added to its input."""

    def __init__(self, width: int, heads: int, shifts: bool, drop_path: float):
        super().__init__()
        from timm.layers import DropPath

        self.shifts, self.drop_path = shifts, DropPath(drop_path)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"w_msa": WindowAttention(width, heads)})
        hidden = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU())
        self.ffn = nn.ModuleDict({"layers": nn.Sequential(hidden, nn.Linear(4 * width, width))})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, H, W, C) -> the same; only a block that shifts heeds the `mask`."""
        height, width = x.shape[1:3]
        y = F.pad(self.norm1(x), (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        rows, columns = y.shape[1:3]
        if self.shifts:
            y = y.roll((-SHIFT, -SHIFT), (1, 2))
        y = self.attn["w_msa"](windows(y), mask if self.shifts else None)
        y = whole(y, rows, columns)
        if self.shifts:
            y = y.roll((SHIFT, SHIFT), (1, 2))
        x = x + self.drop_path(y[:, :height, :width])
        return x + self.drop_path(self.ffn["layers"](self.norm2(x)))


class Merging(nn.Module):
    """Four neighbours become one of twice the width; (B, H, W, C) -> (B, H/2, W/2, 2 C)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, h, 2, w, 2, C)
        return self.reduction(self.norm(x.permute(0, 1, 3, 5, 2, 4).flatten(3)))


class Stage(nn.Module):
    """Blocks of one width, and the `downsample` that follows all but the last stage."""

    def __init__(self, width: int, heads: int, rates: list[float], merges: bool):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, place % 2 == 1, rate) for place, rate in enumerate(rates)
        )
        self.downsample = Merging(width) if merges else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        mask = apart(height + -height % WINDOW, width + -width % WINDOW, x.device)
        for block in self.blocks:
            x = block(x, mask)
        return x if self.downsample is None else self.downsample(x)


class SoliderSwin(nn.Module):
    """A Swin of SOLIDER; (B, 3, H, W) -> (B, dim, H/32, W/32), layer-normed.

    Args:
        semantic_weight: how much meaning, rather than appearance, counts between the stages: 0 … 1,
            0.2 in SOLIDER's re-identification; -1 leaves that out, for weights of a plain Swin.
            What has been learned of it in pre-training is not trained further.
        drop_path: the share of residual branches left out in training, growing with depth.
    """

    pooled = False
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    drive_id: str

    def __init__(
        self,
        *,
        semantic_weight: float = 0.2,
        drop_path: float = 0.1,
    ):
        super().__init__()
        if semantic_weight != -1 and not 0 <= semantic_weight <= 1:
            raise ValueError(
                f"SEMANTIC_WEIGHT is {semantic_weight}; set it to 0 (appearance) … 1 (meaning), or "
                "-1 for none."
            )
        self.name = type(self).__name__
        self.semantic_weight, last = semantic_weight, len(self.depths) - 1
        widths = [self.width * 2**stage for stage in range(last + 1)]
        projection, norm = nn.Conv2d(3, self.width, PATCH, PATCH), nn.LayerNorm(self.width)
        self.patch_embed = nn.ModuleDict({"projection": projection, "norm": norm})
        self.stages, total = nn.ModuleList(), max(1, sum(self.depths) - 1)
        for stage, depth in enumerate(self.depths):
            before = sum(self.depths[:stage])
            rates = [drop_path * (before + place) / total for place in range(depth)]
            self.stages.append(Stage(widths[stage], self.heads[stage], rates, stage < last))
        self.dim = widths[-1]
        self.norm3 = nn.LayerNorm(self.dim)
        if semantic_weight >= 0:
            self.semantic_embed_w = nn.ModuleList(nn.Linear(2, width) for width in widths[1:])
            self.semantic_embed_b = nn.ModuleList(nn.Linear(2, width) for width in widths[1:])
            self.semantic_embed_w.requires_grad_(False)
            self.semantic_embed_b.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        images = F.pad(images, (0, -images.shape[3] % PATCH, 0, -images.shape[2] % PATCH))
        x = self.patch_embed["projection"](images).permute(0, 2, 3, 1)
        x = self.patch_embed["norm"](x)
        for place, stage in enumerate(self.stages):
            x = stage(x)
            if self.semantic_weight >= 0 and stage.downsample is not None:
                scale = F.softplus(self._mixed(self.semantic_embed_w[place]))
                x = x * scale + self._mixed(self.semantic_embed_b[place])
        return self.norm3(x).permute(0, 3, 1, 2)

    @property
    def segments(self) -> list[nn.Module]:
        return [block for stage in self.stages for block in stage.blocks]

    def _mixed(self, layer: nn.Module) -> Tensor:
        """What `layer` makes of meaning and appearance, by their weights; (C,)."""
        meaning, appearance = layer.weight.unbind(1)
        return self.semantic_weight * meaning + (1 - self.semantic_weight) * appearance + layer.bias

    @property
    def published(self) -> Path:
        """Where SOLIDER's file lies, if it has been downloaded."""
        return Path(torch.hub.get_dir()) / "checkpoints" / f"{self.name}_luperson.pth"

    def fetch(self) -> dict[str, Tensor]:
        """SOLIDER's own weights, pre-trained on LUPerson without labels, from Google Drive.

        Those of ImageNet, with SEMANTIC_WEIGHT -1, can be given as a file of timm or Microsoft.
        """
        if not self.published.is_file():
            what, cure = f"SOLIDER's {self.name}", f"put it at {self.published}"
            fetch(self.published, what, drive_id=self.drive_id, cure=cure)
        state = state_of(read(self.published))
        state = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
        none = "semantic_embed_" if self.semantic_weight < 0 else ()
        return {
            name: tensor
            for name, tensor in state.items()
            if not LEFT_OUT.match(name) and not name.startswith(none)
        }

    @property
    def fresh(self) -> frozenset[str]:
        """Constants that timm's files lack."""
        own = self.state_dict()
        return frozenset(name for name in own if name.endswith(".relative_position_index"))

    def adapt(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        """An entry of a file of Microsoft or timm, whose mergings have four neighbours by columns.

        Microsoft numbers a merging by the stage before, timm by the one after it, so its width says
        which it is.
        """
        if match := re.match(r"layers\.\d+\.(downsample\.(?:norm|reduction)\..*)", name):
            stage = round(math.log2(max(4, tensor.shape[-1]) / (4 * self.width)))
            return f"stages.{stage}.{match[1]}", _by_channels(tensor)
        for pattern, ours in NAMES:
            name = re.sub(pattern, ours, name)
        return name, tensor

    @staticmethod
    def options_of(entries: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that the tensors of a file tell; what `recognise` asks."""
        has = "semantic_embed_w.0.weight" in entries
        if "stages.0.blocks.0.attn.w_msa.qkv.weight" not in entries:
            raise KeyError("stages.0.blocks.0.attn.w_msa.qkv.weight")
        return {} if has else {"semantic_weight": -1.0}


def _by_channels(tensor: Tensor) -> Tensor:
    """The last axis from (column, row, channel) of four neighbours to (channel, row, column)."""
    if tensor.shape[-1] % 4:
        return tensor  # of no Swin: its shape will say so
    return tensor.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3)


@BACKBONES
class solider_swin_tiny(SoliderSwin):
    """SOLIDER's Swin-T, 768-d maps; options: see `SoliderSwin`. arXiv:2303.17602"""

    width, depths, heads = 96, (2, 2, 6, 2), (3, 6, 12, 24)
    drive_id = "12UyPVFmjoMVpQLHN07tNh4liHUmyDqg8"


@BACKBONES
class solider_swin_small(SoliderSwin):
    """SOLIDER's Swin-S, 768-d maps; options: see `SoliderSwin`. arXiv:2303.17602"""

    width, depths, heads = 96, (2, 2, 18, 2), (3, 6, 12, 24)
    drive_id = "1oyEgASqDHc7YUPsQUMxuo2kBZyi2Tzfv"


@BACKBONES
class solider_swin_base(SoliderSwin):
    """SOLIDER's Swin-B, 1024-d maps; options: see `SoliderSwin`. arXiv:2303.17602"""

    width, depths, heads = 128, (2, 2, 18, 2), (4, 8, 16, 32)
    drive_id = "1uh7tO34tMf73MJfFqyFEGx42UBktTbZU"
