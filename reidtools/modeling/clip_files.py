"""Checkpoints of CLIP-ReID (https://github.com/Syliz517/CLIP-ReID): what is theirs, what is ours.

Such a file is the plain state dict of one model, which has the image tower and the necks of an
`Embedder` and, beside them, what we keep in an objective: classifiers, prompts and the text tower.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

# Starts of names in a trainer's state -> in their files; the first that fits counts.
OURS_TO_THEIRS = (
    ("model.backbone.cv_embed", "cv_embed"),
    ("model.backbone.", "image_encoder."),
    ("model.heads.neck.", "bottleneck."),
    ("model.heads.neck_proj.", "bottleneck_proj."),
    ("objective.losses.CrossEntropyLoss.0.classifier.", "classifier."),
    ("objective.losses.CrossEntropyLoss.1.classifier.", "classifier_proj."),
    ("objective.losses.PromptLoss.context", "prompt_learner.cls_ctx"),
    ("objective.losses.PromptLoss.prefix", "prompt_learner.token_prefix"),
    ("objective.losses.PromptLoss.suffix", "prompt_learner.token_suffix"),
    ("objective.losses.PromptLoss.text.", "text_encoder."),
    ("objective.losses.CaptionLoss.text.", "text_encoder."),
)
TEXT = "text_encoder."
TOKENS = "token_embedding.weight"  # no file of theirs has it; captions need it


def as_published(state: Mapping[str, Any], *, tokens: bool) -> dict[str, Tensor]:
    """The model and the objective in the `state` of a trainer, with the names of CLIP-ReID.

    Without `tokens` the table of the text tower's tokens is left out, as in their files, and so is
    one that is not known, and what they have no name for.
    """
    found = {}
    for part in ("model", "objective"):
        for name, tensor in state[part].items():
            name = f"{part}.{name}"
            pair = next((p for p in OURS_TO_THEIRS if name.startswith(p[0])), None)
            known = tokens and not tensor.isnan().any() if name.endswith(TOKENS) else True
            if pair and known:
                found[pair[1] + name.removeprefix(pair[0])] = tensor
    return found


def of_objective(state: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """What a file of CLIP-ReID has for an objective whose tensors are called `own`."""
    found = {}
    for name in own:
        for ours, theirs in OURS_TO_THEIRS:
            prefix = ours.removeprefix("objective.")
            key = theirs + name.removeprefix(prefix)
            if name.startswith(prefix) and key in state:
                found[name] = state[key]
    return found


def of_text_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text tower in a file of CLIP-ReID, without its prefix; empty if it has none."""
    return {k.removeprefix(TEXT): tensor for k, tensor in state.items() if k.startswith(TEXT)}
