"""MODEL.WEIGHTS x.onnx wherever a checkpoint can be named, and tools/export.py."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import reidtools as rt  # noqa: E402
from reidtools import build  # noqa: E402
from reidtools.config.load import dump, load  # noqa: E402

ROOT = Path(__file__).parents[1]
SMALL = ["INPUT.SIZE_TRAIN", "[64, 32]", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
NET = ["MODEL.BACKBONE.NAME", "osnet_x0_25", "MODEL.BACKBONE.PRETRAIN", "False"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint of ours with a neck that is no identity, and the ONNX file made of it."""
    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    pixels = ["INPUT.PIXEL_MEAN", "[0.5, 0.4, 0.3]", "INPUT.INTERPOLATION", "bicubic"]
    pixels += ["TEST.FLIP", "normalized"]
    cfg = load("", [*NET, *SMALL, *pixels, "DATASETS.NAMES", "toy"])
    model = build.embedder(cfg).eval()
    with torch.no_grad():  # a neck that spreads what drawn weights put on one spot
        features = model.frames(torch.randn(64, 3, 64, 32))
        model.heads.neck.running_mean.copy_(features.mean(0))
        model.heads.neck.running_var.copy_(features.var(0))
        model.heads.neck.weight.uniform_(0.5, 2)
    checkpoint = folder / "best.pth"
    torch.save({"model": model.state_dict(), "config": dump(cfg)}, checkpoint)
    made = rt.export_model(rt.get_config("", ["MODEL.WEIGHTS", str(checkpoint)]), folder / "x.onnx")
    return checkpoint, made.path


@pytest.fixture
def people(tmp_path):
    from reidtools.data.datasets import load_dataset

    load_dataset("toy", tmp_path / "data")
    return tmp_path / "data"


def test_the_file_tells_how_its_pictures_are_made(files):
    about = {entry.key: entry.value for entry in onnx.load(files[1]).metadata_props}
    assert about["size"] == "64 32" and about["colour_order"] == "RGB"
    assert about["pixel_mean"] == "[0.5, 0.4, 0.3]" and about["flip"] == "normalized"
    assert about["interpolation"] == "bicubic"
    assert about["weights"] == "best.pth" and "osnet_x0_25" in about["config"]


def test_it_brings_its_config_and_is_the_same_model(files):
    path = files[1]
    ours, theirs = (rt.load(file) for file in files)
    assert theirs.config.INPUT.PIXEL_MEAN == [0.5, 0.4, 0.3]
    assert theirs.config.INPUT.INTERPOLATION == "bicubic"
    assert theirs.config.MODEL.WEIGHTS == str(path)
    pictures = [np.random.default_rng(n).integers(0, 255, (40, 20, 3), np.uint8) for n in range(5)]
    a, b = (rt.embed(model, pictures).vectors for model in (ours, theirs))
    assert (a - b).abs().max() < 1e-4 * a.abs().max()
    boxes, frame = [[0, 0, 10, 20], [5, 5, 20, 40]], pictures[0]
    assert np.allclose(
        ours.extract_features(boxes, frame), theirs.extract_features(boxes, frame), atol=1e-4
    )
    tracklet = [tuple(pictures)]
    a, b = (rt.embed(model, tracklet).vectors for model in (ours, theirs))
    assert (a - b).abs().max() < 1e-4 * a.abs().max()


def test_a_test_gives_the_same_figures(files, people, tmp_path):
    words = ["DATASETS.ROOT", str(people), "TEST.IMS_PER_BATCH", "7"]
    found = []
    for number, file in enumerate(files):
        out = ["MODEL.WEIGHTS", str(file), "OUTPUT_DIR", str(tmp_path / str(number))]
        found.append(rt.evaluate(rt.get_config("", [*words, *out])).figures["toy"])
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_a_gallery_of_one_is_searched_with_the_other(files, people, tmp_path):
    checkpoint = files[0]
    gallery = tmp_path / "gallery"
    built = rt.get_config("", ["MODEL.WEIGHTS", str(checkpoint)])
    rt.build_gallery(built, gallery, str(people / "toy" / "bounding_box_test"))
    query = sorted((people / "toy" / "query").glob("*.jpg"))[:3]
    hits = []
    for file in files:
        cfg = rt.gallery_config(gallery, overrides=["MODEL.WEIGHTS", str(file)])
        hits.append(str(rt.search_gallery(cfg, gallery, [str(p) for p in query], 3)))
    assert hits[0] == hits[1]


