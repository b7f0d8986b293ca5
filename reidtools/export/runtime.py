"""What runs an embedder on a CPU: torch as it is, torch with batch norms folded, or onnxruntime."""

import copy
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import reidtools
from reidtools import processes
from reidtools.export.formats import quiet, require_onnx, write_onnx
from reidtools.extras import reason
from reidtools.modeling import Embedder
from reidtools.modeling.folding import folded
from reidtools.modeling.onnx_network import OnnxNetwork
from reidtools.registry import choose

LOGGER = logging.getLogger("reidtools")
SOME, LIMIT = 8, 1e-4  # pictures of the first batch, and how far a value may be off
# onnxruntime is tried on what takes this many seconds, as the export takes some ten; fewer pictures
# never take so long, so they are not even timed. See benchmarks/inference.py.
LONG, MANY = 60, 1000
OPSET = 18

Frames = Callable[..., Tensor]  # what `Embedder.frames` is
Maker = Callable[..., Frames | None]  # of an Embedder, and what `frames` takes


def quick(
    model: Embedder, pictures: int, amp: torch.dtype | None = None, *, runtime: str = "auto"
) -> Embedder:
    """What embeds as `model` does, and sooner: to be used for these `pictures`, not to be kept.

    `runtime` ``"torch"`` is `model` itself, ``"onnxruntime"`` any network in onnxruntime. With
    ``"auto"`` batch norms are folded into convolutions; where that takes longer than a minute for
    the pictures of this process, it is timed against onnxruntime, if that is installed, on some of
    them, and what is faster embeds them and later ones. Under `use_deterministic_algorithms` no
    clock decides, and they are folded. A network without such norms, as ViTs are, stays as it is:
    onnxruntime is slower there. All that holds on a CPU in float32: elsewhere, and with autocast
    to `amp`, it is `model`.

    The other network is made when the first batch comes and compared with `model` on it: where a
    value is off by more than 1e-4 of the largest, a warning says so and `model` is used. It stays
    with `model` as long as its weights are the same. So vectors differ in their last digits only,
    and names and `fingerprint` are those of `model`. Raises LookupError for another `runtime`, and
    for ``"onnxruntime"`` ImportError without its packages and, later, ValueError for a network
    that cannot be exported.
    """
    make = choose("TEST.RUNTIME", runtime, RUNTIMES)
    runs_file = isinstance(model.backbone, OnnxNetwork)
    if make is None or amp is not None or model.device.type != "cpu" or runs_file:
        return model
    if make is _exported:
        require_onnx()
    settled = make is _exported or torch.are_deterministic_algorithms_enabled()
    kept, way = vars(model).setdefault("_quick", _Kept()).of(model), (runtime, settled)
    if way not in kept:
        kept[way] = Quick(model, make)
    kept[way].ahead = 0 if settled else len(range(pictures)[processes.share(pictures)])
    kept[way].training = model.training
    return kept[way]


class Quick(Embedder):
    """`model`, whose frames are seen by what `make` makes of it, or by something faster still.

    It has to prove that it sees the same. Of `ahead` pictures that are to come, the first batch
    shows how long they would take. An error of `_exported` is raised where it is what is asked for.
    """

    def __init__(self, model: Embedder, make: Maker):
        super().__init__(model.backbone, model.heads, model.temporal, model.preparation)
        self.make, self.ahead = make, 0
        self.made: dict[torch.Size, Frames] = {}  # by the size of pictures
        self.folded: set[torch.Size] = set()  # of those, where onnxruntime has not been tried

    def frames(self, images: Tensor, *camids: Tensor) -> Tensor:
        size = images.shape[2:]
        if not len(images):
            return super().frames(images, *camids)
        seen = images[:SOME], *(ids[:SOME] for ids in camids)
        if size not in self.made:
            other = self._proved(self.make, *seen)
            self.made[size] = other or super().frames
            if other and self.make is _folded:
                self.folded.add(size)
        ahead, self.ahead = self.ahead, 0
        if ahead >= MANY and size in self.folded and _installed():
            self._try_onnxruntime(ahead, *seen)
        return self.made[size](images, *camids)

    def _try_onnxruntime(self, ahead: int, *seen: Tensor) -> None:
        """Let onnxruntime see pictures of this size, if it is faster and `ahead` are worth it."""
        size, frames = seen[0].shape[2:], self.made[seen[0].shape[2:]]
        (took,) = _seconds(1, [frames], *seen)
        if took * ahead / len(seen[0]) < LONG:
            return
        self.folded.remove(size)
        if other := self._proved(_exported, *seen):
            took, others = _seconds(3, [frames, other], *seen)
            LOGGER.info("onnxruntime is %.2f times as fast as torch here", took / others)
            if others < took:
                self.made[size] = other

    def _proved(self, make: Maker, *seen: Tensor) -> Frames | None:
        """What `make` makes, unless it fails or does something else."""
        try:
            other = make(self, *seen)
        except Exception as error:  # exporters raise whatever comes up
            if self.make is _exported:
                raise ValueError(
                    f"onnxruntime cannot run this network ({reason(error)}); set TEST.RUNTIME auto."
                ) from error
            LOGGER.warning("The network does not run faster here: %s.", reason(error))
            return None
        if other is None:
            return None
        with torch.no_grad():
            right, found = super().frames(*seen), other(*seen)
        off = float((found - right).abs().max() / right.abs().max().clamp(min=1e-12))
        if off <= LIMIT:  # so that NaN is not
            return other
        LOGGER.warning(
            "What was to run the network faster is not used: it gives other vectors, by %.1e of "
            "the largest value.",
            off,
        )
        return None


