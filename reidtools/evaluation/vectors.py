"""Embeddings with the names that belong to them, and the one function that computes them."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from reidtools import processes
from reidtools.ops.distances import ANGULAR
from reidtools.registry import choose


@dataclass(frozen=True)
class Vectors:
    """`vectors` float (N, D), one row a picture, with its `pids` (N,), `camids` (N,) and `paths`.

    Lists and NumPy arrays become tensors; vectors of whole numbers or half precision become
    float32. `pids` and `camids` lie on the CPU, wherever the vectors lie. Raises ValueError when a
    shape is another, the lengths differ, or a vector has a value that is not finite or too large.
    """

    vectors: Tensor
    pids: Tensor
    camids: Tensor
    paths: list[str] | None = None

    def __post_init__(self):
        vectors = self.vectors
        if isinstance(vectors, np.ndarray):
            vectors = np.ascontiguousarray(vectors)  # torch takes no reversed ones
        vectors = torch.as_tensor(vectors)
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise ValueError(
                f"Vectors are (pictures, dimensions); these are {tuple(vectors.shape)}. Put one "
                "picture in each row."
            )
        if vectors.dtype not in (torch.float32, torch.float64):
            vectors = vectors.float()
        made = {name: _whole_numbers(name, getattr(self, name)) for name in ("pids", "camids")}
        if self.paths is not None:
            made["paths"] = [str(path) for path in self.paths]
        for name, value in {"vectors": vectors, **made}.items():
            object.__setattr__(self, name, value)
        lengths = {name: len(value) for name, value in vars(self).items() if value is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Vectors and their names must be equally many; these are {lengths}.")
        # A length is not finite where a value is not, and the square of a distance of such vectors
        # must be finite as well.
        lengths = torch.linalg.vector_norm(vectors.detach(), dim=1)
        usable = lengths < (torch.finfo(vectors.dtype).max / 8) ** 0.5
        bad = (~usable).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"{len(bad)} of {len(self)} vectors have values that are no numbers, or too large "
                f"to be compared (first: {self.names(bad)}); check the weights and these pictures."
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def names(self, rows: list[int]) -> str:
        """The first five of `rows` for a message: their paths, or their numbers."""
        return ", ".join(self.paths[i] if self.paths else f"row {i}" for i in rows[:5])

    def to(self, target: torch.device | torch.dtype | str) -> "Vectors":
        """The same with the vectors on another device or in another dtype, as `Tensor.to`."""
        return replace(self, vectors=self.vectors.to(target))


def _whole_numbers(name: str, values: Any) -> Tensor:
    """`values` as an int64 tensor (N,) on the CPU."""
    try:
        numbers = torch.as_tensor(values)
    except (TypeError, ValueError):  # names instead of numbers
        numbers = None
    if numbers is None or numbers.ndim != 1 or (numbers.is_floating_point() and len(numbers)):
        raise ValueError(f"{name} must be one whole number a picture; number the names first.")
    return numbers.to("cpu", torch.long)


def check_comparable(query: Vectors, gallery: Vectors, metric: str) -> None:
    """Raise ValueError where distances of `query` to `gallery` would fail or mean nothing.

    That is: nothing on one side, different dimensions, dtypes or devices, and, for the metrics that
    compare directions, vectors without one (shorter than 1e-12).
    """
    if not len(query) or not len(gallery):
        raise ValueError(
            "There is nothing to rank: the query or the gallery is empty; look at the folders of "
            "the dataset."
        )
    a, b = query.vectors, gallery.vectors
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Query vectors have {a.shape[1]} dimensions, gallery vectors {b.shape[1]}; embed both "
            "with the same model."
        )
    if (a.dtype, a.device) != (b.dtype, b.device):
        raise ValueError(
            f"Query vectors are {a.dtype} on {a.device}, gallery vectors {b.dtype} on {b.device}; "
            "bring one side to the other with .to(dtype) or .to(device)."
        )
    if metric not in ANGULAR:
        return
    for side, vectors in (("query", query), ("gallery", gallery)):
        lengths = torch.linalg.vector_norm(vectors.vectors, dim=1)
        bad = (lengths < 1e-12).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"{len(bad)} of {len(vectors)} {side} vectors are zero and have no direction "
                f"(first: {vectors.names(bad)}); check these pictures and the weights, or compare "
                "with TEST.METRIC euclidean."
            )


def _mean_of_normalized(a: Tensor, b: Tensor) -> Tensor:
    return (F.normalize(a) + F.normalize(b)) / 2


def _mean_of_raw(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) / 2


FLIPS = {"off": None, "normalized": _mean_of_normalized, "raw": _mean_of_raw}


class Part(NamedTuple):
    """What `stream` makes of a batch: as `Vectors`, and perhaps of nothing."""

    vectors: Tensor
    pids: Tensor
    camids: Tensor
    paths: list[str]


def embed(
    model: nn.Module,
    batches: Any,
    amp: torch.dtype | None = None,
    progress: str = "Embedding",
    *,
    flip: str = "off",
) -> Vectors:
    """The `Vectors` of all pictures or tracklets in `batches`, in order, float32, on the CPU.

    See `stream`, whose parts it joins. A ValueError where there is nothing to embed. Of several
    processes each embeds its share of `batches` and gets the vectors of all.
    """
    own = batches.share() if processes.count() > 1 else batches
    parts = [part for part in stream(model, own, amp, progress, flip=flip) if part.paths]
    # Empty, so that a process without a share has something of the right kind.
    nobody = torch.empty(0, dtype=torch.long)
    none = Part(torch.empty(0, 0), nobody, nobody, [])
    *columns, names = zip(*(parts or [none]), strict=True)
    vectors, pids, camids = (torch.cat(column) for column in columns)
    lengths, widths = zip(*processes.of_all(tuple(vectors.shape)), strict=True)
    if not any(lengths):
        raise ValueError("There are no pictures to embed; look at the folder and its file names.")
    vectors = processes.rows_of_all(vectors.reshape(len(vectors), max(widths)), lengths)
    pids, camids = (processes.rows_of_all(column, lengths) for column in (pids, camids))
    paths = [path for own in processes.of_all([p for part in names for p in part]) for path in own]
    return Vectors(vectors, pids, camids, paths)


@torch.inference_mode()
def stream(
    model: nn.Module,
    batches: Iterable[dict[str, Any]],
    amp: torch.dtype | None = None,
    progress: str = "",
    *,
    flip: str = "off",
) -> Iterator[Part]:
    """Yield the embeddings of each batch of pictures or tracklets, float32, on the CPU.

    `model(images)` gives (features, embeddings); the embeddings are what is compared. Images are
    (B, 3, H, W), or (B, T, 3, H, W) for tracklets. The model is put into evaluation mode for the
    time of the call. `amp` is the dtype of autocast, or None. A pass of some seconds shows a bar
    called `progress`, if there is such a name, in a terminal.

    Tracklets of any length come frame by frame: where a batch has ``ends`` (B,), whether a picture
    is the last of its tracklet, `model.frames` sees the pictures, and `model.pool` makes a vector
    of each tracklet as soon as it is complete. So neither long ones nor many take memory. A
    tracklet is called by its first frame. What a batch does not call ``readable`` (B,) is left out,
    and so is a tracklet of which nothing is left.

    With `flip` every picture is also seen mirrored, in the same batch: ``"normalized"`` takes the
    mean of both embeddings, each brought to length 1, ``"raw"`` the mean of both as they are (as
    FastReID); ``"off"`` sees it once. Another name is a `LookupError`.
    """
    join = choose("flip", flip, FLIPS)
    training = model.training
    model.eval()
    tracklets = _Tracklets(model)
    try:
        quiet = None if progress else True  # None: where there is no terminal
        bar = {"unit": "batch", "leave": False, "delay": 2}
        shown = tqdm(batches, desc=progress, disable=quiet, **bar)
        for batch, found in _one_behind((batch, _see(model, batch, amp, join)) for batch in shown):
            views = found.float().unflatten(0, (2 if join else 1, -1))  # (V, B, D)
            rows, names = list(range(views.shape[1])), batch["paths"]
            if "readable" in batch:
                rows = batch["readable"].nonzero().flatten().tolist()
                views, names = views[:, rows], [names[row] for row in rows]
            if "ends" in batch:
                views, rows, names = tracklets.take(views, rows, batch)
            embeddings = join(*views) if join else views[0]
            pids, camids = (batch[name].cpu()[rows] for name in ("pids", "camids"))
            yield Part(embeddings.cpu(), pids, camids, names)
    finally:
        model.train(training)


def _see(model: Any, batch: dict[str, Any], amp: torch.dtype | None, join: Any) -> Tensor:
    """What `model` makes of a batch, (V * B, D): embeddings, or features of tracklets' frames."""
    images = batch["images"]
    seen = [images, batch["camids"]] if getattr(model, "by_camera", False) else [images]
    if join:
        seen = [torch.cat([images, images.flip(-1)]), *(ids.repeat(2) for ids in seen[1:])]
    with torch.autocast(images.device.type, amp, enabled=amp is not None):
        return model.frames(*seen) if "ends" in batch else model(*seen)[1]


