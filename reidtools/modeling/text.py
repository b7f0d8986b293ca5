"""The text tower of CLIP (Radford et al., 2021, arXiv:2103.00020), with the names of its files."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from reidtools.modeling.tokens import Tokenizer
from reidtools.modeling.transformer import Transformer

VOCABULARY = 49408


class TextTower(nn.Module):
    """Embedded tokens -> vectors (B, dim) in the space that CLIP compares with pictures.

    `dim` is the length of a text's vector, that of the image tower's third feature. The sizes are
    those of OpenAI's RN50 and ViT-B-16; smaller ones make a small CLIP to train from scratch.
    `vocab` is the path of ``bpe_simple_vocab_16e6.txt.gz``; empty takes open_clip's own.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 512,
        layers: int = 12,
        context_length: int = 77,
        vocab: str = "",
        grad_checkpoint: bool = False,
    ):
        super().__init__()
        self.tokenize = Tokenizer(vocab, context_length)
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context_length, width))
        self.transformer = Transformer(width, layers, causal=True, grad_checkpoint=grad_checkpoint)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """Embedded tokens (B, N, width), the place (B,) of each end -> (B, dim).

        N is the context or less: no token sees later ones, so all after the last end may be left
        out, which is most of them.
        """
        places = self.positional_embedding[: embedded.shape[1]].to(embedded.dtype)
        _, x = self.transformer(embedded + places)
        last = self.ln_final(x[torch.arange(len(x), device=x.device), ends])
        return last @ self.text_projection.to(last.dtype)

    def encode(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N) -> (B, dim). Of all tokens the end has the highest number."""
        return self(self.token_embedding(tokens), tokens.argmax(1))

    def read(self, texts: Sequence[str]) -> Tensor:
        """Texts as tokens (B, N) where the tower lies, N up to the last end; long ones are cut."""
        tokens = self.tokenize(texts, truncate=True)
        longest = int(tokens.argmax(1).max()) + 1
        return tokens[:, :longest].to(self.text_projection.device)


def of_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """That part of a file of CLIP's which is the text tower's."""
    others = ("visual.", "logit_scale", "input_resolution", "context_length", "vocab_size")
    return {key: tensor for key, tensor in state.items() if not key.startswith(others)}
