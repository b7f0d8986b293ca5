"""One to one: are two pictures of the same person? ROC, EER, and the threshold to work with."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidtools.evaluation.matches import Matches
from reidtools.evaluation.progress import watched
from reidtools.evaluation.vectors import Vectors, check_comparable
from reidtools.ops.distances import DISTANCES, chunks
from reidtools.registry import choose

STEPS = 2**18  # of the histograms
BLOCK = {"cpu": 2**20, "cuda": 2**22}  # pairs counted at once: on a CPU they stay in its cache
FARS = {"1e-4": 1e-4, "1e-3": 1e-3, "1e-2": 1e-2}


@dataclass(frozen=True)
class Verification:
    """How well a distance tells pairs of the same person from pairs of different people.

    A pair is accepted as the same person when its distance is <= a threshold. Of the pairs with
    ``thresholds[k - 1] < distance <= thresholds[k]``, `same` (B,) counts those of one person and
    `different` (B,) those of two; `thresholds` (B,) float64 ascend evenly from 0, in the units of
    `metric`. FAR (false acceptance rate) is the share of different pairs that is accepted, TAR
    (true acceptance rate) the share of same pairs. Both are exact at every threshold of the list.

    FastReID's "TPR@FPR" (ROC_EVAL) has the classes swapped: there a *different* pair is positive
    and the distance is its score, so its FPR is the share of same pairs rejected (1 - TAR) and its
    TPR the share of different pairs rejected (1 - FAR).

    Raises ValueError when there are no pairs of one of the kinds.
    """

    thresholds: Tensor
    same: Tensor
    different: Tensor
    metric: str

    def __post_init__(self):
        if not self.same.sum():
            raise ValueError(
                "No query has a match in the gallery, so there are no pairs of the same person; "
                "if all pictures of a person come from one camera, set TEST.CAMERA_FILTER none."
            )
        if not self.different.sum():
            raise ValueError(
                "Query and gallery show one and the same person, so there are no pairs of "
                "different people; add pictures of others to the gallery."
            )

    @cached_property
    def same_pairs(self) -> int:
        return int(self.same.sum())

    @cached_property
    def different_pairs(self) -> int:
        return int(self.different.sum())

    @cached_property
    def tar(self) -> Tensor:
        """Share of the same pairs accepted at each of the `thresholds`, (B,) float64."""
        return self.same.cumsum(0).double() / self.same_pairs

    @cached_property
    def far(self) -> Tensor:
        """Share of the different pairs accepted at each of the `thresholds`, (B,) float64."""
        return self.different.cumsum(0).double() / self.different_pairs

    @cached_property
    def equal_error(self) -> tuple[float, float]:
        """The equal error rate, where FAR = 1 - TAR, and its threshold.

        Where one step passes it, both are interpolated linearly; where it holds for a while, the
        threshold is in the middle (perfectly separated pairs: the middle of the gap).
        """
        accepted, missed = self.different.cumsum(0), self.same_pairs - self.same.cumsum(0)
        # Whole numbers, so that equal is equal (in float64, as int64 could overflow).
        surplus = accepted.double() * self.same_pairs - missed.double() * self.different_pairs
        k = int(torch.searchsorted(surplus, 0))
        if surplus[k] == 0:
            last = int(torch.searchsorted(surplus, 0, right=True)) - 1
            return self.far[k].item(), (self.thresholds[k] + self.thresholds[last]).item() / 2
        if k == 0:  # from the threshold that accepts nothing, which is not in the list
            return self.far[0].item() / (self.far[0] + self.tar[0]).item(), 0.0
        share = (-surplus[k - 1] / (surplus[k] - surplus[k - 1])).item()
        far, threshold = (
            (1 - share) * values[k - 1].item() + share * values[k].item()
            for values in (self.far, self.thresholds)
        )
        return far, threshold

    @property
    def eer(self) -> float:
        """The equal error rate, a share; see `equal_error`."""
        return self.equal_error[0]

    def measures(self, far: float) -> bool:
        """Whether there are different pairs enough to speak of this `far`: at least 1 / far."""
        if not 0 <= far <= 1:
            raise ValueError(f"FAR is {far}; it is a share, choose one from 0 to 1, such as 1e-3.")
        return far >= 1 / self.different_pairs

    def threshold_at(self, far: float) -> float:
        """The largest threshold whose FAR does not exceed `far`: accept a distance <= it.

        Raises ValueError when there are fewer than 1 / far different pairs, and when more than
        `far` of them lie at distance 0.
        """
        if not self.measures(far):
            smallest = min(1, 1.1 / self.different_pairs)  # above it also when printed rounded
            raise ValueError(
                f"{self.different_pairs:,} pairs of different people cannot measure a FAR of "
                f"{far:g}; choose {smallest:.1e} or more, or test on more pictures."
            )
        count = self._allowed(far)
        if not count:
            raise ValueError(
                f"{self.far[0]:.2g} of the pairs of different people have distance 0, so no "
                f"threshold keeps FAR at {far:g}; look for doubled pictures and for a model whose "
                "vectors are all the same."
            )
        return self.thresholds[count - 1].item()

    def tar_at(self, far: float) -> float:
        """The largest TAR whose FAR does not exceed `far`.

        NaN when there are fewer than 1 / far different pairs: they cannot tell.
        """
        if not self.measures(far):
            return math.nan
        count = self._allowed(far)
        return self.tar[count - 1].item() if count else 0.0

    def _allowed(self, far: float) -> int:
        """How many of the thresholds keep FAR at or below `far`."""
        return int(torch.searchsorted(self.far, far, right=True))

    def figures(self) -> dict[str, float]:
        """EER and TAR at three FARs in percent (NaN: too few pairs), and how many pairs counted."""
        tars = {f"TAR@FAR={name}": 100 * self.tar_at(far) for name, far in FARS.items()}
        counts = {"same pairs": self.same_pairs, "different pairs": self.different_pairs}
        return {"EER": 100 * self.eer} | tars | counts

    def calibration(self, far: float) -> dict[str, Any]:
        """What to remember about the threshold for `far`, JSON-able; `read_calibration` reads it.

        Shares, not percent. Raises what `threshold_at` raises.
        """
        eer, eer_threshold = self.equal_error
        return {
            "metric": self.metric,
            "far": far,
            "threshold": self.threshold_at(far),
            "tar": self.tar_at(far),
            "eer": eer,
            "eer_threshold": eer_threshold,
            "pairs": {"same": self.same_pairs, "different": self.different_pairs},
        }


def read_calibration(path: str | Path) -> dict[str, Any]:
    """The `Verification.calibration` in the JSON file `path`.

    A missing file is a FileNotFoundError, one that holds something else a ValueError.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"There is no calibration {path}; make it with calibrate first.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # no JSON, or not even text
        content = None
    numbers = ("far", "threshold", "tar", "eer", "eer_threshold")
    if (
        not isinstance(content, dict)
        or content.get("metric") not in list(DISTANCES)
        or not all(type(content.get(name)) in (int, float) for name in numbers)
        or not all(math.isfinite(content[name]) for name in numbers)
    ):
        raise ValueError(f"{path} is no calibration of a threshold; make it anew with calibrate.")
    return content


