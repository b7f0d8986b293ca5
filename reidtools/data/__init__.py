"""From folders to batches. Importing this room registers every dataset and sampler."""

from reidtools.data import datasets, samplers

__all__ = ["datasets", "samplers"]
