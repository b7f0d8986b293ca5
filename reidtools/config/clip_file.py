"""What `clip_document` and `clip_training` share: a file of CLIP-ReID while it is translated."""

from typing import Any

from reidtools.registry import BACKBONES, options

Flat = dict[str, Any]
Tree = dict[str, Any]

CLIP = {"RN50": "clip_rn50", "ViT-B-16": "clip_vit_b16", "ViT-B/16": "clip_vit_b16"}


class ClipFile:
    """A flat tree that is translated in place, the sentences about it, and what kind of file it is.

    `staged` says that it has stages, and `stage` which of them is wanted, else 0; `clip` that the
    backbone is a tower of CLIP, `transformer` that it is a ViT of TransReID.
    """

    def __init__(self, flat: Flat):
        self.flat, self.notes = flat, []
        for key in [key for key in flat if key.startswith(("HYDRA.", "SOLVER.STAGE.NOTES"))]:
            self.notes += flat.pop(key)  # sentences of those who read the file before
        self.staged = "SOLVER.STAGE.NUMBER" in flat
        self.stage = int(flat.pop("SOLVER.STAGE.NUMBER", 0))
        self.document = is_document(flat)
        name, _ = self.backbone()
        self.clip = name in CLIP or name in CLIP.values()
        self.transformer = name == "transformer"

    def read(self, key: str, ours: Flat) -> None:
        """Put `ours` in the place of their `key`."""
        value = self.flat.pop(key)
        self.flat.update(ours)
        told = " and ".join(f"{new} {worth}" for new, worth in ours.items())
        self.notes.append(f"{key} {value} is read as {told}.")

    def leave_out(self, key: str, reason: str) -> None:
        """Take `key` away."""
        self.notes.append(f"{key} {self.flat.pop(key)} has no effect here: {reason}.")

    def choose(self, node: str, name: str) -> None:
        """Fill a slot with `name`; options that a base file gave another component go."""
        if self.flat.get(f"{node}.NAME", name) != name:
            for key in [key for key in self.flat if key.startswith(f"{node}.")]:
                del self.flat[key]
        self.flat[f"{node}.NAME"] = name

    def backbone(self) -> tuple[str, set[str]]:
        """The backbone's name so far, and the names of its options."""
        name = str(self.flat.get("MODEL.NAME") or self.flat.get("MODEL.BACKBONE.NAME", "resnet50"))
        return name, {k.upper() for k in options(BACKBONES[name])} if name in BACKBONES else set()


def is_document(flat: Flat) -> bool:
    """Whether `flat`, a file or several over each other, is a document of theirs."""
    return "MODEL.NAME" in flat and "MODEL.PRETRAIN_CHOICE" in flat
