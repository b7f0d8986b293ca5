"""Samplers that mix domains: as many pictures of every camera, or of every training set."""

import logging
from collections.abc import Sequence

from reidtools.data.samplers import GroupSampler, places_of
from reidtools.registry import SAMPLERS

LOG = logging.getLogger("reidtools")


class _EqualParts(GroupSampler):
    """Batches with equally many pictures of `count` (0: all) of the domains in `labels`."""

    kind, key = "domain", ""

    def __init__(self, labels: Sequence[int], batch_size: int, seed: int, count: int):
        domains, key = places_of(labels), f"DATALOADER.SAMPLER.{self.key}"
        if len(domains) < 2:
            raise ValueError(
                f"{type(self).__name__} mixes {self.kind}s, and there is one {self.kind} to train "
                "on; add others, or set DATALOADER.SAMPLER.NAME RandomSampler."
            )
        if not 0 <= count <= len(domains):
            raise ValueError(
                f"{key} is {count}, and there are {len(domains)} {self.kind}s; choose as many or "
                "fewer, or 0 for all."
            )
        together = count or len(domains)
        if batch_size % together:
            raise ValueError(
                f"A batch of {batch_size} cannot hold equally many pictures of {together} "
                f"{self.kind}s; make SOLVER.IMS_PER_BATCH a multiple of {together}, or set {key}."
            )
        super().__init__(domains, together, batch_size // together, seed)
        shown = len(self) * batch_size
        if shown < len(labels) / 2:
            LOG.warning(
                "An epoch shows %d of %d pictures, because it ends where the %s with the fewest, "
                "%d, has none left; lower %s.",
                shown,
                len(labels),
                self.kind,
                min(map(len, domains.values())),
                key,
            )


@SAMPLERS
class RandomDomainSampler(_EqualParts):
    """Batches with equally many pictures of `n_domain` cameras, each a domain (torchreid's).

    0 is all cameras. Cameras are drawn anew for every batch, in proportion to the pictures they
    have left, and no picture comes twice in an epoch unless its camera has fewer than a batch takes
    of it. An epoch ends where too few cameras have pictures left: with 0, where the first has none.
    Cameras of different training sets are different ones. A batch may have no two pictures of a
    person: for losses that need no pairs.
    https://kaiyangzhou.github.io/deep-person-reid/pkg/data.html
    """

    kind, key = "camera", "N_DOMAIN"

    def __init__(self, camids: Sequence[int], batch_size: int, seed: int, *, n_domain: int = 0):
        super().__init__(camids, batch_size, seed, n_domain)


@SAMPLERS
class RandomDatasetSampler(_EqualParts):
    """Batches with equally many pictures of `n_dataset` training sets (torchreid's).

    0 is all of DATASETS.NAMES: then an epoch ends where the smallest set has been shown once.
    Otherwise as `RandomDomainSampler`, with sets for cameras.
    https://kaiyangzhou.github.io/deep-person-reid/pkg/data.html
    """

    kind, key = "training set", "N_DATASET"

    def __init__(self, sources: Sequence[int], batch_size: int, seed: int, *, n_dataset: int = 0):
        super().__init__(sources, batch_size, seed, n_dataset)
