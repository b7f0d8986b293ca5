"""What `Augment` has drawn, done to a batch: picture by picture, or to all pictures at once."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from reidtools.ops.transfer import sent

NOWHERE = -(2**30)  # twice that is still an int32, and no pixel's number makes it positive


class Drawn(NamedTuple):
    """What happens to a batch (B, [T,] 3, H, W), on the CPU; the frames of a tracklet are alike.

    `flips` bool (B,), whether it is mirrored first; `moves` (B, 2), by how many pixels it then goes
    down and right, with black behind it; `holes` (N, 4), the rectangle to erase, as top, left,
    height and width, all 0 for none. N is B, or B·T where each frame has its own. `colours` uint8
    (P, 3) are the pixels of all holes in a row, or the one that fills all of them.
    """

    flips: Tensor
    moves: Tensor
    holes: Tensor
    colours: Tensor


def one_by_one(images: Tensor, drawn: Drawn) -> Tensor:
    """`images` (B, [T,] 3, H, W) uint8 on the CPU, as `drawn`: the same shape, channels-last.

    NumPy takes a tenth of torch's time to say which bytes are meant.
    """
    width = images.shape[-1]
    # Rows of bytes, 3·W each, are cut and filled without a look at what is a channel.
    source = rows_of(images)
    out = torch.empty_like(source)
    seen, to, apart = source.numpy(), out.numpy(), len(drawn.holes) // max(1, len(images))
    colours, holes, begin = drawn.colours.numpy(), drawn.holes.tolist(), 0
    for i, (flip, (down, right)) in enumerate(
        zip(drawn.flips.tolist(), drawn.moves.tolist(), strict=True)
    ):
        _shift(_mirrored(source[i]).numpy() if flip else seen[i], to[i], down, 3 * right)
        for t, (top, left, h, w) in enumerate(holes[i * apart : (i + 1) * apart]):
            if not h:
                continue
            own = colours[begin : begin + h * w] if len(colours) > 1 else colours.repeat(w, 0)
            frames = to[i][t] if apart > 1 else to[i]
            frames[..., top : top + h, 3 * left : 3 * (left + w)] = own.reshape(-1, 3 * w)
            begin += h * w
    return out.unflatten(-1, (width, 3)).movedim(-1, -3)


def at_once(images: Tensor, drawn: Drawn) -> Tensor:
    """The same bytes as `one_by_one`, on any device: one small copy to it, and a dozen kernels."""
    count, *frames, _, height, width = images.shape
    shots, apart = frames[0] if frames else 1, len(drawn.holes) // max(1, count)
    tables = [*_where_from(drawn, shots, height, width), *_what_fills(drawn, height, width)]
    numbers = torch.cat([table.flatten() for table in tables]).int()
    content = torch.cat([numbers.view(torch.uint8), drawn.colours.flatten()])
    numbers, colours = sent(content, images.device).split(
        [4 * len(numbers), 3 * len(drawn.colours)]
    )
    parts = numbers.view(torch.int32).split([table.numel() for table in tables])
    rows, columns, hole_rows, hole_columns = (
        part.view(table.shape) for part, table in zip(parts, tables, strict=True)
    )
    shot = torch.arange(shots, device=images.device, dtype=torch.int32) * (height * width)
    places = (rows[:, :, None] + columns[:, None])[:, None] + shot[:, None, None]  # (B, T, H, W)
    out = images.movedim(-3, -1).reshape(-1, 3)[places.clamp(min=0).long()]
    out.masked_fill_((places < 0)[..., None], 0)
    if len(colours):
        inside = (hole_rows[:, :, None] + hole_columns[:, None]).unflatten(0, (count, apart))
        filled = colours.view(-1, 3)[inside.clamp(min=0).long()]
        out = torch.where((inside >= 0)[..., None], filled, out)
    return out.view(count, *frames, height, width, 3).movedim(-1, -3)


def _where_from(drawn: Drawn, shots: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(B, H) and (B, W) whose sums number the pixel that comes there, of a batch's; < 0 is black.

    That is the one in the first frame.
    """
    down, right = drawn.moves[:, :, None].unbind(1)
    rows, columns = torch.arange(height) - down, torch.arange(width) - right
    first = torch.arange(len(rows))[:, None] * (shots * height * width)
    mirrored = torch.where(drawn.flips[:, None], width - 1 - columns, columns)
    black_rows, black_columns = (rows < 0) | (rows >= height), (columns < 0) | (columns >= width)
    return (
        (first + rows * width).masked_fill(black_rows, NOWHERE),
        mirrored.masked_fill(black_columns, NOWHERE),
    )


def _what_fills(drawn: Drawn, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(N, H) and (N, W) whose sums number the colour that fills a pixel; < 0 is outside a hole."""
    top, left, h, w = drawn.holes[:, :, None].unbind(1)
    rows, columns = torch.arange(height) - top, torch.arange(width) - left
    sides = (rows, h), (columns, w)
    outside = [(at < 0) | (at >= side) for at, side in sides]
    if len(drawn.colours) > 1:
        area = h * w
        rows = area.cumsum(0) - area + rows * w
    else:
        rows, columns = torch.zeros_like(rows), torch.zeros_like(columns)
    return rows.masked_fill(outside[0], NOWHERE), columns.masked_fill(outside[1], NOWHERE)


def rows_of(images: Tensor) -> Tensor:
    """(…, 3, H, W) -> (…, H, 3·W), the same memory if that is channels-last."""
    return images.movedim(-3, -1).flatten(-2)


def _mirrored(rows: Tensor) -> Tensor:
    return rows.unflatten(-1, (-1, 3)).flip(-2).flatten(-2)


def _shift(source: Any, out: Any, down: int, right: int) -> None:
    """Fill `out` (…, h, w) with `source`, moved; what becomes free is black."""
    height, width = out.shape[-2:]
    rows = slice(max(0, down), height + min(0, down))
    columns = slice(max(0, right), width + min(0, right))
    out[..., rows, columns] = source[
        ..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    if down:
        out[..., slice(down) if down > 0 else slice(down, None), :] = 0
    if right:
        out[..., slice(right) if right > 0 else slice(right, None)] = 0
