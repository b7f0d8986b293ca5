"""Features moved by those of generated pictures of the same person in other poses: IPG."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from reidtools.evaluation.vectors import Vectors
from reidtools.registry import choose

REDUCE = {"mean": True, "sum": False}


@torch.no_grad()
def fuse_generated(
    vectors: Vectors,
    poses: Iterable[tuple[Vectors | None, Sequence[int]]],
    *,
    eta: float = 2.0,
    reduce: str = "mean",
) -> Vectors:
    """Identity-guided generation, IPG (Yuan et al., Pose2ID, CVPR 2025, arXiv:2503.00938).

    ``f' = norm(f + eta * mean_p f_p)``, where f_p is the feature of the picture generated in pose
    p; with `reduce` ``"sum"`` the sum over poses stands in for the mean. Pose2ID's demo has the
    mean and `eta` 2, its README the sum and 1. Features count as they are, of whatever length; the
    result has length 1.

    Each of the `poses` is the vectors (n, D) of what was generated in it and the n rows of
    `vectors` that it was generated from; None where there is nothing. Where a pose misses a row,
    the row's own feature counts for it. Poses are taken one after the other, so one at a time is
    held. Raises ValueError for no pose, rows that do not fit, other dimensions, or an `eta` below
    0; LookupError for another `reduce`.
    """
    average = choose("reduce", reduce, REDUCE)
    if not eta >= 0:
        raise ValueError(f"eta is {eta}; it must be at least 0, such as 2.")
    own = vectors.vectors
    added, counts, number = torch.zeros_like(own), own.new_zeros(len(own), 1), 0
    for generated, rows in poses:
        number += 1
        if generated is None:
            continue
        _check(vectors, generated, rows)
        places = torch.as_tensor(rows, dtype=torch.long, device=own.device)
        added[places] += generated.vectors.to(own)
        counts[places] += 1
    if not number:
        raise ValueError("There is no pose to fuse with; give the generated pictures of one.")
    added += (number - counts) * own  # what is missing is the original
    fused = own + eta * (added / number if average else added)
    fused /= torch.linalg.vector_norm(fused, dim=1, keepdim=True).clamp_(min=1e-12)
    return replace(vectors, vectors=fused)


def _check(vectors: Vectors, generated: Vectors, rows: Sequence[int]) -> None:
    """Raise ValueError unless `generated` belongs to different `rows` of `vectors`."""
    dims = vectors.vectors.shape[1], generated.vectors.shape[1]
    if dims[0] != dims[1]:
        raise ValueError(
            f"Vectors have {dims[0]} dimensions, those of generated pictures {dims[1]}; embed both "
            "with the same model."
        )
    fits = len(rows) == len(generated) and len(set(rows)) == len(rows)
    if not fits or not all(0 <= row < len(vectors) for row in rows):
        raise ValueError(
            f"A pose of {len(generated)} generated pictures names {len(rows)} rows of "
            f"{len(vectors)}; name the row of each, and none twice."
        )
