"""Weights of 8 bits for ONNX files."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def quantise(source: Path, about: Mapping[str, str]) -> bytes:
    """The network of the float32 ONNX file `source` with weights of 8 bits; `about` is kept in it.

    Matrix products are dynamically quantised by onnxruntime: 8-bit weights, one scale a column, and
    inputs rounded as they come, so that they are computed in integers. Convolutions keep 8-bit
    weights in the file only, one scale an output channel, and are computed in float32: in
    integers (ConvInteger) they are about half as fast on a CPU, and rounding each of their inputs
    costs far more accuracy than rounding the weights.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    _round_convolutions(model.graph)
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "int8.onnx")
        # Unsigned weights: signed ones overflow on CPUs without VNNI unless given 7 bits.
        quantize_dynamic(
            model,
            target,
            per_channel=True,
            weight_type=QuantType.QUInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
        model = onnx.load(target)
    # Only the float32 file is the model of that fingerprint.
    kept = {key: value for key, value in about.items() if key != "fingerprint"}
    onnx.helper.set_model_props(model, kept | {"precision": "int8"})
    return model.SerializeToString()


def _round_convolutions(graph: Any) -> None:
    """Keep the kernels of convolutions in 8 bits; ``Cast`` and ``Mul`` restore them at loading.

    onnxruntime folds the two when it opens the file, so that they cost nothing at each run.
    """
    from onnx import TensorProto, helper, numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    used = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    restoring = []
    for name in sorted(used & stored.keys()):
        kernels = numpy_helper.to_array(stored[name])
        if kernels.dtype != np.float32:
            continue
        numbers, scales = rounded(kernels)
        graph.initializer.remove(stored[name])
        graph.initializer.append(numpy_helper.from_array(numbers, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        restoring += [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name]),
        ]
    nodes = [*restoring, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def rounded(kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernels (out, in, h, w) as int8 and the float32 scale (out, 1, 1, 1) of each output channel.

    >>> numbers, scales = rounded(np.array([[[[-63.5, 25.0]]], [[[0.0, 0.0]]]], np.float32))
    >>> numbers.ravel().tolist(), scales.ravel().tolist()
    ([-127, 50, 0, 0], [0.5, 1.0])
    """
    largest = np.abs(kernels).max(axis=tuple(range(1, kernels.ndim)), keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(kernels / scales).astype(np.int8), scales
