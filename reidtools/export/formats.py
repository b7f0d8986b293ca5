"""The formats: how a network that makes vectors of pictures becomes bytes, and runs from a file."""

import contextlib
import inspect
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reidtools.extras import require
from reidtools.modeling.onnx_network import CAMERAS, OnnxNetwork

About = Mapping[str, str]
INPUT, OUTPUT, BATCH = "images", "features", "batch"
Inputs = tuple[Tensor, ...]  # pictures (B, 3, H, W), and camids (B,) where a network takes them
ABOUT = "metadata.json"  # the extra file in .pt and .pt2


class Format(NamedTuple):
    """One format: its ending, its writer, and its reader for the check.

    `write` is given the network, inputs to trace it with, what is known about it and the version of
    ONNX's operators. `load` gives a function of such inputs.
    """

    ending: str
    write: Callable[[nn.Module, Inputs, About, int], bytes]
    load: Callable[[Path], Callable[..., Tensor]]


def _free_batch(inputs: Inputs) -> dict[str, dict]:
    """The names of inputs, each with a first axis of any length."""
    return {name: {0: torch.export.Dim(BATCH)} for name in (INPUT, CAMERAS)[: len(inputs)]}


def require_onnx() -> None:
    """Raise an ImportError that names the extra unless all that ONNX files take is here."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, f"Exporting to ONNX takes {package}", "export")


def write_onnx(network: nn.Module, inputs: Inputs, about: About, opset: int) -> bytes:
    """An ONNX file with a free batch axis; `about` is its metadata_props."""
    require_onnx()
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise ImportError(
            f"torch {torch.__version__} cannot export networks in the way used here; install "
            "torch 2.5 or newer."
        )
    import onnx

    program = torch.onnx.export(
        network,
        inputs,
        dynamo=True,
        input_names=[*_free_batch(inputs)],
        output_names=[OUTPUT],
        dynamic_shapes=_free_batch(inputs),
        opset_version=opset,
        verbose=False,
    )
    proto = program.model_proto
    written = {entry.domain: entry.version for entry in proto.opset_import}[""]
    if written != opset:  # the exporter only warns
        raise ValueError(f"it needs opset {written}: ask for that, not for {opset}")
    _without_traces(proto.graph)
    del proto.graph.value_info[:]  # onnxruntime's quantiser transposes weights, and infers anew
    for function in proto.functions:
        _without_traces(function)
    onnx.helper.set_model_props(proto, dict(about))
    proto.producer_name = about["producer"]
    proto.producer_version = about["reidtools"]
    return proto.SerializeToString()


def _without_traces(graph) -> None:
    """Take out what the exporter notes beside nodes and values: source lines with their folders."""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.value_info, *getattr(graph, "initializer", ())):
        del part.metadata_props[:]
        part.doc_string = ""


def load_onnx(path: Path) -> Callable[..., Tensor]:
    """The network of an ONNX file that ONNX's own checker accepts, in onnxruntime."""
    import onnx

    onnx.checker.check_model(str(path), full_check=True)
    network = OnnxNetwork(path)
    if network.batch:
        raise ValueError(f"it is fixed to batches of {network.batch}")
    return network


def write_torchscript(network: nn.Module, inputs: Inputs, about: About, opset: int) -> bytes:
    """A traced TorchScript; the extra file `ABOUT` has `about` as JSON."""
    traced, file = torch.jit.trace(network, inputs, check_trace=False), io.BytesIO()
    torch.jit.save(traced, file, _extra_files={ABOUT: json.dumps(dict(about))})
    return file.getvalue()


def load_torchscript(path: Path) -> Callable[..., Tensor]:
    """The network of a TorchScript file, on the CPU."""
    return torch.jit.load(str(path), map_location="cpu")


def write_torch_export(network: nn.Module, inputs: Inputs, about: About, opset: int) -> bytes:
    """What torch.export.save writes, with a free batch axis; `ABOUT` has `about` as JSON."""
    shapes, file = _free_batch(inputs), io.BytesIO()
    program = torch.export.export(network, inputs, dynamic_shapes=shapes)
    # Where a value was computed is noted beside each node: lines of source, with their folders.
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, file, extra_files={ABOUT: json.dumps(dict(about))})
    return file.getvalue()


def load_torch_export(path: Path) -> Callable[..., Tensor]:
    """The network of a file of torch.export."""
    with path.open("rb") as file:
        return torch.export.load(file).module()


FORMATS = {
    "onnx": Format(".onnx", write_onnx, load_onnx),
    "torchscript": Format(".pt", write_torchscript, load_torchscript),
    "torch_export": Format(".pt2", write_torch_export, load_torch_export),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep from the terminal what exporters print, warn and log; their errors still come."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
