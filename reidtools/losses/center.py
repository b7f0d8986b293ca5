"""Centre loss: every person has a centre, and pictures should be near their person's."""

import torch
from torch import Tensor, nn

from reidtools.registry import LOSSES


def center_loss(features: Tensor, centers: Tensor, pids: Tensor) -> Tensor:
    """Mean of ``|f_i - c_yi|^2``, each held within 1e-12 .. 1e12.

    (B, D), (C, D), (B,) labels below C -> scalar.
    """
    squares = (features - centers[pids]).pow(2).sum(1)
    return squares.clamp(1e-12, 1e12).mean()


@LOSSES
class CenterLoss(nn.Module):
    """Squared distance of features to the centre of their person (Wen et al., ECCV 2016).

    https://ydwen.github.io/papers/WenECCV16.pdf. Give it WEIGHT 0.0005, as bag of tricks does
    (arXiv:1903.07071); the default weight of 1 drowns every other loss.

    The centres, drawn from N(0, 1), are no parameters: each training forward moves them one step
    of gradient descent of size `lr` on the unweighted loss, after the loss was taken. That is what
    others do with a second SGD whose gradients are divided by the weight; `lr` 0 freezes them.
    """

    def __init__(self, dim: int, num_people: int, *, lr: float = 0.5):
        super().__init__()
        if lr < 0:
            raise ValueError(f"lr is {lr} and would drive centres away; choose 0 or more.")
        self.lr = lr
        self.centers: Tensor
        self.register_buffer("centers", torch.randn(num_people, dim))  # (C, D)

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """(B, D) before the neck, (B,) labels -> scalar."""
        loss = center_loss(features, self.centers, pids)
        if self.training:
            self._follow(features.detach().to(self.centers.dtype), pids)
        return loss

    @torch.no_grad()
    def _follow(self, features: Tensor, pids: Tensor) -> None:
        own = self.centers[pids]  # (B, D)
        # Every picture of a person computes the same new centre, so that the write below needs no
        # atomic additions, whose order (hence rounding) changes from run to run on a GPU.
        same = (pids[:, None] == pids[None]).to(own.dtype)  # (B, B)
        pull = 2 / len(pids) * (same @ (features - own))
        self.centers[pids] = own + self.lr * pull
