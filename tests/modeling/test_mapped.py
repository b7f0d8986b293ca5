"""Reading a file of weights without reading all of it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from reidtools.engine.checkpoints import save
from reidtools.modeling import weights

MAPS = Path("/proc/self/maps")
STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, 2.0])}
CONTENT = {"model": STATE, "epoch": 3, "config": "METHOD: baseline"}


def test_what_is_read_is_the_same(tmp_path):
    save(CONTENT, tmp_path / "a.pth")
    plain, mapped = (weights.read(tmp_path / "a.pth", mapped=way) for way in (False, True))
    assert plain.keys() == mapped.keys() and mapped["epoch"] == 3
    for name, tensor in STATE.items():
        assert torch.equal(mapped["model"][name], tensor)
        assert torch.equal(plain["model"][name], tensor)


@pytest.mark.skipif(not MAPS.is_file(), reason="the system does not tell what is mapped")
def test_the_file_is_let_go_with_the_tensors(tmp_path):
    path, model = tmp_path / "a.pth", nn.Linear(3, 2)
    save({f"backbone.{name}": tensor for name, tensor in STATE.items()}, path)
    plain = weights.read(path)
    assert str(path) not in MAPS.read_text() and len(plain) == 2
    mapped = weights.read(path, mapped=True)
    assert str(path) in MAPS.read_text()
    weights.fit(model, weights.state_of(mapped))
    del mapped
    assert str(path) not in MAPS.read_text()
    assert torch.equal(model.weight.detach(), STATE["weight"])


def test_files_of_old_versions_are_read_whole(tmp_path):
    torch.save(CONTENT, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    read = weights.read(tmp_path / "old.pth", mapped=True)
    assert torch.equal(read["model"]["weight"], STATE["weight"])


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(STATE, tmp_path / "a.safetensors")
    read = weights.read(tmp_path / "a.safetensors", mapped=True)
    assert torch.equal(read["weight"], STATE["weight"])


def test_a_drive_that_maps_nothing_is_read(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise RuntimeError("unable to mmap 24 bytes: No such device")

    save(CONTENT, tmp_path / "a.pth")
    monkeypatch.setattr(torch.UntypedStorage, "from_file", refused)
    read = weights.read(tmp_path / "a.pth", mapped=True)
    assert torch.equal(read["model"]["weight"], STATE["weight"])


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("left", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_told(tmp_path, mapped, left):
    path = tmp_path / "a.pth"
    save(CONTENT, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(ValueError, match=r"a\.pth is cut short or damaged"):
        weights.read(path, mapped=mapped)


def test_what_is_done_to_the_tensors_does_not_reach_the_file(tmp_path):
    path = tmp_path / "a.pth"
    save(CONTENT, path)
    weights.read(path, mapped=True)["model"]["weight"].zero_()
    assert torch.equal(weights.read(path)["model"]["weight"], STATE["weight"])
