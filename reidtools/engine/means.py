"""Figures of many steps, gathered without waiting for the device at any of them."""

from typing import Any

import torch
from torch import Tensor

from reidtools import processes


class Means:
    """Means of named tensors, summed where they lie; a batch that is not `finite` is left out."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0  # of batches, those that were left out among them
        self.taken: Tensor | int = 0

    def add(self, values: dict[str, Tensor], finite: Tensor | None = None) -> None:
        """Add the `values` of a batch."""
        self.count += 1
        self.taken = self.taken + (1 if finite is None else finite)
        for name, value in values.items():
            value = value if finite is None else value.where(finite, 0)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def values(self) -> dict[str, float]:
        """The means over all processes."""
        if not self.sums:
            return {}
        sums = torch.stack([*self.sums.values()])
        row = torch.cat([sums, sums.new_ones(1) * self.taken]).cpu()  # one wait for the device
        processes.mean([row])
        return dict(zip(self.sums, (row[:-1] / row[-1]).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What has been added so far."""
        return {"sums": self.sums, "count": self.count, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with what had been added in another run."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.count, taken = state["count"], state["taken"]
        self.taken = taken.to(device) if isinstance(taken, Tensor) else taken


class Unchecked:
    """A step whose losses may not be finite; the device tells when it has come so far."""

    def __init__(self, iteration: int, losses: dict[str, Tensor], batch: dict[str, Any]):
        self.iteration, self.losses, self.batch = iteration, losses, batch
        total = losses["total"]
        self._finite = torch.isfinite(total).to("cpu", non_blocking=True)
        self._told = torch.cuda.Event() if total.is_cuda else None
        if self._told:
            self._told.record()

    def is_finite(self) -> bool:
        """Whether they are; waits for that step, not for what was queued since."""
        if self._told:
            self._told.synchronize()
        return bool(self._finite)
