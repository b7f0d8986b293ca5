import pytest
import torch
from torch import nn

from reidtools.modeling import Embedder
from reidtools.modeling.heads.part_necks import PartNecks
from reidtools.registry import HEADS

PARTS = (2, 1, 1)  # a global feature and two local ones
ROWS = torch.tensor([[1.0, 2.0, 4.0, 8.0], [3.0, 6.0, 0.0, 4.0]])


def test_losses_see_each_part_whole_and_classifiers_its_batch_norm():
    found = PartNecks(4, True, PARTS).branches(ROWS)
    assert [part.tolist() for part in found["features"]] == [
        [[1, 2], [3, 6]],
        [[4], [0]],
        [[8], [4]],
    ]
    # Each column has two values: batch norm makes the lower one -1, the higher one 1.
    signs = ([[-1.0, -1.0], [1.0, 1.0]], [[1.0], [-1.0]], [[1.0], [-1.0]])
    for part, expected in zip(found["embeddings"], signs, strict=True):
        torch.testing.assert_close(part, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_the_global_half_and_the_local_half():
    assert PartNecks(4, True, PARTS).shares == {
        "features": (0.5, 0.25, 0.25),
        "embeddings": (0.5, 0.25, 0.25),
    }
    five = PartNecks(10, True, (2,) * 5)
    assert five.shares["features"] == (0.5, *[0.125] * 4)
    assert five.widths == {"features": (2,) * 5, "embeddings": (2,) * 5}


@pytest.mark.parametrize(("test_feat", "shift"), [("before", 0.0), ("after", 2.0)])
def test_tests_take_local_features_divided_by_their_number(test_feat, shift):
    head = PartNecks(4, True, PARTS, test_feat=test_feat).eval()
    for name in ("neck", "neck_1", "neck_2"):
        nn.init.constant_(getattr(head, name).running_mean, 2.0)  # what a neck takes off
    features, embeddings = head(ROWS)
    assert torch.equal(features, ROWS) and (head.feature_dim, head.dim) == (4, 4)
    expected = (ROWS - shift) / torch.tensor([1.0, 1.0, 2.0, 2.0])
    torch.testing.assert_close(embeddings, expected, rtol=1e-4, atol=1e-4)


def test_necks_as_built_may_be_absent_from_a_file():
    head = PartNecks(4, True, PARTS, test_feat="after").eval()
    assert head.passthrough == set(head.state_dict())
    expected = ROWS / torch.tensor([1.0, 1.0, 2.0, 2.0])
    torch.testing.assert_close(head(ROWS)[1], expected, rtol=1e-4, atol=1e-4)


def test_shifts_of_necks_are_not_trained():
    head = PartNecks(4, True, PARTS)
    trained = {name for name, weight in head.named_parameters() if weight.requires_grad}
    assert trained == {"neck.weight", "neck_1.weight", "neck_2.weight"}


def test_a_tracklet_has_the_mean_of_its_frames_in_every_part():
    class Pixels(nn.Module):
        """The four numbers of which a picture is made here."""

        def forward(self, images):
            return images.flatten(1)[:, :4]

    model = Embedder(Pixels(), PartNecks(4, True, PARTS)).eval()
    frames = torch.rand(2, 5, 3, 2, 2)
    features, embeddings = model(frames)
    torch.testing.assert_close(features, frames.flatten(2)[:, :, :4].mean(1))
    torch.testing.assert_close(embeddings[:, 2:], features[:, 2:] / 2)


@pytest.mark.parametrize("parts", [(), (4,), (2, 1)])
def test_one_feature_has_no_parts(parts):
    with pytest.raises(ValueError, match=r"transreid_vit_base with JPM True, or the head BNNeck"):
        HEADS.build("PartNecks", {"dim": 4, "pooled": True, "parts": parts}, {})
    with pytest.raises(LookupError, match="Did you mean 'before'"):
        PartNecks(4, True, PARTS, test_feat="befor")
