"""What `clip_document` and `clip_training` share: a file of CLIP-ReID while it is translated."""

from reidtools.config.trees import Tree as Flat
from reidtools.config.trees import make_room
from reidtools.registry import BACKBONES, options

CLIP = {"RN50": "clip_rn50", "ViT-B-16": "clip_vit_b16"}


class ClipFile:
    """A flat tree that is translated in place, the sentences about it, and what kind of file it is.

    `stage` is the one that is wanted, None for a file without stages; `clip` says that the backbone
    is a tower of CLIP, `transformer` that it is a ViT of TransReID.
    """

    def __init__(self, flat: Flat, stage: int | None):
        self.flat, self.stage, self.staged = flat, stage, stage is not None
        self.notes: list[str] = []
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
        make_room(self.flat, node, name)
        self.flat[f"{node}.NAME"] = name

    def backbone(self) -> tuple[str, set[str]]:
        """The backbone's name so far, and the names of its options."""
        name = str(self.flat.get("MODEL.NAME") or self.flat.get("MODEL.BACKBONE.NAME", "resnet50"))
        return name, {k.upper() for k in options(BACKBONES[name])} if name in BACKBONES else set()


def is_document(flat: Flat) -> bool:
    """Whether `flat`, a file or several over each other, is a document of theirs."""
    return "MODEL.NAME" in flat and "MODEL.PRETRAIN_CHOICE" in flat
