"""One step of training in several processes: `DistributedDataParallel` around model and losses."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reidtools import processes
from reidtools.engine.sharding import shard, whole_of

# Its name since torch 2.15, and before.
NAMES = ("forward_sync_buffers", "broadcast_buffers")
SYNC_BUFFERS = next(n for n in NAMES if n in signature(DistributedDataParallel).parameters)


class Step(nn.Module):
    """``step(batch) -> losses``: a `model` and an `objective` as the one module that DDP wants."""

    def __init__(self, model: nn.Module, objective: nn.Module):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.objective(self.model, batch)


class Parallel:
    """Makes the gradients of a `step` the mean over all processes, whatever wants one just now.

    With a copy of its model, which lies on the CPU, its weights are divided among them; `whole` is
    then that copy, as of the last `gather`. See `sharding`.
    """

    def __init__(self, step: Step, whole: nn.Module | None = None):
        self.step, self.whole = step, whole
        self._trained: list[bool] = []
        self._run: nn.Module = step
        if whole:
            shard(step, step.model.backbone)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The losses of a batch, or of this process's part of it."""
        trained = [weight.requires_grad for weight in self.step.parameters()]
        if processes.count() > 1 and not self.whole and trained != self._trained:
            # DDP counts on the weights that wanted a gradient when it was made; MODEL.FREEZE_LAYERS
            # changes them.
            self._trained = trained
            self._run = DistributedDataParallel(
                self.step,
                find_unused_parameters=True,  # a head for losses that no config asked for
                gradient_as_bucket_view=True,
                **{SYNC_BUFFERS: False},  # see `agree`
            )
        return self._run(batch)

    def alone(self) -> AbstractContextManager:
        """In it gradients stay with their process, to be added to those of the next batch."""
        run = self._run
        return run.no_sync() if isinstance(run, DistributedDataParallel) else nullcontext()

    def gather(self) -> dict[str, Any]:
        """The state dict of the model, whose weights are put together if they are divided."""
        state = whole_of(self.step.model.state_dict())
        if self.whole:
            self.whole.load_state_dict(state)
        return state

    @contextmanager
    def tested(self, model: nn.Module) -> Iterator[nn.Module]:
        """`model` where it can be tested: the copy is on the device for the time of the block."""
        if model is not self.whole:
            yield model
            return
        try:
            yield model.to(next(self.step.parameters()).device)
        finally:
            model.cpu()

    def agree(self, *modules: nn.Module) -> None:
        """Give all processes the mean of what each has counted itself, such as running statistics.

        Statistics of single batches are what training computes with, so that these means are only
        wanted where a model is tested or kept.
        """
        if processes.count() == 1:
            return
        buffers = {id(b): b for module in modules for b in module.buffers()}
        processes.mean([b for b in buffers.values() if b.is_floating_point()])