def test_a_file_of_somebody_else_brings_only_its_size(files, tmp_path, capsys):
    proto = onnx.load(files[1])
    del proto.metadata_props[:]
    path = tmp_path / "bare.onnx"
    onnx.save(proto, path)
    cfg = rt.get_config("", ["MODEL.WEIGHTS", str(path)])
    assert cfg.INPUT.SIZE_TRAIN == [64, 32]
    told = capsys.readouterr().err
    assert "they are RGB, of 64 x 32, with ImageNet's mean and deviation" in told
    mean = (0.5, 0.4, 0.3)
    theirs = rt.FeatureExtractor(model_path=path, pixel_mean=mean, device="cpu")
    ours = rt.FeatureExtractor(model_path=files[0], device="cpu", verbose=False)
    picture = [np.full((64, 32, 3), 90, np.uint8)]
    assert rt.embed(theirs.model, picture).vectors.shape == (1, 512)
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    assert (ours(images) - theirs(images)).abs().max() < 1e-4 * ours(images).abs().max()
    assert "bare.onnx on cpu" in capsys.readouterr().out


def test_it_cannot_be_trained_or_joined_otherwise(files, people):
    words = ["MODEL.WEIGHTS", str(files[1]), "DATASETS.ROOT", str(people)]
    with pytest.raises(ValueError, match="a network to run.*name the checkpoint"):
        rt.train(rt.get_config(ROOT / "configs" / "demo.yml", words))
    attention = [*words, "MODEL.TEMPORAL.NAME", "Attention"]
    with pytest.raises(ValueError, match="set MODEL.TEMPORAL.NAME Mean"):
        rt.evaluate(rt.get_config("", attention))


def test_pictures_of_another_size_are_told(files):
    words = ["MODEL.WEIGHTS", str(files[1]), "INPUT.SIZE_TEST", "[32, 32]"]
    with pytest.raises(ValueError, match=r"takes pictures \(B, 3, 64, 32\)"):
        rt.create_embeddings(rt.get_config("", [*words, "DATASETS.ROOT", "docs/pictures"]))


def test_a_model_of_tracklets_is_exported_as_one_of_pictures(files, tmp_path, capsys):
    words = [*NET, *SMALL, "MODEL.TEMPORAL.NAME", "GeM"]
    cfg = load("", words)
    torch.save({"model": build.embedder(cfg).state_dict(), "config": dump(cfg)}, tmp_path / "g.pth")
    made = rt.export_model(
        rt.get_config("", ["MODEL.WEIGHTS", str(tmp_path / "g.pth")]), tmp_path / "g.onnx"
    )
    assert "MODEL.TEMPORAL GeM, which joins the frames" in capsys.readouterr().err
    assert rt.load(made.path).config.MODEL.TEMPORAL.NAME == "Mean"


def test_what_the_8_bits_cost_is_measured(files, people, tmp_path, capsys):
    words = ["MODEL.WEIGHTS", str(files[0]), "DATASETS.ROOT", str(people)]
    made = rt.export_model(rt.get_config("", words), tmp_path / "y.onnx", int8=True, test=True)
    assert made.quantised.path == tmp_path / "y_int8.onnx"
    table = capsys.readouterr().out.rpartition("| Dataset")[2]
    for name in ("best.pth, toy", "y.onnx, toy", "y_int8.onnx, toy"):
        assert name in table
    rows = [line.split("|")[2:9] for line in table.strip().splitlines()[2:]]
    assert np.allclose([float(v) for v in rows[0]], [float(v) for v in rows[1]], atol=0.05)


def test_unknown_formats_and_endings_are_refused(files, tmp_path):
    cfg = rt.get_config("", ["MODEL.WEIGHTS", str(files[0])])
    with pytest.raises(LookupError, match="onnx"):
        rt.export_model(cfg, tmp_path / "x.onnx", format="onx")
    with pytest.raises(ValueError, match=r"must end in \.pt2"):
        rt.export_model(cfg, tmp_path / "x.onnx", format="torch_export")
    again = rt.get_config("", ["MODEL.WEIGHTS", str(files[1])])
    with pytest.raises(ValueError, match="all that can be exported of it"):
        rt.export_model(again, tmp_path / "z.onnx")
    assert not list(tmp_path.iterdir())
