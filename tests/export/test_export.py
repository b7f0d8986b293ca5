"""Exported files run without reidtools and give what torch gives, or are not left behind."""

import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from reidtools.data.transforms import Normalize  # noqa: E402
from reidtools.export import FORMATS, export_embedder  # noqa: E402
from reidtools.export.int8 import rounded  # noqa: E402
from reidtools.modeling import Embedder, Preparation  # noqa: E402
from reidtools.modeling.heads.bnneck import BNNeck  # noqa: E402
from reidtools.modeling.heads.linear import Linear  # noqa: E402
from reidtools.modeling.onnx_network import OnnxNetwork, read_about  # noqa: E402
from reidtools.modeling.weights import fit, read, state_of  # noqa: E402
from reidtools.registry import BACKBONES  # noqa: E402

ROOT = Path(__file__).parents[2]
REAL = os.environ.get("REIDTOOLS_OSNET", "")  # osnet_x0_25_msmt17.pth, where there is one
SIZE = (16, 8)
ABOUT = {"pixel_mean": "[0.485, 0.456, 0.406]", "pixel_std": "[0.229, 0.224, 0.225]"}
ABOUT |= {"colour_order": "RGB", "fingerprint": "abc"}


class Small(nn.Module):
    """Two convolutions, batch and instance norm, dropout; maps of 16 channels."""

    dim, pooled = 16, False

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norms = nn.Sequential(
            nn.BatchNorm2d(16), nn.ReLU(), nn.InstanceNorm2d(16, affine=True)
        )
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.second(self.norms(self.first(images))))


def small(backbone=None):
    torch.manual_seed(0)
    backbone = backbone or Small()
    heads = BNNeck(backbone.dim, backbone.pooled)
    nn.init.uniform_(heads.neck.running_mean)
    return Embedder(backbone, heads, None, Preparation(SIZE, Normalize()))


def pictures(count, size=SIZE):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(7))


def run(path):
    """The file at `path` as someone without reidtools would run it."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda images: session.run(["features"], {"images": images.numpy()})[0]
    with path.open("rb") as file:
        load = torch.jit.load if path.suffix == ".pt" else lambda f: torch.export.load(f).module()
        network = load(file)
    return lambda images: network(images).numpy()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The small model in each format; the ONNX file with its 8-bit twin."""
    folder, model = tmp_path_factory.mktemp("exported"), small()
    return model, {
        name: export_embedder(
            model, folder / f"new/m{form.ending}", SIZE, ABOUT, format=name, int8=name == "onnx"
        )
        for name, form in FORMATS.items()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_any_batch_gives_the_embeddings(exported, name):
    model, files = exported
    network = run(files[name].path)
    model.eval()
    for count in (1, 2, 6):
        images = pictures(count)
        with torch.no_grad():
            features, embeddings = model(images)
        np.testing.assert_allclose(network(images), embeddings, atol=1e-5)
        assert not np.allclose(network(images), features, atol=1e-2)


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_tells_what_is_known(exported, name):
    path = exported[1][name].path
    if name == "onnx":
        about, _ = read_about(path)
    else:
        with zipfile.ZipFile(path) as archive:
            (entry,) = [e for e in archive.namelist() if e.endswith("extra/metadata.json")]
            about = json.loads(archive.read(entry))
    assert about.items() >= ABOUT.items()
    own = {"producer": "reidtools", "format": name, "size": "16 8", "dim": "16"}
    assert about.items() >= own.items() and {"reidtools", "torch", "precision"} <= about.keys()


def test_the_onnx_file_is_one_for_any_tool(exported):
    made = exported[1]["onnx"]
    session = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    ((images,), (features,)) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape, images.type) == (
        *("images", ["batch", 3, 16, 8]),
        "tensor(float)",
    )
    assert (features.name, features.shape) == ("features", ["batch", 16])
    model = onnx.load(made.path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert OnnxNetwork(made.path).fingerprint == "abc"


def test_no_folder_of_this_machine_is_in_the_onnx_file(exported):
    content = exported[1]["onnx"].path.read_bytes()
    assert str(ROOT).encode() not in content and b"site-packages" not in content


def test_what_was_measured_is_told(exported):
    made = exported[1]["onnx"]
    assert (made.size, made.dim, made.bytes) == (SIZE, 16, made.path.stat().st_size)
    with torch.inference_mode():
        model, network = exported[0].eval(), OnnxNetwork(made.path)
        generator = torch.Generator().manual_seed(0)
        batches = [torch.randn(n, 3, *SIZE, generator=generator) for n in (1, 3, 5)]
        pairs = [(model(images)[1], network(images)) for images in batches]
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    assert made.max_difference == pytest.approx(largest, rel=0.5, abs=1e-9)
    assert made.relative == made.max_difference / max(float(a.abs().max()) for a, _ in pairs) < 1e-5
    assert "(batch, 3, 16, 8) -> vectors (batch, 16), any batch\ndiffers from torch" in str(made)


def test_the_model_stays_as_it_was(tmp_path):
    model = small().to(memory_format=torch.channels_last).half().train()
    model.backbone.second.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_embedder(model, tmp_path / "m.pt", SIZE, {}, format="torchscript")
    assert all(module.training for module in model.modules())
    assert model.backbone.first.weight.is_contiguous(memory_format=torch.channels_last)
    assert [p.requires_grad for p in model.backbone.second.parameters()] == [False, False]
    assert model.backbone.first.weight.requires_grad
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name])
    assert run(tmp_path / "m.pt")(pictures(2)).dtype == np.float32


