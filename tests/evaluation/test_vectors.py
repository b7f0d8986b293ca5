import pytest
import torch
from torch import nn

from reidtools.evaluation import Vectors, embed


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        assert not self.training
        return images, self.weight * images


def batch(values):
    count = len(values)
    return {
        "images": torch.tensor(values).view(count, 1),
        "pids": torch.arange(count),
        "camids": torch.zeros(count, dtype=torch.long),
        "paths": [f"{value}.jpg" for value in values],
    }


def test_embed_joins_batches_and_leaves_the_model_in_its_mode():
    model = Twice().train()
    found = embed(model, [batch([1.0, 2.0]), batch([3.0])])
    assert found.vectors.tolist() == [[2.0], [4.0], [6.0]]
    assert found.pids.tolist() == [0, 1, 0]
    assert found.paths == ["1.0.jpg", "2.0.jpg", "3.0.jpg"]
    assert model.training and not found.vectors.requires_grad


def test_nothing_to_embed_is_an_error():
    with pytest.raises(ValueError, match="no pictures"):
        embed(Twice(), [])


def test_vectors_check_themselves():
    ids = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"equally many.*'vectors': 3"):
        Vectors(torch.zeros(3, 4), ids, ids)
    with pytest.raises(ValueError, match=r"1 of 2 vectors.*b\.jpg"):
        Vectors(torch.tensor([[1.0], [torch.nan]]), ids, ids, ["a.jpg", "b.jpg"])
