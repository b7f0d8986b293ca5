"""ONNX files as networks. The one drawn here has the mean of each colour as its vector."""

import hashlib

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from reidtools.modeling import Embedder  # noqa: E402
from reidtools.modeling.heads.linear import Linear  # noqa: E402
from reidtools.modeling.onnx_network import OnnxNetwork, read_about  # noqa: E402

MEAN = helper.make_node("GlobalAveragePool", ["images"], ["map"])  # (B, 3, 1, 1)
FLAT = helper.make_node("Flatten", ["map"], ["features"])  # (B, 3)


def write(
    path, batch="batch", size=(4, 2), channels=3, kind=TensorProto.FLOAT, nodes=(MEAN, FLAT),
    inputs=(), outputs=(("features", ("batch", 3)),), about=None, initializers=(),
):  # fmt: skip
    images = helper.make_tensor_value_info("images", kind, (batch, channels, *size))
    more = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs]
    made = [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs]
    graph = helper.make_graph(list(nodes), "mean", [images, *more], made, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, about or {})
    path.write_bytes(model.SerializeToString())
    return path


def pictures(count, height=4, width=2):
    """Picture i is i, 10 + i and 20 + i all over in its three colours."""
    first = torch.arange(count, dtype=torch.float32)
    colours = torch.stack([first, 10 + first, 20 + first], 1)
    return colours[:, :, None, None].expand(-1, -1, height, width)


