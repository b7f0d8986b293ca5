"""From folders to batches. Importing this room registers every dataset and sampler."""

from reidtools.data import datasets, graph_sampler, samplers, samplers_domains, samplers_people

__all__ = ["datasets", "graph_sampler", "samplers", "samplers_domains", "samplers_people"]
