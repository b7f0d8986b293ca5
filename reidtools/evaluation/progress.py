"""The bar of long passes."""

from collections.abc import Iterator

from torch import Tensor
from tqdm import tqdm


def watched(
    parts: Iterator[tuple[slice, Tensor]], count: int, title: str
) -> Iterator[tuple[slice, Tensor]]:
    """`parts` as they are, with a bar over their `count` rows in a terminal, after two seconds."""
    with tqdm(
        total=count, desc=title, unit="row", leave=False, disable=None, delay=2
    ) as bar:  # disable=None: not where there is no terminal
        for rows, part in parts:
            yield rows, part
            bar.update(len(part))
