"""The file of vectors: back as they were, or a sentence that says why not."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from reidtools.evaluation import Vectors
from reidtools.evaluation.features import fingerprint, read_vectors, write_vectors

ABOUT = {"weights": "12ab", "size": "256 x 128"}


def some(paths=None, dtype=torch.float32):
    values = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Vectors(values, [3, -1, 0], [1, 2, 3], paths)


@pytest.fixture
def saved(tmp_path):
    """``saved(vectors, about)`` -> the path of their file."""

    def save(vectors=None, about=ABOUT):
        path = tmp_path / "query.npz"
        with path.open("wb") as file:
            write_vectors(file, vectors or some(), about)
        return path

    return save


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("paths", [None, ["a.jpg", "größer/b.jpg", "not utf-8 \udcff.jpg"]])
def test_vectors_come_back_as_they_were(saved, paths, dtype):
    vectors = some(paths, dtype)
    path = saved(vectors)
    for found in (read_vectors(path), read_vectors(path, ABOUT)):
        assert torch.equal(found.vectors, vectors.vectors) and found.vectors.dtype == dtype
        assert torch.equal(found.pids, vectors.pids) and torch.equal(found.camids, vectors.camids)
        assert found.paths == paths


def test_numpy_alone_opens_the_file(saved):
    with np.load(saved(some(["a", "b", "c"])), allow_pickle=False) as file:
        assert file["vectors"].shape == (3, 2) and file["paths"].tolist() == ["a", "b", "c"]


def test_vectors_of_something_else_are_refused_by_name(saved):
    path = saved()
    with pytest.raises(ValueError, match=r"weights was 12ab, is 34cd\. Delete the files"):
        read_vectors(path, {**ABOUT, "weights": "34cd"})
    with pytest.raises(ValueError, match=r"size was 256 x 128, is None; flip was None, is raw\."):
        read_vectors(path, {"weights": "12ab", "flip": "raw"})


def test_a_byte_that_is_lost_or_turned_never_passes_unnoticed(saved):
    """Whatever happens to the file: the same vectors, or a ValueError that names the file."""
    vectors = some(["a", "b", "c"])
    path = saved(vectors)
    whole = path.read_bytes()
    places = range(0, len(whole), 3)
    turned = [whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in places]
    for broken in turned + [whole[:i] for i in places[::20]]:
        path.write_bytes(broken)
        try:
            found = read_vectors(path, ABOUT)
        except ValueError as error:
            assert "query.npz" in str(error) and "delete" in str(error).lower()
        else:
            assert torch.equal(found.vectors, vectors.vectors) and found.paths == vectors.paths
            assert torch.equal(found.pids, vectors.pids)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "query.npz"
    with pytest.raises(FileNotFoundError):
        read_vectors(path)
    foreign = io.BytesIO()
    np.save(foreign, np.zeros(3))
    objects = io.BytesIO()
    np.savez(objects, about=np.array({"a": 1}, dtype=object))  # a pickle inside: never opened
    for content in (b"", b"hello", foreign.getvalue(), objects.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"query\.npz holds no vectors .* delete it"):
            read_vectors(path)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)  # has a buffer of no dimensions
        nn.init.constant_(self.conv.weight, 0.5)


def test_a_fingerprint_is_that_of_the_weights():
    known = fingerprint(Small())
    assert len(known) == 64 and known == fingerprint(Small().eval())
    assert known == fingerprint(Small().to(memory_format=torch.channels_last))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.conv.weight.data[3, 2, 1].add_(1e-6),
        lambda model: model.norm.running_mean.add_(1),
        lambda model: model.norm.num_batches_tracked.add_(1),
        lambda model: model.to(torch.bfloat16),
        lambda model: setattr(model, "norm", nn.Identity()),
        lambda model: setattr(model.conv.weight, "data", model.conv.weight.data.flip(0)[:2]),
    ],
    ids=["weight", "buffer", "counter", "dtype", "missing", "shape"],
)
def test_a_change_shows_in_the_fingerprint(change):
    model = Small()
    change(model)
    assert fingerprint(model) != fingerprint(Small())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    assert fingerprint(Small().cuda()) == fingerprint(Small())
    file = io.BytesIO()
    write_vectors(file, some().to("cuda"), ABOUT)
    assert file.getvalue()
