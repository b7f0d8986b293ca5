"""Parts of a model that stay as they are while the rest learns, such as a new head."""

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn

from reidtools.registry import unknown

LOGGER = logging.getLogger("reidtools")


class Freezing:
    """Keeps the parts of `model` called `names` as they are for a while, or to the end.

    They are names of modules or weights, such as ``backbone``, ``backbone.layer1`` or
    ``backbone.pos_embed``. A frozen part is in evaluation mode, so that its batch norms keep their
    statistics, and gets no gradient, which saves the way back through it unless something before it
    learns (FastReID's FREEZE_LAYERS; fixbase_epoch and open_layers of torchreid are the same idea).
    Weights that wanted no gradient before get none afterwards either.

    It lasts `iterations`, or `epochs`, or for 0 of both to the end. When it ends depends on where
    the run stands only, so that a run that is resumed thaws when it would have.

    Errors: `LookupError` for a name that `model` does not have, `ValueError` for lengths that
    contradict each other.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], iterations: int = 0, epochs: int = 0
    ):
        if iterations and epochs:
            raise ValueError(
                f"Layers are frozen for {iterations} iterations and for {epochs} epochs; set one "
                "of SOLVER.FREEZE_ITERS and SOLVER.FREEZE_EPOCHS to 0."
            )
        self.model, self.names = model, tuple(names)
        self.iterations, self.epochs = iterations, epochs
        parts = [_part(model, name) for name in names]
        self.modules = [part for part in parts if isinstance(part, nn.Module)]
        found = [w for part in self.modules for w in part.parameters()]
        found += [part for part in parts if isinstance(part, nn.Parameter)]
        # By identity, because parts may lie in one another.
        self.weights = list({id(w): w for w in found if w.requires_grad}.values())
        self.now = False

    def holds(self, epoch: int, iteration: int) -> bool:
        """Whether the parts are frozen after so many epochs and iterations."""
        if self.epochs:
            return epoch < self.epochs
        return not self.iterations or iteration < self.iterations

    def at(self, epoch: int, iteration: int) -> None:
        """Freeze or thaw the parts as it should be there."""
        holds = self.holds(epoch, iteration)
        if holds != self.now:
            self.now = holds
            for weight in self.weights:
                weight.requires_grad_(not holds)
            names = ", ".join(self.names)
            what = "frozen" if holds else "trained"
            LOGGER.info("From iteration %d on %s: %s", iteration, what, names)
            if not holds:
                self.model.train()
        if holds:  # each time, because whoever embeds in between sets the mode of the whole model
            for module in self.modules:
                module.eval()


def _part(model: nn.Module, name: str) -> nn.Module | nn.Parameter:
    """The module or weight called `name`; an unknown one is told with its neighbours' names."""
    part: Any = model
    above = "the model"
    for word in name.split("."):
        inside: dict[str, Any] = {}
        if isinstance(part, nn.Module):
            inside = {**dict(part.named_children()), **part._parameters}
        if inside.get(word) is None:
            raise unknown(f"part of {above} in MODEL.FREEZE_LAYERS", word, inside)
        part, above = inside[word], name[: name.index(word) + len(word)]
    return part
