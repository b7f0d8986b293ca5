"""Prompts: a sentence a person, of which some words are learned (CLIP-ReID, Li et al., 2023,
arXiv:2211.13977), and captions in their place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidtools.losses.contrast import image_to_text, supcon
from reidtools.registry import LOSSES

CHUNK = 256  # texts that are encoded at a time where no gradient is wanted


@LOSSES
class PromptLoss(nn.Module):
    """How well pictures go with a sentence about their person, both as CLIP sees them (CLIP-ReID,
    Li et al., 2023, arXiv:2211.13977).

    With `learn`, stage 1 of CLIP-ReID: pictures and the sentences of their people attract each
    other, in both directions, and only the words of the sentences are learned. Without, stage 2:
    the sentences stay, and classify pictures. Either way all weights of the `text` tower stay.

    Args:
        num_people: how many sentences there are.
        text: the text tower of CLIP, a `TextTower`.
        captions: of each picture of the training set its captions, maybe none; or None.
        labels: of each picture of the training set its person.
        seed: of the captions that are drawn.
        learn: learn the words (stage 1) or the pictures (stage 2).
        template: the sentence. Each X is a word that is learned, and they stand side by side.
        epsilon: label smoothing of stage 2.
        temperature: by which products are divided in stage 1; neither side is normalised.
        caption_prob: the chance that one of the captions stands in for a prompt: in stage 1 for
            each picture that has some, in stage 2 for each person.
        redraw: draw captions anew every so many epochs; 0 draws once.

    `figures` gets the share of pictures whose best sentence is that of their person
    (``top1_text``).
    """

    def __init__(
        self,
        num_people: int,
        text: Any,
        captions: Sequence[Sequence[str]] | None,
        labels: Sequence[int],
        seed: int,
        *,
        learn: bool = False,
        template: str = "A photo of a X X X X person.",
        epsilon: float = 0.1,
        temperature: float = 1.0,
        caption_prob: float = 1.0,
        redraw: int = 0,
    ):
        super().__init__()
        if (
            not 0 < temperature < float("inf")
            or not 0 <= epsilon < 1
            or not 0 <= caption_prob <= 1
            or redraw < 0
        ):
            raise ValueError(
                f"temperature {temperature} must be above 0, epsilon {epsilon} a share below 1, "
                f"caption_prob {caption_prob} a share, and redraw {redraw} a number of epochs."
            )
        self.learn, self.epsilon, self.temperature = learn, epsilon, temperature
        self.seed, self.caption_prob, self.redraw = seed, caption_prob, redraw
        self.captions, self.labels = captions, list(labels)
        self.text = text.requires_grad_(False)
        tokens = text.tokenize([template])  # (1, context_length)
        begin, words = _learned(tokens[0].tolist(), text.tokenize(["X"])[0, 1].item(), template)
        self.end = int(tokens.argmax())
        if self.end < begin + words:
            raise ValueError(f"The template {template!r} ends before its words; write it anew.")
        with torch.no_grad():
            embedded = text.token_embedding(tokens)  # (1, context_length, width)
        self.prefix: Tensor
        self.suffix: Tensor
        self.register_buffer("prefix", embedded[:, :begin].clone())
        self.register_buffer("suffix", embedded[:, begin + words :].clone())
        context = torch.empty(num_people, words, embedded.shape[-1])
        self.context = nn.Parameter(nn.init.normal_(context, std=0.02), requires_grad=learn)
        self.figures: dict[str, Tensor] = {}
        # Captions that were drawn, by the place of a picture (stage 1) or the label of a person.
        self.drawn: dict[int, str] = {}
        # What is encoded when it is first asked for: of `drawn`, and of all people (stage 2).
        self.encoded: Tensor | None = None
        self.classes: Tensor | None = None
        self.epoch = 0
        self.register_load_state_dict_post_hook(lambda *_: self._draw())
        self._draw()

    @property
    def must_be_loaded(self) -> tuple[str, ...]:
        """What cannot be as it was built: the words, unless they are learned here."""
        return () if self.learn else ("context",)

    def set_epoch(self, epoch: int) -> None:
        """Draw captions anew when it is time."""
        due = self.redraw and epoch // self.redraw != self.epoch // self.redraw
        self.epoch = epoch
        if due:
            self._draw()

    def forward(
        self, joint: Tensor, pids: Tensor, index: Tensor, amp: torch.dtype | None
    ) -> Tensor:
        """Features (B, D) of pictures, labels (B,), places in the training set (B,) -> scalar."""
        if self.learn:
            texts = self._of_pictures(pids, index, amp)
            best = pids[(joint @ texts.T).argmax(1)]
            loss = supcon(joint, texts, pids, pids, self.temperature)
            loss = loss + supcon(texts, joint, pids, pids, self.temperature)
        else:
            texts = self._of_classes()
            best = (joint @ texts.T).argmax(1)
            loss = image_to_text(joint, texts, pids, self.epsilon)
        self.figures = {"top1_text": (best == pids).float().mean()}
        return loss

    def prompts(self, people: Tensor, amp: torch.dtype | None = None) -> Tensor:
        """The sentences of `people` (U,) as CLIP sees them, (U, D) float32."""
        if not (self.learn and torch.is_grad_enabled()):
            parts = people.split(CHUNK)
            return torch.cat([self._prompts(part, amp) for part in parts])
        return self._prompts(people, amp)

    @torch.no_grad()
    def text_features(self, index: Sequence[int]) -> Tensor:
        """The text (N, D) of pictures by their places: its caption if it has one, else a prompt."""
        people = torch.tensor([self.labels[i] for i in index], device=self.context.device)
        if not self.learn:
            return self._of_classes()[people]
        return self._of_pictures(people, torch.as_tensor(index, device=people.device), None)

    def of_each_person(self) -> tuple[Tensor, list[bool]]:
        """A text (C, D) of everyone, and whether it is a caption, which is so if there is one."""
        captioned = [(i if self.learn else y) in self.drawn for i, y in enumerate(self.labels)]
        order = sorted(range(len(self.labels)), key=captioned.__getitem__)
        place = {self.labels[i]: i for i in order}  # captioned pictures come last, and stay
        places = [place[label] for label in sorted(place)]
        return self.text_features(places), [captioned[i] for i in places]

    def _prompts(self, people: Tensor, amp: torch.dtype | None) -> Tensor:
        count = len(people)
        rows = [self.prefix.expand(count, -1, -1), self.context[people]]
        rows.append(self.suffix.expand(count, -1, -1))
        ends = torch.full((count,), self.end, device=people.device)
        # What comes after its end no sentence knows of, and the end is soon.
        embedded = torch.cat(rows, 1)[:, : self.end + 1]
        with torch.autocast(people.device.type, amp, enabled=amp is not None):
            return self.text(embedded, ends).float()

    def _of_pictures(self, pids: Tensor, index: Tensor, amp: torch.dtype | None) -> Tensor:
        """(B, D): the caption that was drawn for a picture, else its person's prompt, which is
        encoded once however many pictures share it."""
        if not self.drawn:
            people, place = pids.unique(return_inverse=True)
            return self.prompts(people, amp)[place]
        if self.encoded is None:
            self.encoded = self._encode(list(self.drawn.values()))
            of = {place: row for row, place in enumerate(self.drawn)}
            numbers = [of.get(place, -1) for place in range(len(self.labels))]
            self.row = torch.tensor(numbers, device=pids.device)  # of `encoded`; -1: a prompt
        rows = self.row[index]
        people, place = pids[rows < 0].unique(return_inverse=True)
        texts = self.encoded[rows.clamp(min=0)]
        if not len(people):  # nothing is learned, but backward() needs a way
            return texts + 0 * self.context.sum()
        return texts.index_copy(0, (rows < 0).nonzero()[:, 0], self.prompts(people, amp)[place])

    @torch.no_grad()
    def _of_classes(self) -> Tensor:
        """(C, D), encoded once: the caption that was drawn for a person, else the prompt."""
        if self.classes is None:
            everyone = torch.arange(len(self.context), device=self.context.device)
            self.classes = self.prompts(everyone)
            if self.drawn:
                self.classes[list(self.drawn)] = self._encode(list(self.drawn.values()))
        return self.classes

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Tensor:
        """(N, D), in full precision whatever the run has: this is done once and kept."""
        parts = [self.text.read(texts[i : i + CHUNK]) for i in range(0, len(texts), CHUNK)]
        return torch.cat([self.text.encode(part).float() for part in parts])

    def _draw(self) -> None:
        """Draw the captions of this epoch, the same in a run that is resumed; encode them later."""
        self.encoded, self.classes, self.drawn = None, None, {}
        told: dict[int, list[str]] = {}
        for place, texts in enumerate(self.captions or ()):
            if texts:
                told.setdefault(place if self.learn else self.labels[place], []).extend(texts)
        turn = self.epoch // self.redraw if self.redraw else 0
        rng = np.random.default_rng((self.seed, turn))
        for key in sorted(told):
            text, stands_in = rng.choice(told[key]), rng.random() < self.caption_prob
            if stands_in:
                self.drawn[key] = str(text)


def _learned(tokens: list[int], slot: int, template: str) -> tuple[int, int]:
    """Where the learned words of a template begin, and how many there are."""
    places = [place for place, token in enumerate(tokens) if token == slot]
    if not places or places != list(range(places[0], places[0] + len(places))):
        raise ValueError(
            f"The template {template!r} has no X, or not all of them side by side; write it like "
            "'A photo of a X X X X person.'."
        )
    return places[0], len(places)
