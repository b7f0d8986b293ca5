"""Pictures and their captions, as CLIP itself was trained."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reidtools.losses.contrast import info_nce
from reidtools.ops.transfer import sent
from reidtools.registry import LOSSES


@LOSSES
class CaptionLoss(nn.Module):
    """Symmetric InfoNCE between pictures and captions (CLIP; Radford et al., 2021,
    arXiv:2103.00020), which trains both towers: an optional stage before the prompts of CLIP-ReID.

    Of several captions of a picture one is drawn each time. Every picture of the training set must
    have one: set DATASETS.CAPTIONED_ONLY.

    Args:
        text: the text tower of CLIP, a `TextTower`; it is trained.
        captions: of each picture of the training set its captions.
        temperature: by which cosines are divided; fixed.
    """

    def __init__(
        self,
        text: Any,
        captions: Sequence[Sequence[str]] | None,
        *,
        temperature: float = 0.07,
    ):
        super().__init__()
        if not captions or not all(captions):
            raise ValueError(
                "CaptionLoss needs a caption of every training picture; set DATASETS.CAPTIONS to "
                "the file that tools/prepare_captions.py writes, and DATASETS.CAPTIONED_ONLY True."
            )
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature}; choose one above 0, such as 0.07.")
        self.text, self.temperature = text, temperature
        counts = torch.tensor([len(texts) for texts in captions])
        tokens = text.read([text for texts in captions for text in texts])
        self.tokens: Tensor
        self.first: Tensor
        self.counts: Tensor
        self.register_buffer("tokens", tokens, persistent=False)  # (M, N)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)  # (N,)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, joint: Tensor, index: Tensor, amp: torch.dtype | None) -> Tensor:
        """Features (B, D) of pictures, their places (B,) in the training set -> scalar."""
        # On the CPU, so that a run repeats whatever the device.
        share = sent(torch.rand(len(index)), joint.device)
        rows = self.first[index] + (share * self.counts[index]).long()
        with torch.autocast(joint.device.type, amp, enabled=amp is not None):
            texts = self.text.encode(self.tokens[rows]).float()
        return info_nce(joint, texts, self.temperature)
