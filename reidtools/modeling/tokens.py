"""Texts as the numbers that CLIP's text tower reads."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reidtools.extras import require
from reidtools.files import sha256_of

SOURCE = "https://github.com/openai/CLIP/raw/main/clip/bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
START, END = 49406, 49407


class Tokenizer:
    """CLIP's byte-pair encoding (Radford et al., arXiv:2103.00020), as open_clip computes it.

    Texts are mended (ftfy), HTML entities resolved, whitespace collapsed, letters lowered.

    vocab: the path of CLIP's ``bpe_simple_vocab_16e6.txt.gz``; empty is the one that comes with
        open_clip.
    context_length: how many ids a text takes, start and end included; CLIP's towers have 77.

    Errors: `ImportError` without open_clip, `FileNotFoundError` without the file, `ValueError` for
    one of another content or for a context without room.
    """

    def __init__(self, vocab: str = "", context_length: int = 77):
        if context_length < 3:
            raise ValueError(
                f"A context of {context_length} has no room for a word between start and end; "
                "make it 3 or longer (CLIP has 77)."
            )
        require("open_clip", "CLIP's texts are read with open_clip", "clip")
        self.context_length = context_length
        self._bpe = _encoder(_checked(vocab))

    def __call__(self, texts: Sequence[str], *, truncate: bool = False) -> Tensor:
        """B texts -> (B, context_length) int64: 49406, the text, 49407, then zeros.

        A text that is too long is a `ValueError`, or is cut before its end with `truncate`.
        """
        if isinstance(texts, str):
            raise ValueError(f"'{_short(texts)}' is one text; give a list of texts.")
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            words = self._bpe.encode(text)
            room = self.context_length - 2
            if len(words) > room and not truncate:
                raise ValueError(
                    f"The text '{_short(text)}' takes {len(words) + 2} tokens, start and end "
                    f"included, and the context has room for {self.context_length}; shorten it, "
                    "or truncate."
                )
            numbers = [START, *words[:room], END]
            row[: len(numbers)] = torch.tensor(numbers)
        return ids


def _checked(vocab: str) -> Path:
    """The path of the vocabulary file, which is there and is the one that CLIP was trained with."""
    if vocab:
        path = Path(vocab).expanduser().resolve()
    else:
        from open_clip.tokenizer import default_bpe

        path = Path(default_bpe())
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no vocabulary file at {path}; an install of CLIP has it as "
            f"clip/bpe_simple_vocab_16e6.txt.gz, or download {SOURCE}."
        )
    digest = sha256_of(path)
    if digest != SHA256:
        raise ValueError(
            f"{path} is not the vocabulary of CLIP (its SHA-256 is {digest[:12]}..., not "
            f"{SHA256[:12]}...), so every text would be misread; download {SOURCE} again."
        )
    return path


@cache
def _encoder(path: Path) -> Any:
    """What encodes; the file is parsed once, however many tokenizers there are."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(str(path), clean="lower")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