def _one_behind(seen: Iterable[tuple[dict[str, Any], Tensor]]) -> Iterator[tuple[Any, Tensor]]:
    """Batches and what a model made of them; those of a GPU when the next one is queued there.

    To take a value from a GPU is to wait until it has done all that it was given; so it is given
    the next batch before. What came before an error comes before the error.
    """
    held: deque[tuple[Any, Tensor]] = deque()
    try:
        for batch, made in seen:
            held.append((batch, made))
            if len(held) > made.is_cuda:
                yield held.popleft()
    except Exception:
        yield from held
        raise
    yield from held


class _Tracklets:
    """Holds the features of a tracklet's frames until its last one has been seen."""

    def __init__(self, model: nn.Module):
        self.model: Any = model  # which has `frames` and `pool`
        self.open: list[Tensor] = []  # the frames so far, (V, n, D) each
        self.name = ""

    def take(
        self, views: Tensor, rows: list[int], batch: dict[str, Any]
    ) -> tuple[Tensor, list[int], list[str]]:
        """Add the frames (V, n, D) in the `rows` of a batch; gives what is complete now.

        Of each tracklet that ends in the batch: its embedding (V, n, D), its last row, its name.
        """
        ends = batch["ends"].cpu().long()
        owner = ends.cumsum(0) - ends  # the tracklet of each row, counted in this batch
        counts = owner[rows].bincount(minlength=int(owner[-1]) + 1).tolist()
        begins = [0, *(ends.nonzero().flatten() + 1).tolist()]
        made, last, names = [], [], []
        for place, part in enumerate(views.split(counts, 1)):
            self.name = self.name or batch["paths"][begins[place]]
            self.open.append(part)
            if place + 1 == len(begins):
                break  # it goes on in the next batch
            frames = torch.cat(self.open, 1)  # (V, T, D)
            if frames.shape[1]:
                made.append(self.model.pool(frames.flatten(0, 1), len(frames))[1].float())
                last.append(begins[place + 1] - 1)
                names.append(self.name)
            self.open, self.name = [], ""
        return torch.stack(made, 1) if made else views[:, :0], last, names
