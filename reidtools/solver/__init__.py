"""How weights move: optimizers, learning rates over time, and gradients that are clipped."""

from reidtools.solver.clipping import make_clipper
from reidtools.solver.optimizers import make_optimizer
from reidtools.solver.schedules import make_schedule

__all__ = ["make_clipper", "make_optimizer", "make_schedule"]
