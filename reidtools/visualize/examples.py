"""Queries worth a look: the best, the worst, and those that a wrong picture resembled most."""

from typing import NamedTuple

import numpy as np

from reidtools.evaluation import Ranking, Vectors
from reidtools.visualize.ranked_lists import ranked_list
from reidtools.visualize.text import camera_and_score


class Example(NamedTuple):
    """A query: its `row`, what is said of it, and its ranked list, uint8 RGB (H, W, 3)."""

    row: int
    caption: str
    picture: np.ndarray


def choose_queries(query: Vectors, gallery: Vectors, ranked: Ranking, most: int) -> dict[str, list]:
    """Rows of at most `most` queries for each title, each of another person.

    `ranked` has its `topk`. Queries without a match in the gallery are not asked. Best and worst
    are by average precision; among equally good ones, those with more right pictures to show come
    first. A failure is wrong at rank 1; the one with the smallest distance comes first.
    """
    ap, topk, pids = ranked.ap.cpu().numpy(), ranked.topk.cpu().numpy(), query.pids.numpy()
    near = ranked.topk_distances[:, 0].cpu().numpy()
    right = (gallery.pids.numpy()[topk] == pids[:, None]) & (topk >= 0)  # (Q, k)
    asked = np.flatnonzero(~np.isnan(ap) & (topk[:, 0] >= 0))
    wrong = asked[~right[asked, 0]]
    shown = right[asked].sum(1)
    orders = {
        "Best queries": asked[np.lexsort((-shown, -ap[asked]))],
        "Worst queries": asked[np.argsort(ap[asked], kind="stable")],
        "Failures: wrong at rank 1, and very alike": wrong[np.argsort(near[wrong], kind="stable")],
    }
    chosen = {}
    for title, rows in orders.items():
        _, places = np.unique(pids[rows], return_index=True)
        chosen[title] = rows[np.sort(places)][:most].tolist()
    return chosen


def example(
    query: Vectors, gallery: Vectors, ranked: Ranking, row: int, *, topk: int, similar: bool
) -> Example:
    """The query in `row` with its `topk` nearest; each has its camera and how near it is below.

    That is the distance, or with `similar` 1 - distance, the cosine. Raises OSError for a picture
    that cannot be read.
    """
    columns, distances = ranked.topk[row, :topk].tolist(), ranked.topk_distances[row, :topk]
    there = [place for place, column in enumerate(columns) if column >= 0]
    found = [columns[place] for place in there]
    right = [bool(gallery.pids[column] == query.pids[row]) for column in found]
    scores = ((1 - distances) if similar else distances)[there].tolist()
    cameras = gallery.camids[found].tolist()
    captions = [camera_and_score(int(query.camids[row]))]
    captions += [camera_and_score(*pair) for pair in zip(cameras, scores, strict=True)]
    paths = [gallery.paths[column] for column in found]
    drawn = ranked_list(query.paths[row], paths, right, topk=topk, captions=captions)
    caption = f"{query.paths[row]}: AP {100 * ranked.ap[row].item():.1f} %, {sum(right)} of "
    return Example(row, f"{caption}{len(right)} right", drawn)
