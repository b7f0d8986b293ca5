"""The MATLAB index of Human Re-ID with DenseNet: shapes as specified, there and back."""

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from reidtools.evaluation import Vectors
from reidtools.retrieval import read_matlab, write_matlab

GALLERY = Vectors(
    np.array([[3.0, 4], [1, 0], [0, -2]]), [2, -1, 0], [0, 5, -1], ["a.jpg", "b.jpg", "c.jpg"]
)
QUERY = Vectors(np.array([[0, 1.0]]), [2], [1])


def test_the_file_is_as_specified(tmp_path):
    path = tmp_path / "index/masked-hog-908.mat"
    write_matlab(path, GALLERY)
    found = {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    assert {key: value.shape for key, value in found.items()} == {
        "query_embs": (0, 0),
        "query_cam_ids": (1, 0),
        "query_cls_labels": (1, 0),
        "gallery_embs": (3, 2),
        "gallery_cam_ids": (1, 3),
        "gallery_cls_labels": (1, 3),
    }
    assert np.allclose(found["gallery_embs"], [[0.6, 0.8], [1, 0], [0, -1]])
    assert found["gallery_cls_labels"].tolist() == [[2, -1, 0]]
    assert found["gallery_cam_ids"].tolist() == [[1, 6, 0]]


def test_there_and_back(tmp_path):
    write_matlab(tmp_path / "a.mat", GALLERY, QUERY)
    query, gallery, about = read_matlab(tmp_path / "a.mat")
    assert (
        about is None
        and gallery.pids.tolist() == [2, -1, 0]
        and gallery.camids.tolist() == [0, 5, -1]
    )
    assert gallery.paths == ["0002_c1_row0", "-001_c6_row1", "0000_c0_row2"]
    assert query.vectors.tolist() == [[0, 1]] and query.camids.tolist() == [1]
    write_matlab(tmp_path / "b.mat", gallery)
    assert read_matlab(tmp_path / "b.mat")[0] is None


def test_what_is_known_of_the_model_is_one_more_variable(tmp_path):
    about = {"weights": "ä/\udcff.pth", "size": [256, 128], "head": {"NAME": "x", "P": None}}
    write_matlab(tmp_path / "a.mat", GALLERY, about=about)
    assert read_matlab(tmp_path / "a.mat")[2] == about
    found = loadmat(tmp_path / "a.mat")
    assert found["about"].dtype.kind == "U" and found["gallery_embs"].shape == (3, 2)
    for torn in ("{", "3", [1.0, 2.0]):
        content = {key: value for key, value in found.items() if key[:2] != "__"}
        savemat(tmp_path / "a.mat", content | {"about": torn})
        with pytest.raises(ValueError, match="torn or no index"):
            read_matlab(tmp_path / "a.mat")


def test_files_that_a_script_saved_from_lists(tmp_path):
    savemat(
        tmp_path / "a.mat",
        {
            "query_embs": [],
            "query_cam_ids": [],
            "query_cls_labels": [],
            "gallery_embs": np.eye(2),
            "gallery_cam_ids": [1, 6],
            "gallery_cls_labels": ["0002", "-1"],
        },
    )
    query, gallery, _ = read_matlab(tmp_path / "a.mat")
    assert query is None and gallery.pids.tolist() == [2, -1] and gallery.camids.tolist() == [0, 5]


def test_bad_files(tmp_path):
    path = tmp_path / "a.mat"
    with pytest.raises(FileNotFoundError, match=r"no index .*a\.mat; make it again with --save_i"):
        read_matlab(path)
    write_matlab(path, GALLERY)
    data = path.read_bytes()
    for torn in (b"", b"no matlab", data[:100], data[:-40]):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match="--save_index"):
            read_matlab(path)
    savemat(path, {"x": 1})
    with pytest.raises(ValueError, match="has no query_embs"):
        read_matlab(path)
    content = {key: [] for side in ("query", "gallery") for key in (f"{side}_embs",)}
    names = [f"{s}_{n}" for s in ("query", "gallery") for n in ("cam_ids", "cls_labels")]
    savemat(path, {**content, **{name: [] for name in names}})
    with pytest.raises(ValueError, match="gallery in .* is empty"):
        read_matlab(path)
