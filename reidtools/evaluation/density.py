"""How close a person's features lie to each other, and how far apart people lie."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reidtools.evaluation.vectors import Vectors
from reidtools.ops.distances import chunks


@dataclass(frozen=True)
class Density:
    """Figures of `pictures` L2-normalised features of `people`, as `density` finds them.

    `id2` is the mean squared distance of a picture to its person's mean, `intra` the mean distance,
    `inter` the mean distance of two people's means, `ratio` inter / intra (infinite where every
    picture lies on its mean).
    """

    id2: float
    intra: float
    inter: float
    people: int
    pictures: int

    @property
    def ratio(self) -> float:
        return self.inter / self.intra if self.intra else math.inf

    def figures(self) -> dict[str, float]:
        """The figures by the names under which they are reported."""
        return {
            "ID2 density": self.id2,
            "intra-class distance": self.intra,
            "inter-class distance": self.inter,
            "inter/intra": self.ratio,
        }


@torch.no_grad()
def density(vectors: Vectors, *, memory_mb: int = 256) -> Density:
    """Identity-aware density of L2-normalised features (Pose2ID, CVPR 2025, arXiv:2503.00938).

    Lower `id2` is denser. Only people count, pids above 0. A mean is not normalised again, and a
    person with one picture lies on its mean. Raises ValueError for fewer than two people.
    """
    rows = (vectors.pids > 0).nonzero().flatten()
    people, labels = vectors.pids[rows].unique(return_inverse=True)
    if len(people) < 2:
        raise ValueError(
            f"Density compares people, and these vectors have {len(people)} with a pid above 0; "
            "give it vectors of two or more people."
        )
    means = person_means(vectors.vectors, rows, labels, memory_mb)
    squares = squared_deviations(vectors.vectors, rows, labels, means, memory_mb)
    total = 0.0
    for part, distances in chunks(means, means, "euclidean", memory_mb):
        distances.diagonal(part.start).zero_()
        total += distances.sum(dtype=torch.double).item()
    return Density(
        id2=squares.mean(dtype=torch.double).item(),
        intra=squares.sqrt().mean(dtype=torch.double).item(),
        inter=total / (len(people) * (len(people) - 1)),
        people=len(people),
        pictures=len(rows),
    )


def person_means(features: Tensor, rows: Tensor, labels: Tensor, memory_mb: int = 256) -> Tensor:
    """Means of the L2-normalised ``features[rows]`` by their `labels` 0 … P - 1; (N, D) -> (P, D).

    The means are not normalised.
    """
    counts = torch.bincount(labels).to(features)
    means = features.new_zeros(len(counts), features.shape[1])
    for label, part in _blocks(features, rows, labels, memory_mb):
        means.index_add_(0, label, part)
    return means.div_(counts[:, None])


def squared_deviations(
    features: Tensor, rows: Tensor, labels: Tensor, means: Tensor, memory_mb: int = 256
) -> Tensor:
    """Squared distance of each L2-normalised ``features[rows]`` to its person's mean; (n,)."""
    return torch.cat(
        [
            part.sub_(means[label]).square_().sum(1)
            for label, part in _blocks(features, rows, labels, memory_mb)
        ]
    )


def _blocks(
    features: Tensor, rows: Tensor, labels: Tensor, memory_mb: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(labels, normalised features) of `rows`, block by block: never a copy of all features."""
    # Picked, normalised and compared with its means, a block exists three times; small ones are
    # faster, as they stay in the cache.
    block = max(1, min(memory_mb, 16) * 2**20 // (3 * features.element_size() * features.shape[1]))
    for row, label in zip(rows.split(block), labels.split(block), strict=True):
        yield label.to(features.device), F.normalize(features[row.to(features.device)])
