"""A trained network from which another one learns."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Teacher:
    """What a trained `network` says of the pictures that its student sees.

    It is no module, so no checkpoint, optimizer or count of weights of the student has it. It goes
    to where the pictures lie, makes no gradients, stays in evaluation mode, and computes in the
    precision around it (autocast).

    network: an `Embedder`.
    size: height and width of its pictures, to which those of the student are resized.
    pixels: scale and shift (3,), which make of the student's normalised pixels its own, or None
        where they are the same; see `between`.
    classifier: makes logits (B, C) of its people from what a classifier takes of its head; or None.
    by_camera: tell it the cameras, which then must be those that it was trained with.
    at_a_time: pictures or tracklets that it sees at a time; 0 is all.

    `dim` is the length of its vectors, `people` how many its classifier tells apart, 0 without one.
    """

    def __init__(
        self,
        network: Any,
        size: tuple[int, int],
        pixels: tuple[Tensor, Tensor] | None = None,
        classifier: Callable[[Tensor], Tensor] | None = None,
        people: int = 0,
        by_camera: bool = False,
        at_a_time: int = 0,
    ):
        self.network: Any = network.requires_grad_(False).eval()
        self.classifier = classifier.eval() if isinstance(classifier, nn.Module) else classifier
        self.size, self.pixels = tuple(size), pixels
        self.dim, self.people = network.dim, people if classifier else 0
        self.by_camera, self.at_a_time = by_camera, at_a_time

    @torch.no_grad()
    def __call__(self, images: Tensor, camids: Tensor | None = None) -> dict[str, Tensor]:
        """(B, [T,] 3, H, W), normalised for the student -> ``embeddings`` (B, dim), float32.

        With a classifier ``logits`` (B, people) as well. `camids` are (B,).
        """
        self._move_to(images.device)
        each = self.at_a_time or len(images)
        cameras = camids if self.by_camera else None
        parts = []
        for first in range(0, len(images), each):
            some = cameras[first : first + each] if cameras is not None else None
            parts.append(self._see(images[first : first + each], some))
        return {name: torch.cat([part[name] for part in parts]).float() for name in parts[0]}

    def _see(self, images: Tensor, camids: Tensor | None) -> dict[str, Tensor]:
        frames = self.network.frames(*self.network.in_a_row(self._own(images), camids))
        features = self.network.join(frames, len(images))
        found = {"embeddings": self.network.heads.embed(features)}
        if self.classifier:
            (embeddings,) = self.network.heads.branches(features)["embeddings"]
            found["logits"] = self.classifier(embeddings)
        return found

    def _own(self, images: Tensor) -> Tensor:
        """The pictures as the network was trained on them."""
        flat = images.flatten(0, -4)  # frames of tracklets are resized one by one
        if tuple(flat.shape[-2:]) != self.size:
            flat = F.interpolate(flat, self.size, mode="bilinear", antialias=True)
        if self.pixels:
            scale, shift = (x.to(flat).view(3, 1, 1) for x in self.pixels)
            flat = flat * scale + shift
        return flat.unflatten(0, images.shape[:-3])

    def _move_to(self, device: torch.device) -> None:
        if self.network.device != device:
            self.network.to(device)
            if isinstance(self.classifier, nn.Module):
                self.classifier.to(device)


def between(student: Any, teacher: Any) -> tuple[Tensor, Tensor] | None:
    """Scale and shift (3,) that make of pixels normalised by `student` those by `teacher`.

    Both have a `scale` and a `shift`, by which they normalise, as `Normalize` does. None where they
    do the same.
    """
    if torch.equal(student.scale, teacher.scale) and torch.equal(student.shift, teacher.shift):
        return None
    scale = teacher.scale / student.scale
    return scale, teacher.shift - student.shift * scale