@torch.no_grad()
def verify(
    query: Vectors,
    gallery: Vectors,
    *,
    metric: str = "cosine",
    camera_filter: str = "market",
    memory_mb: int = 256,
) -> Verification:
    """Compare every query with every gallery picture and count the distances.

    A pair is of the same person when the pids are equal. Gallery pictures with pid -1 are junk and
    form no pairs; with `camera_filter` ``"market"`` neither do two pictures of the same person from
    the same camera. The distances are counted into histograms while they come, in chunks of at most
    `memory_mb` MiB; all of them are never in memory. The histograms have 2^18 equal steps, from 0
    to the largest angle or cosine distance, or to what vectors of twice the usual length (the
    median) could reach; pairs beyond share the last step, up to infinity.

    Raises ValueError for vectors that cannot be compared, and when all pairs are of one kind.
    """
    choose("metric", metric, DISTANCES)
    check_comparable(query, gallery, metric)
    matches = Matches(query, gallery, camera_filter)
    step = _step(query.vectors, gallery.vectors, metric)
    device, bins, wide = query.vectors.device, STEPS + 1, len(gallery)
    height = max(1, BLOCK.get(device.type, BLOCK["cuda"]) // wide)
    junk_columns = torch.from_numpy(matches.junk_columns).to(device)
    # One histogram of three parts: different people, same person, and one bin for junk.
    counts = torch.zeros(2 * bins + 1, dtype=torch.long, device=device)
    parts = chunks(query.vectors, gallery.vectors, metric, memory_mb)
    for rows, distances in watched(parts, len(query), "Verifying"):
        for first, block in zip(
            range(rows.start, rows.stop, height), distances.split(height), strict=True
        ):
            # Rounded up: a pair is in the bin of the first threshold that accepts it.
            places = (block / step).ceil_().clamp_(0, STEPS).to(torch.int32)
            hits, junk = (
                torch.from_numpy(pairs.rows * wide + pairs.columns).to(device)
                for pairs in matches.of(slice(first, first + len(block)))
            )
            flat = places.view(-1)
            flat[hits] += bins
            flat[junk] = 2 * bins
            places[:, junk_columns] = 2 * bins
            counts += torch.bincount(flat, minlength=len(counts))
    different, same = counts[:-1].cpu().view(2, bins)
    thresholds = torch.arange(bins).double() * step
    thresholds[-1] = torch.inf
    return Verification(thresholds, same, different, metric)


def _step(a: Tensor, b: Tensor, metric: str) -> float:
    """The width of a bin, a power of two: so edges and quotients have no rounding, in float32 too.

    One very long vector must not widen it for all.
    """
    if metric == "cosine":
        reach = 2.0
    elif metric == "arccos":
        reach = math.pi
    else:
        usual = torch.cat([torch.linalg.vector_norm(side, dim=1) for side in (a, b)]).median()
        reach = (4 * usual.item()) ** (2 if metric == "squared_euclidean" else 1)
    return 2.0 ** math.ceil(math.log2(max(reach, 1e-6))) / STEPS
