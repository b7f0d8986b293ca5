"""A model that tells the mean colour of what it sees, and videos of coloured people."""

import numpy as np
import torch
from torch import nn

from reidtools.modeling import Embedder, Preparation
from reidtools.registry import HEADS


class MeanColour(nn.Module):
    """Vectors of three values: mean red, green and blue of a picture, from 0 to 255."""

    dim, pooled = 3, True

    def forward(self, images):
        assert len(images) <= 128
        return images.mean((2, 3))


def colour_model(size=(8, 4)):
    head = HEADS.build("Linear", {"dim": 3, "pooled": True}, {})
    return Embedder(MeanColour(), head, None, Preparation(size, torch.Tensor.float)).eval()


def draw(people, height=48, width=64):
    """A black frame, BGR, with a filled box for each (left, top, width, height, RGB)."""
    frame = np.zeros((height, width, 3), np.uint8)
    for left, top, wide, high, colour in people:
        frame[top : top + high, left : left + wide] = colour[::-1]
    return frame


RED, GREEN, BLUE = (200, 0, 0), (0, 180, 0), (0, 0, 160)


def scene(number):
    """Frame `number` of a film in which red walks right, green stands, blue comes in frame 3."""
    people = [(2 * number, 4, 6, 12, RED), (40, 20, 8, 16, GREEN)]
    return draw(people + [(20, 30, 6, 12, BLUE)] * (number >= 3))


def rows(count):
    """The tracks of that film, in the words of MOTChallenge."""
    lines = []
    for number in range(1, count + 1):
        lines.append(f"{number},1,{2 * number},4,6,12,1,-1,-1,-1")
        lines.append(f"{number},2,40,20,8,16,1,-1,-1,-1")
        if number >= 3:
            lines.append(f"{number},3,20,30,6,12,1,-1,-1,-1")
    return "\n".join(lines) + "\n"
