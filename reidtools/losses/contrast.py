"""What pictures and texts have in common: contrastive losses between two sets of features."""

import torch
from torch import Tensor
from torch.nn import functional as F


def supcon(
    a: Tensor, b: Tensor, a_pids: Tensor, b_pids: Tensor, temperature: float = 1.0
) -> Tensor:
    """Supervised contrast (Khosla et al., arXiv:2004.11362) of rows of `a` against all of `b`.

    ``-log softmax_j(a_i . b_j / temperature)`` at every j of the same person, averaged over these
    j, then over i; as in stage 1 of CLIP-ReID (arXiv:2211.13977), features are not normalised. A
    row of `a` whose person is not in `b` has nothing to be near to and counts 0.

    (N, D), (M, D), (N,), (M,) -> scalar.
    """
    log_probabilities = (a @ b.T / temperature).log_softmax(1)  # (N, M)
    same = a_pids[:, None] == b_pids[None]
    losses = -log_probabilities.where(same, 0).sum(1) / same.sum(1).clamp(min=1)
    return losses.mean()


def image_to_text(images: Tensor, texts: Tensor, pids: Tensor, epsilon: float) -> Tensor:
    """Which of the people's texts describes the picture? Stage 2 of CLIP-ReID (arXiv:2211.13977).

    Cross-entropy of ``images @ texts.T``, of features as they are, with `epsilon` of the target
    spread over all C people.

    (B, D), one text for each person (C, D), (B,) labels below C -> scalar.
    """
    return F.cross_entropy(images @ texts.T, pids, label_smoothing=epsilon)


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Row i of `a` belongs to row i of `b` and to no other, and vice versa: how CLIP is trained.

    Cross-entropy of cosines over `temperature` (CLIP has 0.07 at first), mean of both directions
    (Radford et al., arXiv:2103.00020). (B, D), (B, D) -> scalar. `ValueError` if rows do not pair.
    """
    if len(a) != len(b):
        raise ValueError(f"There are {len(a)} and {len(b)} rows to pair; give one for each other.")
    cosines = F.normalize(a) @ F.normalize(b).T / temperature  # (B, B)
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own)) / 2