@torch.no_grad()
def _seconds(rounds: int, runners: Sequence[Frames], *seen: Tensor) -> list[float]:
    """What each of the `runners` takes for what is `seen`, at best; they take turns."""
    took = [float("inf")] * len(runners)
    for _ in range(rounds):
        for place, run in enumerate(runners):
            begin = time.perf_counter()
            run(*seen)
            took[place] = min(took[place], time.perf_counter() - begin)
    return took


class _Frames(nn.Module):
    """The features of pictures: what is left of an Embedder without pooling over time."""

    def __init__(self, model: Embedder):
        super().__init__()
        self.backbone, self.heads = model.backbone, model.heads

    def forward(self, images: Tensor, camera_label: Tensor | None = None) -> Tensor:
        camids = () if camera_label is None else (camera_label,)
        return self.heads.features(self.backbone(images, *camids))


def _folded(model: Embedder, *seen: Tensor) -> Frames | None:
    return folded(_Frames(model), *seen)


@torch.inference_mode(False)
@torch.no_grad()
def _exported(model: Embedder, images: Tensor, *camids: Tensor) -> Frames:
    """The network in onnxruntime, for pictures as large as `images`."""
    LOGGER.info("Exporting the network to onnxruntime, once; TEST.RUNTIME torch does without")
    begin = time.perf_counter()
    network = _Frames(copy.deepcopy(model)).eval().requires_grad_(False)
    network = network.to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, *images.shape[1:]), torch.arange(2) - 1
    about = {"producer": "reidtools", "reidtools": reidtools.__version__}
    with quiet(), tempfile.TemporaryDirectory() as folder:
        content = write_onnx(network, example[: 1 + model.by_camera], about, OPSET)
        path = Path(folder) / "network.onnx"
        path.write_bytes(content)
        made = OnnxNetwork(path)
    LOGGER.info("Exported in %.0f s", time.perf_counter() - begin)
    return made


def _installed() -> bool:
    """Whether all that an export to onnxruntime takes is here."""
    try:
        require_onnx()
    except ImportError:
        return False
    return True


class _Kept:
    """The other networks of a model by what they are; copies of the model begin without any."""

    def __init__(self) -> None:
        self._stamp: tuple[list[int], Tensor] = [], torch.empty(0)
        self._made: dict[tuple[str, bool], Quick] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Kept, ()

    def of(self, model: Embedder) -> dict[tuple[str, bool], Quick]:
        """Those made since the weights of `model` changed last."""
        weights = [*model.parameters(), *model.buffers()]
        # Not by their versions: fused optimizers do not count those up.
        values = torch.cat([torch.empty(0), *map(_some_of, weights)])
        stamp = [w.data_ptr() for w in weights], values
        if stamp[0] != self._stamp[0] or not torch.equal(stamp[1], self._stamp[1]):
            self._stamp, self._made = stamp, {}
        return self._made


@torch.no_grad()
def _some_of(weight: Tensor) -> Tensor:
    """Values from all over `weight`; a step of training changes nearly all of them."""
    count = min(weight.numel(), 32)
    return weight.as_strided((count,), (weight.numel() // max(count, 1),))


RUNTIMES: dict[str, Maker | None] = {
    "auto": _folded,  # and what "onnxruntime" does where it is faster
    "torch": None,
    "onnxruntime": _exported,
}
