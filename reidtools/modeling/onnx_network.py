"""Networks in ONNX files (https://onnx.ai), run by onnxruntime as the backbone of an Embedder."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidtools.extras import reason, require
from reidtools.files import sha256_of

LOGGER = logging.getLogger("reidtools")
CAMERAS = "camera_label"  # the input of a network that is told of cameras
KINDS = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
}


class OnnxNetwork(nn.Module):
    """The network in the ONNX file at `path`; (B, 3, H, W) -> float32 (B, dim), on their device.

    Where the file takes cameras as well it is `by_camera`, and camids (B,) may be given; -1, or
    none at all, are cameras not known. It cannot be trained. Any B will do, also where the file is
    fixed to another one. `batch` is the one it is fixed to, or None, `size` the height and width
    the file is fixed to, None if it takes several; `metadata` is what its writer says of it.
    `fingerprint` is the one in `metadata`, so that a network and its exported file are one model;
    of a file without it, or whose metadata say that its weights were rounded, it is the SHA-256.

    `device` is where it runs: the CPU, on as many threads as torch has now, or CUDA, which takes
    the package onnxruntime-gpu. Raises ImportError without onnxruntime, FileNotFoundError, and
    ValueError for a file that is no whole ONNX file or takes anything but RGB pictures.
    """

    pooled = True

    def __init__(self, path: str | Path, device: str | torch.device = "cpu"):
        super().__init__()
        path = _existing(path)
        self.name = path.name
        self._session = _session(path, torch.device(device))
        self.metadata = _metadata(self._session)
        self._input, self._kind, self.batch, self.size = self._what_it_takes()
        self._output, self.dim = self._what_it_gives()
        self.fingerprint = self._own_fingerprint() or sha256_of(path)

    def extra_repr(self) -> str:
        return f"{self.name}, dim={self.dim}, size={self.size}"

    def forward(self, images: Tensor, camids: Tensor | None = None) -> Tensor:
        if images.ndim != 4 or (self.size and tuple(images.shape[2:]) != self.size):
            have = " x ".join(str(side) for side in images.shape)
            takes = "(B, 3, {}, {})".format(*self.size or ("H", "W"))
            cure = "set INPUT.SIZE_TEST [{}, {}]".format(*self.size) if self.size else "stack them"
            raise ValueError(f"{self.name} takes pictures {takes}, not {have}; {cure}.")
        if not len(images):
            return images.new_zeros((0, self.dim), dtype=torch.float32)
        pictures = images.detach().to("cpu", self._kind).contiguous().numpy()
        known = torch.full((len(images),), -1) if camids is None else camids.cpu()
        vectors = self._run(pictures, known.numpy())
        if vectors.shape != (len(images), self.dim):
            raise ValueError(
                f"{self.name} made an output {vectors.shape} of {len(images)} pictures, not "
                f"{(len(images), self.dim)}; export the network with a free batch axis."
            )
        return torch.from_numpy(vectors).to(images.device)

    def _run(self, pictures: np.ndarray, camids: np.ndarray) -> np.ndarray:
        """The first output, float32, of pictures in the kind of numbers the file takes."""
        step = self.batch or len(pictures)
        found = []
        for start in range(0, len(pictures), step):
            part = pictures[start : start + step]
            filled = np.pad(part, [(0, step - len(part)), (0, 0), (0, 0), (0, 0)])
            given = {self._input: filled}
            if self.by_camera:
                seen = camids[start : start + step].astype(np.int64)
                given[CAMERAS] = np.pad(seen, (0, step - len(part)))
            try:
                (vectors,) = self._session.run([self._output], given)
            except Exception as error:  # onnxruntime has no class of its own for what goes wrong
                shape = " x ".join(str(side) for side in filled.shape)
                raise ValueError(
                    f"{self.name} cannot be run on pictures {shape} ({reason(error)}); use "
                    "the size that it was exported with, and smaller batches."
                ) from error
            if not vectors.ndim:
                return vectors  # no vectors, as is told then
            if vectors.shape[2:] == (1, 1):  # pooled, with the sides of the map kept
                vectors = vectors[:, :, 0, 0]
            found.append(vectors[: len(part)].astype(np.float32, copy=False))
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _what_it_takes(self) -> tuple[str, torch.dtype, int | None, tuple[int, int] | None]:
        inputs = self._session.get_inputs()
        told = ", ".join(f"{entry.name} {entry.shape} {entry.type}" for entry in inputs)
        self.by_camera = [entry.name for entry in inputs[1:]] == [CAMERAS]
        right = len(inputs) == 1 or self.by_camera
        right = right and len(inputs[0].shape) == 4 and inputs[0].type in KINDS
        if not right or (isinstance(inputs[0].shape[1], int) and inputs[0].shape[1] != 3):
            raise ValueError(
                f"{self.name} takes {told or 'nothing'}, not one batch of RGB pictures (B, 3, H, "
                "W) of floats; choose the file of a re-identification network."
            )
        batch = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else None
        return inputs[0].name, KINDS[inputs[0].type], batch, _picture_size(inputs[0].shape)

    def _what_it_gives(self) -> tuple[str, int]:
        outputs = self._session.get_outputs()
        if len(outputs) > 1:
            names = ", ".join(output.name for output in outputs)
            LOGGER.info("%s has several outputs (%s): the first is taken.", self.name, names)
        self._output, shape = outputs[0].name, outputs[0].shape
        if len(shape) != 2 or not isinstance(shape[1], int):  # the file does not say: try it
            black = torch.zeros(self.batch or 1, 3, *(self.size or (256, 128)), dtype=self._kind)
            shape = self._run(black.numpy(), np.full(len(black), -1)).shape
            if len(shape) != 2:
                raise ValueError(
                    f"{self.name} makes {outputs[0].name} {shape}, not a vector of each picture "
                    "(B, D); export the network with its pooling."
                )
        return self._output, int(shape[1])

    def _own_fingerprint(self) -> str | None:
        """What the file brings, unless its weights were rounded since."""
        rounded = (
            self._kind is torch.float16,
            self.metadata.get("precision", "float32") != "float32",
            "quant" in self.metadata.get("onnx.infer", ""),  # what onnxruntime's quantiser leaves
        )
        return None if any(rounded) else self.metadata.get("fingerprint")


def runs_on(device: torch.device) -> bool:
    """Whether the onnxruntime that is installed runs on such a `device`."""
    if device.type != "cuda":
        return device.type == "cpu"
    require("onnxruntime", "Running an ONNX file takes onnxruntime", "export")
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def is_onnx(path: str | Path) -> bool:
    """Whether `path` is called as ONNX files are."""
    return Path(path).suffix.lower() == ".onnx"


def read_about(path: str | Path) -> tuple[dict[str, str], tuple[int, int] | None]:
    """The metadata of the ONNX file at `path`, and the size (height, width) it is fixed to.

    The network is not made ready to run, which takes long. Errors: see `OnnxNetwork`.
    """
    session = _session(_existing(path), torch.device("cpu"), to_run=False)
    return _metadata(session), _picture_size(session.get_inputs()[0].shape)


def _metadata(session: Any) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def _picture_size(shape: list[Any]) -> tuple[int, int] | None:
    """Height and width of an input (B, 3, H, W), unless one of them is free."""
    size = tuple(side for side in shape[2:4] if isinstance(side, int))
    return (size[0], size[1]) if len(size) == 2 else None


def _session(path: Path, device: torch.device, *, to_run: bool = True) -> Any:
    """An onnxruntime session for the file at `path`."""
    require("onnxruntime", "Running an ONNX file takes onnxruntime", "export")
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors only: the rest is for those who make onnxruntime
    # Numbers next to nothing, as softmax and small weights leave them, slow a CPU many times down.
    settings.add_session_config_entry("session.set_denormal_as_zero", "1")
    if not to_run:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if not runs_on(device):
            raise ImportError(
                "The onnxruntime that is installed has no CUDA; install onnxruntime-gpu in its "
                "place, or set MODEL.DEVICE cpu."
            )
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    elif device.type != "cpu":
        raise ValueError(f"An ONNX file does not run on {device.type}; set MODEL.DEVICE cpu.")
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # onnxruntime has a class for each reason and none for them all
        raise ValueError(
            f"{path} cannot be run by onnxruntime {onnxruntime.__version__}: it is no ONNX file, "
            f"is cut short or too new ({reason(error)}); install a newer onnxruntime, or "
            "export, download or copy the file again."
        ) from error
    if device.type == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise ImportError(
            "onnxruntime cannot start CUDA here; install the onnxruntime-gpu that fits this CUDA, "
            "or set MODEL.DEVICE cpu."
        )
    return session


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"There is no ONNX file at {path}; check the path.")
    return path
