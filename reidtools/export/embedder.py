"""Write an embedder to a file that runs elsewhere, and leave it only if it does the same."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

import reidtools
from reidtools.export.formats import FORMATS, INPUT, OUTPUT, Format, quiet
from reidtools.export.int8 import quantise
from reidtools.extras import reason
from reidtools.files import make_folder, write_whole
from reidtools.modeling import Embedder
from reidtools.modeling.onnx_network import OnnxNetwork
from reidtools.registry import choose

TRACED = 2  # a batch of one would be taken for a constant
CHECKED = (1, 3, 5)  # batches the file must agree on: none is the one it was traced with
LIMIT = 1e-3


@dataclass(frozen=True)
class Quantised:
    """A file with weights of 8 bits, and the cosine of its vectors to torch's on random pictures.

    `mean_cosine` and `lowest_cosine` are a first sign; what it costs a test set tells.
    """

    path: Path
    bytes: int
    mean_cosine: float
    lowest_cosine: float

    def __str__(self) -> str:
        return (
            f"{self.path} ({_size(self.bytes)}): int8, cosine to torch on drawn noise "
            f"{self.mean_cosine:.4f} on average, {self.lowest_cosine:.4f} at the lowest"
        )


@dataclass(frozen=True)
class Exported:
    """A file that was checked against torch on random pictures.

    `max_difference` is the largest absolute difference of a value, `relative` that by the largest
    absolute value. `dim` is the length of a vector, `size` height and width of the pictures.
    """

    path: Path
    format: str
    size: tuple[int, int]
    dim: int
    bytes: int
    max_difference: float
    relative: float
    quantised: Quantised | None = None

    def __str__(self) -> str:
        height, width = self.size
        lines = [
            f"{self.path} ({_size(self.bytes)}): pictures (batch, 3, {height}, {width}) -> "
            f"vectors (batch, {self.dim}), any batch",
            f"differs from torch by at most {self.max_difference:.1e} "
            f"({self.relative:.1e} of the largest value)",
        ]
        return "\n".join([*lines, str(self.quantised)] if self.quantised else lines)


class _Pictures(nn.Module):
    """Normalised pictures to embeddings: an Embedder without its tracklets.

    Where the model is `by_camera` it takes a camid for each picture as well; -1 is none known.
    """

    def __init__(self, model: Embedder):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, camera_label: Tensor | None = None) -> Tensor:
        camids = () if camera_label is None else (camera_label,)
        features = self.model.temporal(self.model.frames(images, *camids)[:, None])
        return self.model.heads.embed(features)

    def example(self, images: Tensor) -> tuple[Tensor, ...]:
        """What is given with such `images`: cameras, the first of which is not known."""
        if not self.model.by_camera:
            return (images,)
        return images, torch.arange(len(images)) % 2 - 1


def export_embedder(
    model: Embedder,
    path: str | Path,
    size: tuple[int, int],
    about: Mapping[str, str],
    *,
    format: str = "onnx",
    opset: int = 18,
    int8: bool = False,
) -> Exported:
    """Write what makes `model`'s embeddings of single pictures to `path`, and check the file.

    The file takes float32 `images` (batch, 3, height, width) of `size`, normalised, and gives
    `features` (batch, dim), not normalised, for any batch. That of a model with camera embeddings
    takes int64 `camera_label` (batch,) as well, counted from 0; -1 is a camera not known. `format`
    is a key of `FORMATS`, and `path` has its ending. `about`, which should tell how pictures are
    prepared, is kept in the file. `opset` is the version of ONNX's operators. With `int8` a smaller
    ONNX file, whose name ends in ``_int8.onnx``, is written beside it; see `quantise`. `model`
    stays as it is.

    Raises ValueError, and leaves what was at `path` before, if the file's vectors differ from
    torch's by more than 1e-3 of the largest value; also for a network that cannot be exported.
    """
    form, path, size = choose("format", format, FORMATS), Path(path), (size[0], size[1])
    _check_request(model, path, form, int8)
    known = _told(about, model.dim, size, format)
    make_folder(path.parent, "output")
    network = _Pictures(copy.deepcopy(model)).eval().cpu().float().requires_grad_(False)
    network = network.to(memory_format=torch.contiguous_format)
    content = _content(network, form, size, known, opset)
    differences = (0.0, 0.0)

    def write_and_check(file: BinaryIO) -> None:
        nonlocal differences
        file.write(content)
        file.flush()
        differences = _compare(network, Path(file.name), form, size)

    write_whole(path, write_and_check)
    small = _quantised(network, path, size, known) if int8 else None
    return Exported(path, format, size, model.dim, len(content), *differences, small)


def _check_request(model: Embedder, path: Path, form: Format, int8: bool) -> None:
    if path.suffix != form.ending:
        raise ValueError(f"{path} must end in {form.ending}; change its name or the format.")
    if int8 and form.ending != ".onnx":
        raise ValueError("Only ONNX files can have weights of 8 bits; choose the format onnx.")
    if any(isinstance(part, OnnxNetwork) for part in model.modules()):
        raise ValueError(
            "The model runs an ONNX file, which is all that can be exported of it; export the "
            "checkpoint that the file was made from, or copy the file."
        )


def _told(about: Mapping[str, str], dim: int, size: tuple[int, int], format: str) -> dict[str, str]:
    """The metadata: `about`, and what is known here."""
    wrong = [key for key, value in about.items() if not isinstance(value, str)]
    if wrong:
        raise TypeError(f"Metadata must be text; turn {', '.join(wrong)} into strings.")
    own = {
        "producer": "reidtools",
        "reidtools": reidtools.__version__,
        "torch": torch.__version__,
        "format": format,
        "input": INPUT,
        "output": OUTPUT,
        "dim": str(dim),
        "size": f"{size[0]} {size[1]}",
        "precision": "float32",
    }
    return own | dict(about)


def _content(
    network: _Pictures, form: Format, size: tuple[int, int], about: Mapping[str, str], opset: int
) -> bytes:
    try:
        with quiet():
            inputs = network.example(torch.zeros(TRACED, 3, *size))
            return form.write(network, inputs, about, opset)
    except ImportError:
        raise
    except Exception as error:  # exporters raise whatever comes up
        raise ValueError(
            f"This network cannot be exported to {form.ending} ({reason(error)}); try another "
            f"format: {', '.join(FORMATS)}."
        ) from error


@torch.inference_mode()
def _compare(
    network: _Pictures, path: Path, form: Format, size: tuple[int, int]
) -> tuple[float, float]:
    """Largest absolute difference to torch over the checked batches, and its relative size.

    Raises ValueError if the file cannot be run, or differs by more than `LIMIT`.
    """
    try:
        with quiet():
            load = form.load(path)
            inputs = [network.example(images) for images in _checks(size)]
            pairs = [(network(*given), load(*given)) for given in inputs]
    except Exception as error:  # checkers and runtimes raise whatever comes up
        raise ValueError(
            f"The exported network does not run on batches of {CHECKED} ({reason(error)}), so "
            f"no file is left; try another format: {', '.join(FORMATS)}."
        ) from error
    difference = max(float((right - given).abs().max()) for right, given in pairs)
    largest = max(float(right.abs().max()) for right, _ in pairs)
    relative = difference / max(largest, 1e-12)
    if not relative <= LIMIT:  # so that NaN is refused too
        raise ValueError(
            f"The exported network differs from torch by {difference:.2e}, {relative:.1e} of the "
            f"largest value, where {LIMIT:g} is allowed, so no file is left; try another format: "
            f"{', '.join(FORMATS)}."
        )
    return difference, relative


def _checks(size: tuple[int, int]) -> list[Tensor]:
    """Batches of random pictures, always the same."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 3, *size, generator=generator) for batch in CHECKED]


@torch.inference_mode()
def _quantised(
    network: _Pictures, source: Path, size: tuple[int, int], about: Mapping[str, str]
) -> Quantised:
    """The 8-bit twin of the ONNX file `source`, beside it."""
    path = source.with_name(f"{source.stem}_int8.onnx")
    cosines = torch.empty(0)

    def write_and_check(file: BinaryIO) -> None:
        nonlocal cosines
        file.write(content)
        file.flush()
        run = OnnxNetwork(file.name)
        inputs = [network.example(images) for images in _checks(size)]
        pairs = [(network(*given), run(*given)) for given in inputs]
        cosines = torch.cat([torch.cosine_similarity(a, b) for a, b in pairs])

    try:
        with quiet():
            content = quantise(source, about)
        write_whole(path, write_and_check)
    except (OSError, ImportError):
        raise
    except Exception as error:  # the quantiser raises whatever comes up
        raise ValueError(
            f"{source} is written, but its weights cannot be brought to 8 bits "
            f"({reason(error)}); use it as it is, without int8."
        ) from error
    mean, lowest = float(cosines.mean()), float(cosines.min())
    return Quantised(path, path.stat().st_size, mean, lowest)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
