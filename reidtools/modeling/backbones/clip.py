"""The image towers of CLIP as CLIP-ReID has them (Radford et al., 2021, arXiv:2103.00020; Li et
al., 2023, arXiv:2211.13977), with the names of their files.

Both give three features of a picture side by side, of the widths in `parts`: one of the last layer
but one, one of the last, and that which CLIP compares with texts.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.modeling.backbones.timm_models import grid_of
from reidtools.modeling.transformer import Transformer, heads_of, resize_positions
from reidtools.modeling.weights import CLIP_FILES, read, state_of
from reidtools.ops.recompute import outermost
from reidtools.registry import BACKBONES

CACHE = Path("~/.cache/clip")  # where OpenAI's package keeps them, too
OPENAI = "https://openaipublic.azureedge.net/clip/models"


class ClipTower(nn.Module):
    """What both image towers share: three features, their published file, the position table."""

    pooled, by_camera = True, False
    fresh: frozenset[str] = frozenset()  # what no published file of CLIP has

    def __init__(self, file: str, parts: tuple[int, int, int], grid: tuple[int, int]):
        super().__init__()
        self.file, self.name, self.grid = file, f"CLIP's {file.removesuffix('.pt')}", grid
        self.parts, self.dim = parts, sum(parts)

    @property
    def published(self) -> Path:
        """Where the published file lies, if it has been downloaded."""
        return CACHE.expanduser() / self.file

    def fetch(self) -> dict[str, Tensor]:
        """OpenAI's file, both towers, downloaded unless it lies in ~/.cache/clip."""
        if not self.published.is_file():
            self.published.parent.mkdir(parents=True, exist_ok=True)
            sha = CLIP_FILES[self.file]
            url = f"{OPENAI}/{sha}/{self.file}"
            torch.hub.download_url_to_file(url, str(self.published), hash_prefix=sha)
        return state_of(read(self.published))

    def adapt(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        """An entry of a file, the position table resized to this tower's grid."""
        if not name.endswith("positional_embedding") or tensor.ndim != 2:
            return name, tensor
        count = len(tensor) - 1
        old = grid_of(count)
        if count == self.grid[0] * self.grid[1] or old is None:
            return name, tensor
        return name, resize_positions(tensor, old, self.grid)


class Bottleneck(nn.Module):
    """A bottleneck whose strides are average pools, so that no position is left out."""

    def __init__(self, inside: int, planes: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        nn.init.zeros_(self.bn3.weight)  # from scratch a block begins as its shortcut
        self.downsample = None
        if stride > 1 or inside != 4 * planes:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            steps = {"-1": pool, "0": nn.Conv2d(inside, 4 * planes, 1, bias=False)}
            self.downsample = nn.Sequential(OrderedDict({**steps, "1": nn.BatchNorm2d(4 * planes)}))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.avgpool(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class AttentionPool(nn.Module):
    """The mean of a map asks all its positions: (B, C, h, w) -> (B, dim)."""

    def __init__(self, grid: tuple[int, int], width: int, dim: int):
        super().__init__()
        self.heads = heads_of(width)
        positions = torch.randn(1 + grid[0] * grid[1], width)
        self.positional_embedding = nn.Parameter(positions * width**-0.5)
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, dim)
        for layer in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).mT  # (B, N, C)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding.to(x.dtype)

        def by_head(y: Tensor) -> Tensor:  # (B, heads, N, C / heads)
            return y.unflatten(2, (self.heads, -1)).transpose(1, 2)

        query, key = by_head(self.q_proj(x[:, :1])), by_head(self.k_proj(x))
        pooled = F.scaled_dot_product_attention(query, key, by_head(self.v_proj(x)))
        return self.c_proj(pooled.flatten(1))


class ClipResNet(ClipTower):
    """CLIP's ResNet with stride 1 in its last layer; see `clip_rn50`."""

    def __init__(
        self,
        image_size: tuple[int, int],
        width: int,
        layers: Sequence[int],
        joint_dim: int,
    ):
        if len(layers) != 4:
            raise ValueError(f"LAYERS is {list(layers)}; a ResNet has four, such as [3, 4, 6, 3].")
        if image_size[0] % 16 or image_size[1] % 16:
            raise ValueError(
                f"clip_rn50 makes maps of a sixteenth of the size, which {image_size} is not made "
                "of; set INPUT.SIZE_TRAIN to multiples of 16, such as [256, 128]."
            )
        grid = image_size[0] // 16, image_size[1] // 16
        super().__init__("RN50.pt", (16 * width, 32 * width, joint_dim), grid)
        half = width // 2
        self.conv1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        inside = width
        for place, (blocks, stride) in enumerate(zip(layers, (1, 2, 2, 1), strict=True)):
            planes = width * 2**place
            row = [Bottleneck(inside, planes, stride)]
            row += [Bottleneck(4 * planes, planes, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{place + 1}", nn.Sequential(*row))
            inside = 4 * planes
        self.attnpool = AttentionPool(grid, 32 * width, joint_dim)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        third = self.layer3(self.layer2(self.layer1(x)))
        fourth = self.layer4(third)
        means = [x.mean((2, 3)) for x in (third, fourth)]
        return torch.cat([*means, self.attnpool(fourth)], 1)

    @property
    def segments(self) -> list[nn.Module]:
        return outermost(self, Bottleneck)


class ClipViT(ClipTower):
    """CLIP's vision transformer; see `clip_vit_b16`."""

    fresh = frozenset({"cv_embed"})

    def __init__(
        self,
        image_size: tuple[int, int],
        patch: int,
        stride: tuple[int, int],
        width: int,
        layers: int,
        joint_dim: int,
        cameras: int,
        sie_coe: float,
    ):
        (height, along), size = stride, image_size
        if min(stride) < 1 or min(size) < patch:
            raise ValueError(
                f"Patches of {patch} pixels every {list(stride)} do not fit pictures of {size}; "
                "change STRIDE_SIZE or INPUT.SIZE_TRAIN."
            )
        grid = (size[0] - patch) // height + 1, (size[1] - patch) // along + 1
        super().__init__("ViT-B-16.pt", (width, width, joint_dim), grid)
        self.by_camera, self.sie_coe = cameras > 0, sie_coe
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch, stride, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        table = scale * torch.randn(1 + grid[0] * grid[1], width)
        self.positional_embedding = nn.Parameter(table)
        if cameras:
            self.cv_embed = nn.Parameter(torch.zeros(cameras, width))
            nn.init.trunc_normal_(self.cv_embed, std=0.02)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers)
        self.proj = nn.Parameter(scale * torch.randn(width, joint_dim))

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Tensor:
        """A camera that is not known (-1, or a number too high), or no `camids`, adds nothing."""
        x = self.conv1(images).flatten(2).mT  # (B, h * w, width)
        # x.shape, since len(x) would be a constant in a file that it is exported to.
        token = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        if self.by_camera and camids is not None:
            token = token + self._of_cameras(camids).to(x.dtype)[:, None]
        x = torch.cat([token, x], 1) + self.positional_embedding.to(x.dtype)
        before, x = self.transformer(self.ln_pre(x))
        last = self.ln_post(x[:, 0])
        return torch.cat([before[:, 0], last, last @ self.proj], 1)

    @property
    def segments(self) -> list[nn.Module]:
        return list(self.transformer.resblocks)

    def _of_cameras(self, camids: Tensor) -> Tensor:
        last = len(self.cv_embed) - 1
        known = (camids.ge(0) & camids.le(last)).to(self.cv_embed.dtype)[:, None]
        return self.sie_coe * known * self.cv_embed[camids.clamp(0, last)]


@BACKBONES
def clip_rn50(
    image_size: tuple[int, int],
    *,
    width: int = 64,
    layers: Sequence[int] = (3, 4, 6, 3),
    joint_dim: int = 1024,
) -> ClipResNet:
    """CLIP's ResNet-50 with last stride 1: features of 1024, 2048 and 1024 values side by side.

    The first two are means of the maps of layers 3 and 4, the third is the attention pool's, which
    CLIP compares with texts. `width`, `layers` and `joint_dim` (of the third) are as published;
    smaller ones make a small CLIP to train from scratch. arXiv:2103.00020, arXiv:2211.13977
    """
    return ClipResNet(image_size, width, layers, joint_dim)


@BACKBONES
def clip_vit_b16(
    image_size: tuple[int, int],
    *,
    patch: int = 16,
    stride_size: Sequence[int] = (16, 16),
    width: int = 768,
    layers: int = 12,
    joint_dim: int = 512,
    sie_camera: bool = False,
    sie_coe: float = 3.0,
    cameras: int = 0,
) -> ClipViT:
    """CLIP's ViT-B/16: features of 768, 768 and 512 values of the class token side by side.

    The first is that before the last block, the second after it and a layer norm, the third its
    projection, which CLIP compares with texts. `stride_size` below `patch` makes patches overlap
    (OLP: [12, 12]). With `sie_camera` the class token gets `sie_coe` times an embedding of the
    camera (side information, arXiv:2102.04378); `cameras` is how many there are, and 0 takes those
    of the training set. Other options as for `clip_rn50`. arXiv:2103.00020, arXiv:2211.13977
    """
    if len(stride_size) != 2:
        raise ValueError(f"STRIDE_SIZE is {list(stride_size)}; give two, down and right.")
    if sie_camera and cameras < 1:
        raise ValueError(
            "SIE_CAMERA needs the number of cameras, which training takes from its data; set "
            "MODEL.BACKBONE.CAMERAS."
        )
    stride = (stride_size[0], stride_size[1])
    seen = cameras if sie_camera else 0
    sizes = (patch, stride, width, layers, joint_dim)
    return ClipViT(image_size, *sizes, seen, sie_coe)


def _options_of_rn50(entries: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of `clip_rn50` that tensors tell."""
    width = len(entries["conv3.weight"])
    layers = [_count(entries, f"layer{i}.") for i in (1, 2, 3, 4)]
    dim = len(entries["attnpool.c_proj.weight"])
    return {"width": width, "layers": tuple(layers), "joint_dim": dim}


def _options_of_vit(entries: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of `clip_vit_b16` that tensors tell."""
    width, _, patch, _ = entries["conv1.weight"].shape
    told: dict[str, Any] = {"width": width, "patch": patch}
    told |= {"layers": _count(entries, "transformer.resblocks.")}
    told |= {"joint_dim": entries["proj"].shape[1]}
    if len(entries["positional_embedding"]) == 1 + 21 * 10:  # of 256 x 128
        told["stride_size"] = (12, 12)
    if "cv_embed" in entries:
        told |= {"sie_camera": True, "cameras": len(entries["cv_embed"])}
    return told


def _count(entries: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {key.removeprefix(prefix).split(".")[0] for key in entries if key.startswith(prefix)}
    return len(numbers)


# What `recognise` asks: the options that the tensors of a file tell, by their names in the tower.
clip_rn50.options_of = _options_of_rn50
clip_vit_b16.options_of = _options_of_vit
