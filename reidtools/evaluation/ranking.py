"""Order a gallery for every query and count: CMC, mAP, mINP."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reidtools.evaluation.vectors import Vectors
from reidtools.ops.distances import pairwise
from reidtools.ops.protocol import ignores_own_camera


@dataclass(frozen=True)
class Ranking:
    """What a ranking says, over the queries that have a match in the gallery.

    `cmc[k - 1]` is the share of queries whose first match is among the nearest k; `ap` (Q,) is the
    average precision of each query, NaN where the gallery has no match; `num_valid` counts the
    others.
    """

    cmc: Tensor
    mAP: float
    mINP: float
    ap: Tensor
    num_valid: int


def rank(
    query: Vectors,
    gallery: Vectors,
    *,
    metric: str = "cosine",
    camera_filter: str = "market",
    memory_mb: int = 512,
) -> Ranking:
    """Rank `gallery` for each of `query` (Zheng et al., Market-1501, ICCV 2015).

    With `camera_filter` ``"market"`` the query's own person in the query's own camera counts
    neither as hit nor as miss; with ``"none"`` every picture counts. Equal distances keep the
    gallery's order. Queries are taken in chunks, so that the working memory stays within
    `memory_mb` MiB. Raises ValueError when no query has a match.
    """
    ignores_camera = ignores_own_camera(camera_filter)
    if not len(query) or not len(gallery):
        raise ValueError("There is nothing to rank: the query or the gallery is empty.")
    # A chunk's distances (4 bytes), order (8) and masks (about 12) for each of its pairs.
    chunk = max(1, memory_mb * 2**20 // (24 * len(gallery)))
    firsts, aps, inps = [], [], []
    for rows in torch.arange(len(query)).split(chunk):
        distances = pairwise(query.vectors[rows], gallery.vectors, metric)
        same = query.pids[rows, None] == gallery.pids
        junk = (
            same & (query.camids[rows, None] == gallery.camids) if ignores_camera else same & False
        )
        order = distances.argsort(dim=1, stable=True)  # (q, G), nearest first
        junk, hits = junk.gather(1, order), (same & ~junk).gather(1, order)
        place = (~junk).cumsum(1).clamp(min=1)  # counts from 1, junk skipped
        found = hits.cumsum(1)
        total = found[:, -1].double()  # (q,) matches of each query
        aps.append((found / place * hits).sum(1, dtype=torch.double) / total)  # 0 / 0: no match
        firsts.append(torch.where(hits, place, len(gallery) + 1).amin(1))
        inps.append(total / (place * hits).amax(1))
    first, ap, inp = torch.cat(firsts), torch.cat(aps), torch.cat(inps)
    valid = ~ap.isnan()
    count = int(valid.sum())
    if not count:
        raise ValueError(
            "No query has a match in the gallery, so there is nothing to measure; if all pictures "
            "of a person come from one camera, set TEST.CAMERA_FILTER none."
        )
    places = torch.bincount(first[valid], minlength=len(gallery) + 1)[1 : len(gallery) + 1]
    cmc = places.cumsum(0).double() / count
    return Ranking(cmc, ap[valid].mean().item(), inp[valid].mean().item(), ap, count)
