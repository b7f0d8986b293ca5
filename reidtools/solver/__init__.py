"""How weights move: optimizers, and learning rates over time."""

from reidtools.solver.optimizers import make_optimizer
from reidtools.solver.schedules import make_schedule

__all__ = ["make_optimizer", "make_schedule"]