def test_exporters_are_not_heard(tmp_path, capfd, recwarn):
    export_embedder(small(), tmp_path / "m.onnx", SIZE, ABOUT)
    out, err = capfd.readouterr()
    assert (out, err, list(recwarn)) == ("", "", [])


# 8 bits


def test_kernels_are_rounded_channel_by_channel():
    kernels = np.array([[1.27, -0.63], [100, 12.7]], np.float32).reshape(2, 2, 1, 1)
    numbers, scales = rounded(kernels)
    assert numbers.dtype == np.int8 and numbers.ravel().tolist() == [127, -63, 127, 16]
    assert scales.ravel().tolist() == pytest.approx([0.01, 100 / 127])
    # No number is further off than half a step.
    assert (np.abs(numbers * scales - kernels) <= scales / 2).all()


def test_the_int8_file_lies_beside_the_other(exported):
    model, files = exported
    made, twin = files["onnx"], files["onnx"].quantised
    assert twin.path == made.path.with_name("m_int8.onnx") and twin.bytes < made.bytes
    vectors = torch.from_numpy(run(twin.path)(pictures(6)))
    with torch.no_grad():
        cosines = torch.cosine_similarity(vectors, model.eval()(pictures(6))[1])
    assert 0.99 < float(cosines.min()) < 1 and 0.99 < twin.lowest_cosine <= twin.mean_cosine < 1
    assert (
        f"m_int8.onnx (6 kB): int8, cosine to torch on drawn noise {twin.mean_cosine:.4f}"
        in str(made)
    )


def test_the_int8_file_is_another_model(exported):
    made = exported[1]["onnx"]
    about, _ = read_about(made.quantised.path)
    assert about["precision"] == "int8" and "fingerprint" not in about
    assert about["colour_order"] == "RGB"
    assert len(OnnxNetwork(made.quantised.path).fingerprint) == 64


def test_products_of_matrices_are_computed_in_integers(tmp_path):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 8, 32), nn.ReLU())
    backbone.dim, backbone.pooled = 32, True
    made = export_embedder(small(backbone), tmp_path / "m.onnx", SIZE, {}, int8=True)
    kinds = {node.op_type for node in onnx.load(made.quantised.path).graph.node}
    assert "MatMulInteger" in kinds and not {"MatMul", "Gemm", "ConvInteger"} & kinds
    assert made.quantised.bytes < made.bytes / 2


# What is refused


def off_by(share):
    """TorchScript of a network whose vectors are larger by `share` than they should be."""

    class Scaled(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network(images) * (1 + share)

    form = FORMATS["torchscript"]
    return form._replace(write=lambda network, *rest: form.write(Scaled(network), *rest))


def test_a_file_that_differs_is_not_left(tmp_path, monkeypatch):
    """1e-3 of the largest value is the limit; a file that was there before stays."""
    path = tmp_path / "m.pt"
    monkeypatch.setitem(FORMATS, "scaled", off_by(0.8e-3))
    made = export_embedder(small(), path, SIZE, {}, format="scaled")
    assert made.relative == pytest.approx(0.8e-3, rel=1e-2)
    good = path.read_bytes()
    for share in (1.2e-3, float("nan")):
        monkeypatch.setitem(FORMATS, "scaled", off_by(share))
        with pytest.raises(
            ValueError, match=r"differs from torch by .* 0.001 is allowed.*format: "
        ):
            export_embedder(small(), path, SIZE, {}, format="scaled")
        assert path.read_bytes() == good and list(tmp_path.iterdir()) == [path]


def test_a_file_for_one_batch_only_is_not_left(tmp_path):
    class Fixed(Small):
        def forward(self, images):
            return super().forward(images).reshape(int(images.shape[0]), 16, 8, 4)

    with pytest.raises(ValueError, match=r"does not run on batches of \(1, 3, 5\) .*format: onnx"):
        export_embedder(small(Fixed()), tmp_path / "m.pt", SIZE, {}, format="torchscript")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["write", "load"])
