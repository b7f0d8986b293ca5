"""Ranking against one mean per person instead of its pictures (CTL's centroid gallery)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reidtools.evaluation.matches import Matches, Pairs
from reidtools.evaluation.progress import watched
from reidtools.evaluation.ranking import Ranking, Tally
from reidtools.evaluation.vectors import Vectors, check_comparable
from reidtools.ops.distances import chunks

OTHER_CAMERAS = (
    "nobody in the query has a gallery picture from another camera. Set "
    "TEST.CENTROIDS.KEEP_CAMIDS False to average the pictures of all cameras."
)


@dataclass(frozen=True)
class CentroidGallery:
    """`vectors` (C, D), the `pids` (C,) they stand for and the `cameras` (C, K) that they saw.

    ``cameras[i, j]`` says whether a picture of camera ``camids[j]`` is part of centroid i; `camids`
    (K,) are sorted.
    """

    vectors: Tensor
    pids: Tensor
    cameras: Tensor
    camids: Tensor

    def __len__(self) -> int:
        return len(self.vectors)


def centroid_gallery(
    query: Vectors, gallery: Vectors, *, keep_camids: bool = True, distractors: bool = False
) -> CentroidGallery:
    """The gallery's people as means of their features as they are, sorted by pid.

    With `keep_camids` a person has, for every camera in which it is asked for, the mean of its
    gallery pictures from all *other* cameras (two means of the same cameras are one); people who
    are nobody's query, and with them the distractors, have none. Without it a person has one mean
    of all pictures, which remembers no camera; pid 0 is a person, too.

    With `distractors` every picture of pid 0 is an entry of its own, with its own camera. Junk
    (pid -1) has no part in anything.
    """
    camids = torch.unique(torch.cat([query.camids, gallery.camids]))
    seen_by = torch.searchsorted(camids, gallery.camids)
    asked = torch.searchsorted(camids, query.camids)
    queries = {pid: asked[rows].unique() for pid, rows in _rows_by_pid(query.pids)}
    means, pids, cameras = [], [], []
    for pid, rows in _rows_by_pid(gallery.pids):
        saw = F.one_hot(seen_by[rows], len(camids)).bool()  # (pictures, K)
        pictures = gallery.vectors[rows.to(gallery.vectors.device)]
        if pid == 0 and distractors:
            means.append(pictures)
        else:
            if keep_camids:
                used = _used(seen_by[rows], queries.get(pid, asked[:0]))  # (means, pictures)
                saw = (used[:, :, None] & saw).any(1)
            else:
                used, saw = torch.ones(1, len(rows), dtype=torch.bool), saw[:1] & False
            used = used.to(pictures)
            means.append(used @ pictures / used.sum(1, keepdim=True))
        pids.append(torch.full((len(saw),), pid))
        cameras.append(saw)
    if not sum(map(len, pids)):
        raise ValueError(f"There is no centroid to rank; {OTHER_CAMERAS}")
    return CentroidGallery(torch.cat(means), torch.cat(pids), torch.cat(cameras), camids)


def rank_centroids(
    query: Vectors,
    gallery: Vectors,
    *,
    keep_camids: bool = True,
    distractors: bool = False,
    metric: str = "cosine",
    memory_mb: int = 256,
) -> Ranking:
    """Rank the gallery's centroids for every query (Wieczorek et al., arXiv:2104.13643).

    Report the figures in a table of their own: the gallery's own names say which pictures are
    averaged, so they cannot be compared with those of `rank`. A centroid of the query's person that
    saw the query's camera counts neither as hit nor as miss, hence no picture of the query's own
    camera ever helps it. See `centroid_gallery` for the options; as published (centroids-reid)
    distractors vanish, which `distractors` undoes.

    centroids-reid and SNU_ReID read the cameras of the wrong pictures when they build centroids, so
    their figures are usually higher than these. https://github.com/mikwieczorek/centroids-reid
    Raises ValueError for vectors that cannot be compared and when no query has a match.
    """
    check_comparable(query, gallery, metric)
    centroids = centroid_gallery(query, gallery, keep_camids=keep_camids, distractors=distractors)
    people = Vectors(centroids.vectors, centroids.pids, torch.zeros_like(centroids.pids))
    matches, cameras = Matches(query, people, "none"), centroids.cameras.numpy()
    asked = torch.searchsorted(centroids.camids, query.camids).numpy()
    tally, any_hit = Tally(len(query), len(people)), False
    parts = chunks(query.vectors, people.vectors, metric, memory_mb)
    for rows, part in watched(parts, len(query), "Ranking centroids"):
        same, _ = matches.of(rows)
        seen = cameras[same.columns, asked[rows][same.rows]]  # by the query's own camera
        part[same.rows[seen], same.columns[seen]] = torch.inf
        hits = Pairs(same.rows[~seen], same.columns[~seen], same.count)
        any_hit |= len(hits.rows) > 0
        tally.add(rows, part, hits)
    if not any_hit:
        raise ValueError(f"No query has a match among the centroids; {OTHER_CAMERAS}")
    return tally.ranking()


def _used(seen_by: Tensor, asked: Tensor) -> Tensor:
    """Which pictures the means of one person use: (pictures,), (cameras,) -> (means, pictures)."""
    used = seen_by != asked[:, None]
    # Cameras that never saw this person leave the same pictures: the first of them will do.
    new = used.all(1).cumsum(0) <= 1
    return used[(new | ~used.all(1)) & used.any(1)]


def _rows_by_pid(pids: Tensor) -> list[tuple[int, Tensor]]:
    """(pid, its rows), sorted by pid, without junk."""
    order = pids.argsort(stable=True)
    values, counts = torch.unique_consecutive(pids[order], return_counts=True)
    groups = zip(values.tolist(), order.split(counts.tolist()), strict=True)
    return [(pid, rows) for pid, rows in groups if pid != -1]
