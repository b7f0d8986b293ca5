"""TransReID's vision transformers (He et al., 2021, arXiv:2102.04378), with the names of its files.

They are ViTs whose patches may overlap, that may be told of the camera (side information embedding,
SIE), and may give local features beside the global one (jigsaw patch module, JPM).
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reidtools.modeling.backbones.timm_models import grid_of
from reidtools.modeling.transformer import resize_positions
from reidtools.modeling.weights import state_of
from reidtools.registry import BACKBONES

PATCH = 16
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download"
DEIT = "https://dl.fbaipublicfiles.com/deit"


class Shape(NamedTuple):
    """What makes a ViT; `scale` is that of attention, where it is not that of a head's width."""

    width: int
    depth: int
    heads: int
    mlp_ratio: float
    qkv_bias: bool
    scale: float | None = None


def grid_at(size: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    """How many patches lie below and beside each other in pictures of `size` (height, width).

    >>> grid_at((256, 128), (16, 16)), grid_at((256, 128), (12, 12))
    ((16, 8), (21, 10))
    """
    return (size[0] - PATCH) // stride[0] + 1, (size[1] - PATCH) // stride[1] + 1


# What a number of patches tells of the published sizes: stride and grid. No two have the same.
PUBLISHED = {
    rows * columns: ((stride, stride), (rows, columns))
    for size in ((256, 128), (384, 128), (256, 256))
    for stride in (16, 12, 11)
    for rows, columns in [grid_at(size, (stride, stride))]
}


def jigsaw(patches: Tensor, shift: int, groups: int) -> Tensor:
    """Patches (B, N, D) in the order from which JPM cuts its parts; (B, N or N + 1, D).

    The first ``shift - 1`` go to the end, then the j-th of each of the `groups` follow each other.
    Where the groups would not be equal, the last but one comes once more, as published.

    >>> jigsaw(torch.arange(6.0).view(1, 6, 1), shift=3, groups=2).flatten().int().tolist()
    [2, 5, 3, 0, 4, 1]
    >>> jigsaw(torch.arange(5.0).view(1, 5, 1), shift=1, groups=2).flatten().int().tolist()
    [0, 3, 1, 4, 2, 3]
    """
    patches = torch.cat([patches[:, shift - 1 :], patches[:, : shift - 1]], 1)
    if patches.shape[1] % groups:
        patches = torch.cat([patches, patches[:, -2:-1]], 1)
    return patches.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class TransReID(nn.Module):
    """A ViT of TransReID; (B, 3, H, W), and camids (B,) -> (B, width), the normed class token.

    With `jpm` features of width 768 or 384 lie side by side, as `parts` says: the global one, then
    the local ones, not divided by their number as tests have them (that does `PartNecks`).

    Args:
        image_size: height and width of pictures.
        stride_size: from patch to patch, down and right; below 16 they overlap ([12, 12] as
            published, [11, 11] for Occluded-Duke).
        sie_camera: `sie_coe` times an embedding of the camera is added to every token.
        cameras: how many there are; 0 takes those of the training set.
        jpm: the last block is there twice: `b1` sees all patches, `b2` each of `divide_length`
            parts of them, shuffled: `shift_num` - 1 of them moved to the end, then dealt out of
            `shuffle_groups` (1 and 1 shuffle nothing: RE_ARRANGE False).
        drop_path: the share of residual branches left out in training, growing with depth.
        dropout: the share of tokens' values left out in training.
    """

    pooled = True
    shape: Shape
    weights: str
    fresh = frozenset({"sie_embed"})  # what no published file of ImageNet has

    def __init__(
        self,
        image_size: tuple[int, int],
        *,
        stride_size: Sequence[int] = (16, 16),
        sie_camera: bool = False,
        sie_coe: float = 3.0,
        cameras: int = 0,
        jpm: bool = False,
        shift_num: int = 5,
        shuffle_groups: int = 2,
        divide_length: int = 4,
        drop_path: float = 0.1,
        dropout: float = 0.0,
    ):
        super().__init__()
        if sie_camera and cameras < 1:
            raise ValueError(
                "SIE_CAMERA needs the number of cameras, which training takes from its data; set "
                "MODEL.BACKBONE.CAMERAS."
            )
        self.name = type(self).__name__
        self.grid = _checked_grid(image_size, stride_size)
        width = self.shape.width
        self.parts_count = divide_length if jpm else 0
        self.shift, self.groups = shift_num, shuffle_groups
        if jpm:
            self._check_jigsaw(divide_length)
        self.dim, self.by_camera, self.sie_coe = width, sie_camera, sie_coe
        self.patch_embed = nn.Sequential()
        stride = (stride_size[0], stride_size[1])
        self.patch_embed.add_module("proj", nn.Conv2d(3, width, PATCH, stride))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        if sie_camera:
            self.sie_embed = nn.Parameter(torch.zeros(cameras, 1, width))
        self.pos_drop = nn.Dropout(dropout)
        self._add_blocks(drop_path, dropout)
        self._draw()

    def _add_blocks(self, drop_path: float, dropout: float) -> None:
        width, last = self.shape.width, self.shape.depth - 1
        rates = [drop_path * place / max(1, last) for place in range(last + 1)]
        norm = partial(nn.LayerNorm, width, eps=1e-6)
        trunk = rates[:-1] if self.parts_count else rates
        self.blocks = nn.ModuleList(_block(self.shape, rate, dropout) for rate in trunk)
        if not self.parts_count:
            self.norm = norm()
            return
        self.parts = (width,) * (1 + self.parts_count)
        self.dim = sum(self.parts)
        self.b1 = nn.Sequential(_block(self.shape, rates[-1], dropout), norm())
        self.b2 = nn.Sequential(_block(self.shape, rates[-1], dropout), norm())

    def _check_jigsaw(self, parts: int) -> None:
        patches = self.grid[0] * self.grid[1]
        shuffled = patches + bool(self.groups > 0 and patches % self.groups)
        if not 1 <= self.shift <= patches or self.groups < 1 or shuffled % self.groups:
            raise ValueError(
                f"JPM cannot shuffle {patches} patches with SHIFT_NUM {self.shift} and "
                f"SHUFFLE_GROUPS {self.groups}; set them to 5 and 2, as published."
            )
        if not 1 <= parts <= patches:
            raise ValueError(
                f"JPM cannot cut {patches} patches into {parts} parts; set DIVIDE_LENGTH to 4, as "
                "published."
            )

    @torch.no_grad()
    def _draw(self) -> None:
        """What a network from scratch begins with; both branches of JPM begin alike."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        conv = self.patch_embed.proj
        nn.init.normal_(conv.weight, std=(2 / (PATCH * PATCH * self.shape.width)) ** 0.5)
        for table in (self.cls_token, self.pos_embed, getattr(self, "sie_embed", None)):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)
        if self.parts_count:
            self.b2.load_state_dict(self.b1.state_dict())

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Tensor:
        """A camera that is not known (-1, or a number too high), or no `camids`, adds nothing."""
        x = self.patch_embed(images).flatten(2).mT  # (B, N, width)
        # x.shape, since len(x) would be a constant in a file that it is exported to.
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        if self.by_camera and camids is not None:
            x = x + self._of_cameras(camids)
        x = self.pos_drop(x)
        for block in self.blocks:
            x = block(x)
        if not self.parts_count:
            return self.norm(x[:, 0])
        return torch.cat([self._branch(self.b1, x), self._locals(x)], 1)

    @property
    def segments(self) -> list[nn.Module]:
        return [*self.blocks, *((self.b1[0], self.b2[0]) if self.parts_count else ())]

    def _of_cameras(self, camids: Tensor) -> Tensor:
        last = len(self.sie_embed) - 1
        known = (camids.ge(0) & camids.le(last)).to(self.sie_embed.dtype)[:, None, None]
        return self.sie_coe * known * self.sie_embed[camids.clamp(0, last)]

    def _branch(self, branch: Sequence[nn.Module], x: Tensor) -> Tensor:
        block, norm = branch
        return norm(block(x)[:, 0])

    def _locals(self, x: Tensor) -> Tensor:
        """The class token after it has seen one part of the patches; (B, parts * width)."""
        count = self.parts_count
        each = (x.shape[1] - 1) // count  # a remainder is in no part
        parts = jigsaw(x[:, 1:], self.shift, self.groups)[:, : count * each]
        parts = parts.unflatten(1, (count, each))
        tokens = x[:, None, :1].expand(-1, count, -1, -1)
        seen = torch.cat([tokens, parts], 2).flatten(0, 1)  # (B * parts, 1 + each, width)
        return self._branch(self.b2, seen).unflatten(0, (-1, count)).flatten(1)

    def fetch(self) -> dict[str, Tensor]:
        """The ImageNet weights from which TransReID begins: timm's of 2020, or DeiT's distilled."""
        whole = torch.hub.load_state_dict_from_url(
            self.weights, map_location="cpu", check_hash=True, weights_only=True
        )
        left_out = re.compile(r"(head|head_dist|fc|pre_logits)\.|dist_token$")
        return {k: t for k, t in state_of(whole).items() if not left_out.match(k)}

    @staticmethod
    def options_of(entries: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that the tensors of a file tell; what `recognise` asks."""
        patches = entries["pos_embed"].shape[1] - 1
        told: dict[str, Any] = {"jpm": "b1.0.norm1.weight" in entries}
        if told["jpm"]:
            necks = [name for name in entries if re.match(r"heads\.neck_\d+\.weight$", name)]
            told |= {"divide_length": len(necks)} if necks else {}
        if patches in PUBLISHED:
            told["stride_size"] = PUBLISHED[patches][0]
        if "sie_embed" in entries:
            told |= {"sie_camera": True, "cameras": len(entries["sie_embed"])}
        return told

    def copies(self, name: str) -> tuple[str, ...]:
        """Both branches of JPM begin as the last block and the norm of a file without branches."""
        match = re.match(rf"(?:blocks\.{self.shape.depth - 1}|(norm))\.", name)
        if not self.parts_count or match is None:
            return ()
        place, rest = 1 if match[1] else 0, name[match.end() :]
        return f"b1.{place}.{rest}", f"b2.{place}.{rest}"

    def adapt(self, name: str, tensor: Tensor) -> tuple[str, Tensor]:
        """An entry of a file, the position table resized to this grid (bilinear, as published).

        Of DeiT's distilled tables the row of the second token is left out.
        """
        own, count = self.grid[0] * self.grid[1], tensor.shape[1] - 1 if tensor.ndim == 3 else 0
        if name != "pos_embed" or count in (0, own):
            return name, tensor
        if _known_grid(count) is None and _known_grid(count - 1):
            tensor, count = torch.cat([tensor[:, :1], tensor[:, 2:]], 1), count - 1
        old = _known_grid(count)
        if old is None or count == own:
            return name, tensor
        return name, resize_positions(tensor[0], old, self.grid)[None]


def _known_grid(count: int) -> tuple[int, int] | None:
    return PUBLISHED[count][1] if count in PUBLISHED else grid_of(count)


def _checked_grid(size: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    if len(stride) != 2:
        raise ValueError(f"STRIDE_SIZE is {list(stride)}; give two, down and right.")
    if min(stride) < 1 or min(size) < PATCH:
        raise ValueError(
            f"Patches of {PATCH} pixels every {list(stride)} do not fit pictures of {tuple(size)}; "
            "change STRIDE_SIZE or INPUT.SIZE_TRAIN."
        )
    return grid_at(size, stride)


def _block(shape: Shape, drop_path: float, dropout: float) -> nn.Module:
    from timm.models.vision_transformer import Block

    block = Block(
        shape.width,
        shape.heads,
        shape.mlp_ratio,
        shape.qkv_bias,
        proj_drop=dropout,
        drop_path=drop_path,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    if shape.scale is not None:
        block.attn.scale, block.attn.fused_attn = shape.scale, False  # the fused one has its own
    return block


@BACKBONES
class transreid_vit_base(TransReID):
    """TransReID's ViT-B/16, (B, 768); options: see `TransReID`. arXiv:2102.04378"""

    shape = Shape(768, 12, 12, 4, True)
    weights = f"{TIMM}/v0.1-vitjx/jx_vit_base_p16_224-80ecf9dd.pth"


@BACKBONES
class transreid_vit_small(TransReID):
    """TransReID's small ViT, (B, 768); options: see `TransReID`. arXiv:2102.04378

    It is that of timm 0.3, of 8 blocks and heads, and not what has been called ViT-S since.
    """

    shape = Shape(768, 8, 8, 3, False, 768**-0.5)
    weights = f"{TIMM}/v0.1-weights/vit_small_p16_224-15ec54c9.pth"


@BACKBONES
class transreid_deit_small(TransReID):
    """TransReID's DeiT-S/16, (B, 384); options: see `TransReID`. arXiv:2102.04378"""

    shape = Shape(384, 12, 6, 4, True)
    weights = f"{DEIT}/deit_small_distilled_patch16_224-649709d9.pth"
