"""Test sets made from others: functions from `Splits` to `Splits`, named after an @ (toy@mlr)."""

from collections.abc import Callable, Sequence

import numpy as np

from reidtools.data.samples import Sample, Splits
from reidtools.registry import choose

SIDES = ("query", "gallery")


def mlr(
    splits: Splits,
    seed: int,
    *,
    scales: Sequence[float] = (2.0, 3.0, 4.0),
    sides: Sequence[str] = ("query",),
) -> Splits:
    """Multiple low resolutions (MLR; Jiao et al., AAAI 2018): every picture has a scale of its own.

    Each picture of the `sides` (``query``, ``gallery``) is shown as coarse as one of `scales`,
    drawn with `seed`; the same seed always draws the same. As published, the query is coarse and
    the gallery is not.
    """
    if not scales or not min(scales) >= 1:
        raise ValueError(f"DATASETS.MLR.SCALES is {list(scales)}; give at least one, from 1.")
    if not sides:
        raise ValueError("DATASETS.MLR.SIDES is empty; name query, gallery or both.")
    for side in sides:
        choose("side", side, dict.fromkeys(SIDES))

    def drawn(samples: list[Sample], place: int) -> list[Sample]:
        picks = np.random.default_rng((seed, place)).integers(len(scales), size=len(samples))
        return [s._replace(scale=float(scales[i])) for s, i in zip(samples, picks, strict=True)]

    return splits._replace(**{s: drawn(getattr(splits, s), SIDES.index(s)) for s in sides})


VARIANTS: dict[str, Callable[..., Splits]] = {"mlr": mlr}
