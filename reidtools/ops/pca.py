"""Principal components: the few axes along which vectors differ most."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Vectors = Tensor | np.ndarray


class Pca(NamedTuple):
    """Axes through the `mean` (D,) of vectors: `components` (K, D), orthonormal, widest first.

    `variances` (K,) are those of the vectors along the axes, with N - 1 in the denominator. All are
    float64. Of an axis, whose direction is chance, the largest absolute value is made positive.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    def transform(self, vectors: Vectors) -> Tensor:
        """Where `vectors` (N, D) lie on the axes; float64 (N, K).

        Raises ValueError for vectors of another length.
        """
        given = torch.as_tensor(vectors)
        if given.ndim != 2 or given.shape[1] != len(self.mean):
            raise ValueError(
                f"These principal components are of vectors of {len(self.mean)} values, and the "
                f"vectors given are {tuple(given.shape)}; give (N, {len(self.mean)}), from the "
                "model that they were fitted with."
            )
        return (given.double() - self.mean) @ self.components.T


def fit(vectors: Vectors, components: int) -> Pca:
    """The principal components of `vectors` (N, D): at most `components`, N - 1 and D of them.

    N - 1, because N points less their mean span no more (Pearson, 1901,
    https://doi.org/10.1080/14786440109462720). They are found in float64, from the vectors and not
    from their covariance, whose small variances would drown in rounding. Raises ValueError for
    fewer than two vectors or one component, and for values that are no numbers.
    """
    given = torch.as_tensor(vectors).double()
    if given.ndim != 2 or len(given) < 2 or not given.shape[1]:
        raise ValueError(
            f"Principal components were asked for of vectors {tuple(given.shape)}; give two or "
            "more, (N, D)."
        )
    if components < 1:
        raise ValueError(f"{components} components hold nothing; ask for 1 or more.")
    if not given.isfinite().all():
        raise ValueError("Some of the vectors have values that are no numbers; leave them out.")
    mean = given.mean(0)
    centred = given - mean
    if len(centred) > centred.shape[1]:  # R has the same axes, in D rows instead of N
        centred = torch.linalg.qr(centred, mode="r").R
    _, lengths, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = min(components, len(given) - 1, given.shape[1])
    lengths, axes = lengths[:kept], axes[:kept]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return Pca(mean, axes * largest.sign(), lengths.square() / (len(given) - 1))
