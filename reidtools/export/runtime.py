"""What runs an embedder on a CPU: torch as it is, torch with batch norms folded, or onnxruntime."""

import copy
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import reidtools
from reidtools.export.formats import quiet, require_onnx, write_onnx
from reidtools.extras import reason
from reidtools.modeling import Embedder
from reidtools.modeling.backbones.osnet import OSNet
from reidtools.modeling.folding import folded
from reidtools.modeling.onnx_network import OnnxNetwork
from reidtools.registry import choose

LOGGER = logging.getLogger("reidtools")
# Networks that onnxruntime runs so much faster than torch that the export, some ten seconds, is
# worth it for so many pictures; see benchmarks/inference.py.
SUITED, WORTH = (OSNet,), 10_000
COMPARED, LIMIT = 8, 1e-4  # pictures of the first batch, and how far a value may be off
OPSET = 18

Frames = Callable[..., Tensor]  # what `Embedder.frames` is
Maker = Callable[..., Frames | None]  # of an Embedder, and what `frames` takes


def quick(
    model: Embedder, pictures: int, amp: torch.dtype | None = None, *, runtime: str = "auto"
) -> Embedder:
    """What embeds as `model` does, and sooner: to be used for these `pictures`, not to be kept.

    `runtime` ``"torch"`` is `model` itself, ``"onnxruntime"`` any network in onnxruntime. With
    ``"auto"`` batch norms are folded into convolutions; networks that are faster still in
    onnxruntime run there, if it is installed, from 10,000 pictures on, and then for fewer as well.
    All that holds on a CPU in float32: elsewhere, and with autocast to `amp`, it is `model`.

    The other network is made when the first batch comes and compared with `model` on it: where a
    value is off by more than 1e-4 of the largest, a warning says so and `model` is used. It stays
    with `model` as long as its weights are the same. So vectors differ in their last digits only,
    and names and `fingerprint` are those of `model`. Raises LookupError for another `runtime`, and
    for ``"onnxruntime"`` ImportError without its packages and, later, ValueError for a network
    that cannot be exported.
    """
    makers = choose("TEST.RUNTIME", runtime, RUNTIMES)
    runs_file = isinstance(model.backbone, OnnxNetwork)
    if not makers or amp is not None or model.device.type != "cpu" or runs_file:
        return model
    kept = vars(model).setdefault("_quick", _Kept()).of(model)
    name, strict = runtime, runtime == "onnxruntime"
    if strict:
        require_onnx()
    elif "exported" in kept or (pictures >= WORTH and _suited(model)):
        name, makers = "exported", (_exported, *makers)
    if name not in kept:
        kept[name] = Quick(model, makers, strict)
    kept[name].training = model.training
    return kept[name]


class Quick(Embedder):
    """`model`, whose frames are seen by what the first of `makers` that can makes of it.

    Each has to prove that it sees the same. With `strict` an error of a maker is raised.
    """

    def __init__(self, model: Embedder, makers: Sequence[Maker], strict: bool):
        super().__init__(model.backbone, model.heads, model.temporal, model.preparation)
        self.makers, self.strict = makers, strict
        self.made: dict[torch.Size, Frames] = {}  # by the size of pictures

    def frames(self, images: Tensor, *camids: Tensor) -> Tensor:
        size = images.shape[2:]
        if not len(images):
            return super().frames(images, *camids)
        if size not in self.made:
            seen = images[:COMPARED], *(ids[:COMPARED] for ids in camids)
            proved = (made for make in self.makers if (made := self._proved(make, *seen)))
            self.made[size] = next(proved, super().frames)
        return self.made[size](images, *camids)

    def _proved(self, make: Maker, *seen: Tensor) -> Frames | None:
        """What `make` makes, unless it fails or does something else."""
        try:
            other = make(self, *seen)
        except Exception as error:  # exporters raise whatever comes up
            if self.strict:
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


def _suited(model: Embedder) -> bool:
    """Whether onnxruntime is known to run such a network faster, and all it takes is here."""
    if not isinstance(model.backbone, SUITED):
        return False
    try:
        require_onnx()
    except ImportError:
        return False
    return True


class _Kept:
    """The other networks of a model by their names; copies of the model begin without any."""

    def __init__(self) -> None:
        self._stamp: list[tuple[int, int]] = []
        self._made: dict[str, Quick] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Kept, ()

    def of(self, model: Embedder) -> dict[str, Quick]:
        """Those made since the weights of `model` changed last."""
        weights = chain(model.parameters(), model.buffers())
        stamp = [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights]
        if stamp != self._stamp:
            self._stamp, self._made = stamp, {}
        return self._made


RUNTIMES: dict[str, tuple[Maker, ...]] = {
    "auto": (_folded,),  # and before it, where it is worth it, what "onnxruntime" does
    "torch": (),
    "onnxruntime": (_exported,),
}
