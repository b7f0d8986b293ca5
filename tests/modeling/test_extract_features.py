"""An Embedder in a tracker: boxes in a frame become vectors."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reidtools.modeling import Embedder, Preparation
from reidtools.registry import HEADS


class MeanColour(nn.Module):
    dim, pooled = 3, True

    def forward(self, images):
        self.seen = [*getattr(self, "seen", []), tuple(images.shape)]
        return images.mean((2, 3))


@pytest.fixture
def model():
    head = HEADS.build("Linear", {"dim": 3, "pooled": True}, {})
    return Embedder(MeanColour(), head, None, Preparation((8, 4), torch.Tensor.float))


FRAME = np.zeros((20, 30, 3), np.uint8)
FRAME[2:12, 3:9] = (0, 0, 200)  # red, in OpenCV's order
FRAME[5:20, 20:30] = (150, 0, 0)  # blue
BOXES = np.float32([[3, 2, 9, 12], [20, 5, 99, 99]])
COLOURS = [[200, 0, 0], [0, 0, 150]]


def test_boxes_of_a_frame_become_vectors(model):
    found = model.extract_features(BOXES, FRAME)
    assert found.dtype == np.float32 and found.tolist() == COLOURS
    assert model.backbone.seen == [(2, 3, 8, 4)]


def test_detections_bring_their_boxes_and_pillow_its_own_order(model):
    """A stand-in for supervision.Detections, of which only `xyxy` is asked for."""
    detections = SimpleNamespace(xyxy=BOXES)
    picture = Image.fromarray(FRAME[:, :, ::-1].copy())
    assert model.extract_features(detections, picture).tolist() == COLOURS
    assert model.extract_embeddings(detections, FRAME).tolist() == COLOURS


def test_supervision_itself(model):
    supervision = pytest.importorskip("supervision")
    assert model.extract_features(supervision.Detections(xyxy=BOXES), FRAME).tolist() == COLOURS


def test_a_box_outside_has_zeros_and_no_box_no_row(model):
    found = model.extract_features([[50, 50, 60, 60], *BOXES.tolist()], FRAME)
    assert found.tolist() == [[0, 0, 0], *COLOURS]
    assert model.extract_features(np.zeros((0, 4)), FRAME).shape == (0, 3)


def test_many_boxes_go_in_batches(model):
    found = model.extract_features(np.repeat(BOXES, 5, 0), FRAME, batch_size=4)
    assert [shape[0] for shape in model.backbone.seen] == [4, 4, 2]
    assert found.tolist() == [COLOURS[0]] * 5 + [COLOURS[1]] * 5


def test_training_goes_on_afterwards(model):
    model.train()
    model.extract_features(BOXES, FRAME)
    assert model.training


def test_a_model_that_does_not_know_its_pictures_is_refused(model):
    model.preparation = None
    with pytest.raises(ValueError, match="reidtools.load"):
        model.extract_features(BOXES, FRAME)
