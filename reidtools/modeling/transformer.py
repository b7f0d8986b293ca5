"""The transformer of CLIP (Radford et al., 2021, arXiv:2103.00020), with the names of its files."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reidtools.ops.recompute import again


def heads_of(width: int) -> int:
    """How many heads an attention has: one for 64 values, as in all of CLIP's files."""
    if width < 1 or (width % 64 and width > 64):
        raise ValueError(f"A width of {width} cannot be shared by heads of 64; change WIDTH.")
    return max(1, width // 64)


class Attention(nn.Module):
    """Self-attention, (B, N, width) -> (B, N, width); `causal` lets no token see later ones."""

    def __init__(self, width: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads_of(width), causal
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        x = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        x = x.view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = x.permute(2, 0, 3, 1, 4)  # (B, heads, N, width / heads) each
        x = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out_proj(x.transpose(1, 2).reshape(batch, tokens, width))


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, with which OpenAI trained CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Attention and a network of one hidden layer, each after a layer norm and added to its input.

    `depth` is how many blocks there are: the more, the smaller what each adds at the beginning.
    """

    def __init__(self, width: int, depth: int, causal: bool):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, causal)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        small = width**-0.5 * (2 * depth) ** -0.5
        for last in (self.attn.out_proj, self.mlp.c_proj):
            nn.init.normal_(last.weight, std=small)
        nn.init.normal_(self.mlp.c_fc.weight, std=(2 * width) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """`layers` blocks; with `grad_checkpoint` their activations are computed again when needed."""

    def __init__(
        self, width: int, layers: int, *, causal: bool = False, grad_checkpoint: bool = False
    ):
        super().__init__()
        blocks = (Block(width, layers, causal) for _ in range(layers))
        self.resblocks, self.grad_checkpoint = nn.ModuleList(blocks), grad_checkpoint

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, width) -> the same before and after the last block."""
        before = x
        for block in self.resblocks:
            before, x = x, again(block, x) if self.grad_checkpoint else block(x)
        return before, x


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A position table (1 + h * w, D) of an `old` grid (h, w) for a `new` one; token 0 stays.

    Bilinear, corners not aligned, as CLIP-ReID and TransReID do it.
    """
    grid = table[1:].float().T.reshape(1, -1, *old)
    grid = F.interpolate(grid, size=new, mode="bilinear", align_corners=False)
    return torch.cat([table[:1].float(), grid[0].flatten(1).T])
