"""A model that does not change needs to see each picture once only."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from reidtools import processes

NAMES = ("pids", "camids", "index")


@torch.no_grad()
def embed_once(
    embedder: nn.Module,
    batches: Any,
    wanted: Iterable[str],
    amp: torch.dtype | None = None,
) -> dict[str, Any]:
    """Facts of all `batches`, float32, where the model lies: pids, camids, index (N,), branches.

    `wanted` are the branches that losses ask for, by name; each is a tuple of (N, D). The model is
    put into evaluation mode for the time of the call, and is not told of cameras: what they add is
    learned together with the model. Of several processes each embeds its share, if it has one, and
    gets all.
    """
    shared = processes.count() > 1 and len(batches) >= processes.count()
    batches = batches.share() if shared else batches
    wanted, training = sorted(wanted), embedder.training
    embedder.eval()
    parts: list[dict[str, Any]] = []
    try:
        bar = {"desc": "Embedding once", "unit": "batch", "leave": False, "delay": 2}
        for batch in tqdm(batches, disable=None, **bar):
            images = batch["images"]
            with torch.autocast(images.device.type, amp, enabled=amp is not None):
                frames = embedder.frames(*embedder.in_a_row(images))
                branches = embedder.branches(frames, len(images))
            found = {name: tuple(b.float() for b in branches[name]) for name in wanted}
            parts.append(found | {name: batch[name] for name in NAMES})
    finally:
        embedder.train(training)
    found = {name: _joined([part[name] for part in parts]) for name in (*wanted, *NAMES)}
    if not shared:
        return found
    lengths = processes.of_all(len(found["pids"]))
    return {name: _of_all(value, lengths) for name, value in found.items()}


def _of_all(value: Tensor | tuple[Tensor, ...], lengths: list[int]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(value, tuple):
        return tuple(processes.rows_of_all(branch, lengths) for branch in value)
    return processes.rows_of_all(value, lengths)


def _joined(rows: list[Any]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(rows[0], tuple):
        return tuple(torch.cat(branch) for branch in zip(*rows, strict=True))
    return torch.cat(rows)
