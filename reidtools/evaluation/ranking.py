"""Order a gallery for every query and count: CMC, mAP, mINP, the nearest pictures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reidtools import processes
from reidtools.evaluation.matches import Matches, Pairs
from reidtools.evaluation.places import SingleShots, places
from reidtools.evaluation.progress import watched
from reidtools.evaluation.vectors import Vectors, check_comparable
from reidtools.ops.distances import chunks, nearest
from reidtools.registry import choose

# (query vectors, gallery vectors, metric, memory_mb) -> (rows, their distances to all), by chunks.
Distances = Callable[[Tensor, Tensor, str, int], Iterator[tuple[slice, Tensor]]]
AP_RULES = ("standard", "trapezoid")


@dataclass(frozen=True)
class Ranking:
    """What a ranking says, over the queries that have a match in the gallery.

    `cmc[k - 1]` is the share of queries whose first match is among the nearest k; `ap` (Q,) is the
    average precision of each query, NaN where the gallery has no match; `num_valid` counts the
    others. `topk` (Q, min(k, G)) holds the rows of the gallery that are nearest to each query,
    nearest first, junk left out, -1 where there are no more; `topk_distances` belong to them.
    """

    cmc: Tensor
    mAP: float
    mINP: float
    ap: Tensor
    num_valid: int
    topk: Tensor | None = None
    topk_distances: Tensor | None = None


@torch.no_grad()
def rank(
    query: Vectors,
    gallery: Vectors,
    distances: Distances = chunks,
    *,
    metric: str = "cosine",
    camera_filter: str = "market",
    topk: int = 0,
    ap_rule: str = "standard",
    single_shot: int = 0,
    seed: int = 0,
    memory_mb: int = 256,
) -> Ranking:
    """Rank `gallery` for each of `query` (Zheng et al., Market-1501, ICCV 2015).

    A match is a picture of the same pid; pid -1 is junk and counts neither as hit nor as miss. With
    `camera_filter` ``"market"`` the same holds for the query's own person in the query's own
    camera; with ``"none"`` every picture counts. Equal distances keep the gallery's order.

    `ap_rule` ``"standard"`` is the mean of the precisions at the matches, ``"trapezoid"`` takes the
    area under the precision-recall line, as Market-1501's own MATLAB code does. `single_shot` n
    draws one picture a person for the gallery, n times for every query (CUHK03's first protocol;
    from `seed`), and gives the mean CMC; mAP and mINP stay those of the whole gallery.

    Distances are computed where the vectors lie, in chunks of `memory_mb` MiB at most; no row is
    sorted whole, because only the places of the matches are counted. Raises ValueError for vectors
    that cannot be compared and when no query has a match.
    """
    check_comparable(query, gallery, metric)
    if topk < 0 or single_shot < 0:
        raise ValueError(
            f"topk {topk} and single_shot {single_shot} are numbers of pictures and of draws; give "
            "0 for none, or more."
        )
    choose("AP rule", ap_rule, dict.fromkeys(AP_RULES))
    matches = Matches(query, gallery, camera_filter)
    shots = SingleShots(gallery.pids.numpy(), single_shot, seed) if single_shot else None
    tally, nears = Tally(len(query), len(gallery)), []
    # Others than plain distances are of all queries at once, and draws come in their order.
    shared = processes.count() > 1 and distances is chunks and not shots
    own = processes.share(len(query)) if shared else slice(0, len(query))
    parts = distances(query.vectors[own], gallery.vectors, metric, memory_mb)
    for rows, part in watched(parts, own.stop - own.start, "Ranking"):
        rows = slice(own.start + rows.start, own.start + rows.stop)
        hits, junk = matches.of(rows)
        part[:, matches.junk_columns] = torch.inf
        part[junk.rows, junk.columns] = torch.inf
        tally.add(rows, part, hits)
        if shots:
            shots.play(part.cpu().numpy(), hits)
        if topk:
            nears.append([x.cpu() for x in nearest(part, topk)])
    if shared:
        tally, nears = _joined(tally, nears)
    found = tally.ranking(ap_rule)
    if shots:
        found = replace(found, cmc=torch.from_numpy(shots.cmc))
    if topk:
        values, columns = (torch.cat(x) for x in zip(*nears, strict=True))
        columns = columns.masked_fill(values.isinf(), -1)
        found = replace(found, topk=columns, topk_distances=values)
    return found


def _joined(tally: "Tally", nears: list[list[Tensor]]) -> tuple["Tally", list]:
    """What all processes have found, those of the first queries first."""
    whole = Tally(tally.queries, tally.gallery)
    near = [torch.cat(column) for column in zip(*nears, strict=True)]
    found = processes.of_all((tally.rows, tally.places, near))
    for rows, spots, _ in found:
        whole.rows += rows
        whole.places += spots
    return whole, [near for *_, near in found if near]


class Tally:
    """Collects the places of all matches, chunk by chunk, and turns them into a `Ranking`."""

    def __init__(self, queries: int, gallery: int):
        self.queries, self.gallery = queries, gallery
        self.rows: list[np.ndarray] = []
        self.places: list[np.ndarray] = []

    def add(self, rows: slice, distances: Tensor, hits: Pairs) -> None:
        """Count the `hits` in the `distances` of the queries `rows`; junk there is infinite."""
        self.rows.append(hits.rows + rows.start)
        self.places.append(places(distances, hits))

    def ranking(self, ap_rule: str = "standard") -> Ranking:
        """The figures. Raises ValueError when no query has a match."""
        rows, spots = np.concatenate(self.rows), np.concatenate(self.places)
        order = np.lexsort((spots, rows))
        rows, spots = rows[order], spots[order]
        totals = np.bincount(rows, minlength=self.queries)  # (Q,) matches of each query
        starts = totals.cumsum() - totals
        valid = totals > 0
        if not valid.any():
            raise ValueError(
                "No query has a match in the gallery, so there is nothing to measure; if all "
                "pictures of a person come from one camera, set TEST.CAMERA_FILTER none."
            )
        found = 1.0 + np.arange(len(rows)) - starts[rows]  # matches up to and with this one
        precision = found / spots
        if ap_rule == "trapezoid":  # the mean of the precisions at the match and just before it
            before = np.where(spots == 1, 1.0, (found - 1) / np.maximum(spots - 1, 1))
            precision = (precision + before) / 2
        sums = np.bincount(rows, precision, minlength=self.queries)
        ap = np.where(valid, sums / np.maximum(totals, 1), np.nan)
        first, last = spots[starts[valid]], spots[(starts + totals)[valid] - 1]
        cmc = np.bincount(first, minlength=self.gallery + 1)[1:].cumsum() / len(first)
        means = float(ap[valid].mean()), float((totals[valid] / last).mean())
        return Ranking(torch.from_numpy(cmc), *means, torch.from_numpy(ap), len(first))