def test_a_vector_a_picture(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx"))
    assert (network.dim, network.size, network.pooled, network.name) == (
        3,
        (4, 2),
        True,
        "mean.onnx",
    )
    vectors = network(pictures(3))
    assert vectors.dtype == torch.float32
    assert vectors.tolist() == [[0, 10, 20], [1, 11, 21], [2, 12, 22]]


def test_pictures_in_other_orders_and_kinds_are_the_same(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx"))
    last = pictures(2).contiguous(memory_format=torch.channels_last)
    for images in (last, last.double(), last.half(), last.clone().requires_grad_()):
        assert network(images).tolist() == [[0, 10, 20], [1, 11, 21]]


def test_no_pictures_are_no_vectors(tmp_path):
    assert OnnxNetwork(write(tmp_path / "mean.onnx"))(pictures(0)).shape == (0, 3)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_a_file_of_a_fixed_batch_takes_any(tmp_path, batch):
    path = write(tmp_path / "mean.onnx", batch=batch, outputs=[("features", (batch, 3))])
    assert OnnxNetwork(path)(pictures(5))[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_half_floats_come_back_as_float32(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx", kind=TensorProto.FLOAT16))
    assert network(pictures(2)).dtype == torch.float32
    assert network(pictures(2)).tolist() == [[0, 10, 20], [1, 11, 21]]


def test_a_file_that_takes_several_sizes(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx", size=("height", "width")))
    assert network.size is None
    assert network(pictures(2, 6, 5)).shape == (2, 3)


def test_a_length_the_file_does_not_tell_is_found_by_a_run(tmp_path):
    path = write(tmp_path / "mean.onnx", outputs=[("features", ("batch", "dim"))])
    assert OnnxNetwork(path).dim == 3


def test_a_map_of_one_place_is_a_vector(tmp_path):
    path = write(tmp_path / "mean.onnx", nodes=[MEAN], outputs=[("map", ("batch", 3, 1, 1))])
    assert OnnxNetwork(path)(pictures(2)).tolist() == [[0, 10, 20], [1, 11, 21]]


def test_of_several_outputs_the_first_counts_and_the_log_says_so(tmp_path, caplog):
    outputs = [("features", ("batch", 3)), ("map", ("batch", 3, 1, 1))]
    with caplog.at_level("INFO", "reidtools"):
        network = OnnxNetwork(write(tmp_path / "mean.onnx", outputs=outputs))
    assert network(pictures(2)).shape == (2, 3)
    assert "several outputs (features, map): the first is taken" in caplog.text


def test_it_is_a_backbone(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx"))
    model = Embedder(network, Linear(network.dim, network.pooled)).eval()
    tracklet = pictures(4).reshape(2, 2, 3, 4, 2)
    _, embeddings = model(tracklet)
    assert embeddings.tolist() == [[0.5, 10.5, 20.5], [2.5, 12.5, 22.5]]
    assert list(model.parameters()) == [] and model.device.type == "cpu"


def test_it_runs_on_the_threads_of_torch(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx"))
    settings = network._session.get_session_options()
    assert settings.intra_op_num_threads == torch.get_num_threads()
    assert settings.get_session_config_entry("session.set_denormal_as_zero") == "1"


# What the file says of itself


def test_metadata_is_what_the_onnx_package_reads(tmp_path):
    about = {"mean": "0.5 0.5 0.5", "note": "Ünïcode, and\nlines", "empty": ""}
    path = write(tmp_path / "mean.onnx", about=about)
    assert read_about(path)[0] == about == OnnxNetwork(path).metadata
    assert {entry.key: entry.value for entry in onnx.load(path).metadata_props} == about


def test_a_file_without_metadata_has_none(tmp_path):
    assert read_about(write(tmp_path / "mean.onnx"))[0] == {}


def test_the_size_is_told_by_the_network(tmp_path):
    other = write(tmp_path / "other.onnx", about={"size": "large"})
    assert read_about(other) == ({"size": "large"}, (4, 2))
    free = write(tmp_path / "free.onnx", size=("height", "width"))
    assert read_about(free) == ({}, None)


def test_the_fingerprint_is_the_one_the_file_brings_or_its_sha(tmp_path):
    def mark(**options):
        path = write(tmp_path / "mean.onnx", **options)
        own = OnnxNetwork(path).fingerprint
        return "sha" if own == hashlib.sha256(path.read_bytes()).hexdigest() else own

    assert mark(about={"fingerprint": "abc"}) == "abc"
    assert mark(about={"fingerprint": "abc", "precision": "float32"}) == "abc"
    assert mark(about={}) == "sha"
    # Rounded weights are another model, whoever rounded them.
    assert mark(about={"fingerprint": "abc", "precision": "int8"}) == "sha"
    assert mark(about={"fingerprint": "abc", "onnx.infer": "onnxruntime.quant"}) == "sha"
    assert mark(about={"fingerprint": "abc"}, kind=TensorProto.FLOAT16) == "sha"


# What goes wrong


def test_a_missing_file(tmp_path):
    for read in (OnnxNetwork, read_about):
        with pytest.raises(FileNotFoundError, match="There is no ONNX file at .*check the path"):
            read(tmp_path / "mean.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><p>quota", b"PK\x03\x04 zip", b"\xff" * 99]
)
def test_what_is_no_onnx_file(tmp_path, content):
    path = tmp_path / "mean.onnx"
    path.write_bytes(content)
    for read in (OnnxNetwork, read_about):
        with pytest.raises(
            ValueError, match=r"it is no ONNX file, is cut short.*copy the file again"
        ):
            read(path)


def test_a_file_that_is_cut_short(tmp_path):
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "weight")
    conv = helper.make_node("Conv", ["images", "weight"], ["mixed"])
    mean = helper.make_node("GlobalAveragePool", ["mixed"], ["map"])
    path = write(tmp_path / "x.onnx", nodes=[conv, mean, FLAT], initializers=[weight])
    whole = path.read_bytes()
    for end in range(1, len(whole) - 1, 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"again\.$"):
            OnnxNetwork(path)


def test_files_that_take_something_else(tmp_path):
    other = {
        "two inputs": {"inputs": [("mask", ("batch", 1))]},
        "four channels": {"channels": 4},
        "no picture": {"size": (2,)},
        "bytes": {"kind": TensorProto.UINT8},
    }
    for name, options in other.items():
        if name == "bytes":
            options |= {"nodes": [helper.make_node("Flatten", ["images"], ["features"])]}
            options |= {"outputs": [("features", ("batch", 24))]}
        path = write(tmp_path / "x.onnx", **options)
        with pytest.raises(ValueError, match=r"not one batch of RGB pictures .*choose the file"):
            OnnxNetwork(path)


def test_a_file_that_makes_maps(tmp_path):
    same = helper.make_node("Identity", ["images"], ["features"])
    path = write(tmp_path / "x.onnx", nodes=[same], outputs=[("features", ("batch", 3, 4, 2))])
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 2\), not a vector of each.*its pooling"):
        OnnxNetwork(path)


def test_a_file_that_makes_one_vector_of_all(tmp_path):
    """Exported with a batch of one baked in, behind a batch axis that looks free."""
    shape = numpy_helper.from_array(np.array([1, -1]), "shape")
    flat = helper.make_node("Reshape", ["map", "shape"], ["features"])
    path = write(tmp_path / "x.onnx", nodes=[MEAN, flat], initializers=[shape])
    network = OnnxNetwork(path)
    assert network(pictures(1)).shape == (1, 3)
    with pytest.raises(ValueError, match=r"\(1, 6\) of 2 pictures, not \(2, 3\).*free batch axis"):
        network(pictures(2))


def test_pictures_of_another_size(tmp_path):
    network = OnnxNetwork(write(tmp_path / "mean.onnx"))
    with pytest.raises(
        ValueError, match=r"\(B, 3, 4, 2\), not 2 x 3 x 8 x 4; set INPUT.SIZE_TEST \[4, 2\]"
    ):
        network(pictures(2, 8, 4))
    with pytest.raises(ValueError, match="not 3 x 4 x 2"):
        network(pictures(1)[0])


def test_a_size_that_only_shows_at_the_run(tmp_path):
    """The file says that any size will do; its last layer knows better."""
    weight = numpy_helper.from_array(np.ones((24, 3), np.float32), "weight")
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["features"]),
    ]
    path = write(tmp_path / "x.onnx", size=("h", "w"), nodes=nodes, initializers=[weight])
    network = OnnxNetwork(path)
    assert network(pictures(1)).shape == (1, 3)
    with pytest.raises(ValueError, match="cannot be run on pictures 1 x 3 x 8 x 2 .*the size that"):
        network(pictures(1, 8))


def test_operators_that_onnxruntime_does_not_know(tmp_path):
    strange = helper.make_node("Strange", ["images"], ["features"])
    path = write(tmp_path / "x.onnx", nodes=[strange])
    with pytest.raises(ValueError, match=r"cannot be run by onnxruntime .*copy the file again\.$"):
        OnnxNetwork(path)


def test_devices_it_does_not_run_on(tmp_path, monkeypatch):
    path = write(tmp_path / "mean.onnx")
    with pytest.raises(ValueError, match="does not run on mps; set MODEL.DEVICE cpu"):
        OnnxNetwork(path, "mps")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ImportError, match="has no CUDA; install onnxruntime-gpu .*DEVICE cpu"):
        OnnxNetwork(path, "cuda")


def test_without_onnxruntime(tmp_path, monkeypatch):
    path = write(tmp_path / "mean.onnx", about={"a": "b"})
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"onnxruntime, which .*pip install 'reidtools\[export\]'"
    ):
        OnnxNetwork(path)
