"""Batches of facts that are known, in place of pictures."""

import torch

from reidtools.data.cached import CachedBatches
from reidtools.data.samplers import RandomSampler


class Fixed:
    """A sampler of two batches; the one of the second epoch is another."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 2 - self.epoch

    def __iter__(self):
        return iter([[2, 0], [1]] if self.epoch == 0 else [[0, 0, 2]])


FACTS = {
    "joint": (torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),),
    "features": (torch.tensor([[10.0], [20.0], [30.0]]), torch.tensor([[7.0], [8.0], [9.0]])),
    "pids": torch.tensor([4, 5, 6]),
    "index": torch.arange(3),
}
PATHS = ["a.jpg", "b.jpg", "c.jpg"]


def test_a_batch_has_the_rows_that_the_sampler_names():
    first, second = CachedBatches(FACTS, PATHS, Fixed())
    assert first["pids"].tolist() == [6, 4] and second["pids"].tolist() == [5]
    assert first["index"].tolist() == [2, 0] and first["paths"] == ["c.jpg", "a.jpg"]
    assert [rows.tolist() for rows in first["joint"]] == [[[5.0, 6.0], [1.0, 2.0]]]
    assert [rows.tolist() for rows in first["features"]] == [[[30.0], [10.0]], [[9.0], [7.0]]]
    assert "images" not in first  # by which an objective knows that there is nothing to embed


def test_epochs_are_those_of_the_sampler():
    batches = CachedBatches(FACTS, PATHS, Fixed())
    assert len(batches) == 2
    batches.set_epoch(1)
    assert len(batches) == 1
    (only,) = batches
    assert only["pids"].tolist() == [4, 4, 6] and only["paths"] == ["a.jpg", "a.jpg", "c.jpg"]


def test_every_sample_comes_once_an_epoch_from_a_sampler_that_shuffles():
    batches = CachedBatches(FACTS, PATHS, RandomSampler([4, 5, 6], 2, 0, drop_last=False))
    for epoch in range(3):
        batches.set_epoch(epoch)
        assert sorted(i for batch in batches for i in batch["index"].tolist()) == [0, 1, 2]


def test_they_lie_where_the_facts_lie():
    assert CachedBatches(FACTS, PATHS, Fixed()).device == torch.device("cpu")