def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, stage):
    def interrupt(*_):
        raise KeyboardInterrupt

    form = FORMATS["torchscript"]._replace(**{stage: interrupt})
    monkeypatch.setitem(FORMATS, "torchscript", form)
    with pytest.raises(KeyboardInterrupt):
        export_embedder(small(), tmp_path / "m.pt", SIZE, {}, format="torchscript")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_traced(tmp_path):
    class Asks(Small):
        def forward(self, images):
            return super().forward(images) if float(images.sum()) > 0 else images

    with pytest.raises(ValueError, match=r"cannot be exported to \.pt2 .*another format: onnx"):
        export_embedder(small(Asks()), tmp_path / "m.pt2", SIZE, {}, format="torch_export")
    assert list(tmp_path.iterdir()) == []


def test_requests_that_make_no_sense(tmp_path, exported):
    model, path = small(), tmp_path / "m.pt"
    with pytest.raises(
        LookupError, match="Unknown format 'torchscrip'. Did you mean 'torchscript'"
    ):
        export_embedder(model, path, SIZE, {}, format="torchscrip")
    with pytest.raises(ValueError, match=r"m.pt must end in \.onnx; change its name"):
        export_embedder(model, path, SIZE, {})
    with pytest.raises(ValueError, match="8 bits; choose the format onnx"):
        export_embedder(model, path, SIZE, {}, format="torchscript", int8=True)
    with pytest.raises(TypeError, match="turn size, flip into strings"):
        export_embedder(model, path, SIZE, {"size": 3, "flip": True}, format="torchscript")
    network = OnnxNetwork(exported[1]["onnx"].path)
    again = Embedder(network, Linear(network.dim, True))
    with pytest.raises(ValueError, match="runs an ONNX file, .*export the checkpoint"):
        export_embedder(again, path, SIZE, {}, format="torchscript")
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_cannot_export(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.onnx, "export", lambda model, args, f: None)
    with pytest.raises(ImportError, match="install torch 2.5 or newer"):
        export_embedder(small(), tmp_path / "m.onnx", SIZE, {})


def test_an_opset_that_cannot_be_had(tmp_path):
    with pytest.raises(ValueError, match="cannot be exported to .onnx"):
        export_embedder(small(), tmp_path / "m.onnx", SIZE, {}, opset=3)
    assert list(tmp_path.iterdir()) == []


def test_without_onnxscript(tmp_path, monkeypatch):
    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'reidtools\[export\]'"):
        export_embedder(small(), tmp_path / "m.onnx", SIZE, {})


# Registered backbones. All of them were tried by hand; these are quick.


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet18", {}), ("timm", {"timm_name": "test_vit"}), ("timm", {"timm_name": "test_resnet"})],
)
def test_backbones_agree(tmp_path, name, options):
    torch.manual_seed(0)
    backbone = BACKBONES.build(name, {"image_size": (32, 16)}, options)
    made = export_embedder(small(backbone), tmp_path / "m.onnx", (32, 16), {})
    assert made.relative < 1e-5 and made.dim == backbone.dim


@pytest.fixture(scope="module")
def osnet(tmp_path_factory):
    """OSNet of quarter width, as the page tells it, with the published weights if there are any."""
    torch.manual_seed(0)
    backbone = BACKBONES.build("osnet_x0_25", {}, {})
    if REAL:
        fit(backbone, state_of(read(REAL)))
    path = tmp_path_factory.mktemp("osnet") / "best.onnx"
    size = (256, 128) if REAL else (64, 32)
    model = Embedder(backbone, Linear(512, True))
    return export_embedder(model, path, size, ABOUT, int8=True)


def test_osnet_agrees(osnet):
    assert osnet.relative < 1e-4
    assert osnet.quantised.bytes < osnet.bytes / 2 and osnet.quantised.lowest_cosine > 0.97


def test_the_python_of_the_page_runs(osnet, tmp_path, monkeypatch):
    import cv2

    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.onnx").write_bytes(osnet.path.read_bytes())
    cv2.imwrite("person.jpg", np.full((80, 40, 3), 99, np.uint8))
    page = (ROOT / "docs/export.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    names = {}
    exec(compile(block, "docs/export.md", "exec"), names)
    assert names["vectors"].shape == (1, 512)
    assert np.linalg.norm(names["vectors"]) == pytest.approx(1, abs=1e-5)
