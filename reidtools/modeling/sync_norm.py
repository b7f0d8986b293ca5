"""Batch norm over the pictures of all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reidtools import processes

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncedOnCpu(_BatchNorm):
    """What `torch.nn.SyncBatchNorm`, which is for GPUs only, does there."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Any shape will do."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same."""
        if not self.training:
            return super().forward(x)
        dims = [d for d in range(x.ndim) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
        own = x.new_tensor([x.numel() / x.shape[1]], dtype=torch.double)
        count = _Sum.apply(own).item()
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Sum.apply(values.sum(dims)) / count
        values = values - mean.view(shape)
        variance = _Sum.apply(values.square().sum(dims)) / count
        self._count(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        values = values * scale.view(shape)
        return (values + self.bias.view(shape) if self.affine else values).to(x.dtype)

    @torch.no_grad()
    def _count(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow."""
        if not self.track_running_stats:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _summed(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(own: Tensor) -> Tensor:
    whole = own.clone(memory_format=torch.contiguous_format)
    if processes.count() > 1:
        dist.all_reduce(whole)
    return whole


def synchronize(module: nn.Module) -> None:
    """Make every batch norm in `module` one over all processes, in place; names stay."""
    for name, child in module.named_children():
        if type(child) in PLAIN:
            setattr(module, name, _synced(child))
        elif isinstance(child, _BatchNorm):  # such as timm's, which have their activation inside
            raise ValueError(
                f"MODEL.SYNC_BN knows PyTorch's own batch norms, and this network has {name}, a "
                f"{type(child).__name__}; set it False, or choose another backbone."
            )
        else:
            synchronize(child)


def _synced(norm: _BatchNorm) -> nn.Module:
    """`norm` with its weights and statistics, over all processes."""
    if any(weight.is_cuda for weight in (*norm.parameters(), *norm.buffers())):
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    own = SyncedOnCpu(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    own._parameters, own._buffers = norm._parameters, norm._buffers
    return own.train(norm.training)
