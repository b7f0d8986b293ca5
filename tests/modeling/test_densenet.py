import re

import pytest
import torch
from torch.nn import functional as F

from reidtools.modeling.weights import fit
from reidtools.registry import BACKBONES

IMAGES = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs():
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.densenet121(weights=None).eval()


def test_equals_torchvision_with_the_same_weights(theirs):
    ours = BACKBONES["densenet121"]()
    report = fit(ours, theirs.state_dict())
    assert report.complete and report.classifier == ["classifier.weight", "classifier.bias"]
    maps = ours.eval()(IMAGES)
    assert maps.shape == (2, 1024, 2, 1)
    assert torch.allclose(theirs.classifier(maps.mean((2, 3))), theirs(IMAGES), atol=1e-5)


def test_final_relu_can_be_left_out(theirs):
    ours = BACKBONES["densenet121"](final_relu=False)
    fit(ours, theirs.state_dict())
    maps = ours.eval()(IMAGES)
    assert maps.min() < 0
    assert torch.equal(maps, theirs.features(IMAGES))
    ours.final_relu = True
    assert torch.equal(ours(IMAGES), F.relu(maps))


def test_names_of_old_files_are_understood(theirs):
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in theirs.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert fit(BACKBONES["densenet121"](), old).complete
