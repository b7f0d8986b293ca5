"""How right global ids are, where the truth is known: IDF1 and association accuracy."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Shares from 0 to 1: identity F1, precision and recall, and association accuracy (HOTA)."""

    idf1: float
    idp: float
    idr: float
    assa: float


def identity_scores(
    predicted: Mapping[Hashable, Hashable],
    truth: Mapping[Hashable, Hashable],
    frames: Mapping[Hashable, int],
) -> Scores:
    """Compare ids of tracks, each counted with its number of `frames`; keys name the tracks.

    IDF1, IDP and IDR (Ristani et al., 2016, arXiv:1609.01775) match each true person with one
    predicted id at most, so that most frames agree: IDTP. They differ only by tracks that one side
    lacks: one that is in `truth` alone was missed, one in `predicted` alone is false. Where both
    name the same tracks all three are one figure.
    AssA (Luiten et al., 2020, arXiv:2009.07736) is the mean, over the frames that both sides name,
    of ``both / (own frames of the predicted id + of the person - both)``. There is one
    localisation, that of the tracks, so it has no thresholds to be averaged over.

    Raises ValueError where no track is named by both sides.
    """
    from scipy.optimize import linear_sum_assignment

    shared = [key for key in truth if key in predicted and frames[key]]
    if not shared:
        raise ValueError("No track has both a predicted and a true id; give ids of the same ones.")
    guesses = {name: row for row, name in enumerate(dict.fromkeys(predicted.values()))}
    people = {name: column for column, name in enumerate(dict.fromkeys(truth.values()))}
    both = np.zeros((len(guesses), len(people)))
    for key in shared:
        both[guesses[predicted[key]], people[truth[key]]] += frames[key]
    guessed, real = np.zeros((len(guesses), 1)), np.zeros((1, len(people)))
    for key, name in predicted.items():
        guessed[guesses[name], 0] += frames[key]
    for key, name in truth.items():
        real[0, people[name]] += frames[key]
    right = both[linear_sum_assignment(both, maximize=True)].sum()
    union = guessed + real - both
    accuracy = (both**2 / np.where(union > 0, union, 1)).sum() / both.sum()
    return Scores(
        idf1=float(2 * right / (guessed.sum() + real.sum())),
        idp=float(right / guessed.sum()),
        idr=float(right / real.sum()),
        assa=float(accuracy),
    )
