"""Files that are no weights, or those of another network: a sentence, from the tool and from load.

What `weights.read` and `weights.fit` make of each is in test_weights.py; here it is what one sees.
"""

import os
import pickle

import pytest
import torch

import reidtools as rt
from reidtools.registry import BACKBONES

QUICK = (
    "DATASETS.NAMES toy DATASETS.TOY.PEOPLE 4 DATASETS.TOY.CAMERAS 2 DATASETS.TOY.PICTURES 2 "
    "INPUT.SIZE_TRAIN [32,16] MODEL.DEVICE cpu"
).split()
OSNET = ("MODEL.BACKBONE", "osnet_x0_25", "MODEL.HEADS", "Linear")


class Harm:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def osnet():
    torch.manual_seed(0)
    return BACKBONES["osnet_x0_25"]().state_dict()


def cut_short(keep):
    torch.save({"model": osnet()}, "whole.pth")
    with open("whole.pth", "rb") as file:  # noqa: PTH123
        content = file.read()
    return content[: int(keep * len(content))]


def half_matching():
    """An OSNet of which the last stage is another's: half of what a network needs."""
    state = osnet()
    wide = BACKBONES["osnet_x0_5"]().state_dict()
    return state | {name: wide[name] for name in state if name.startswith(("conv4", "conv5"))}


BAD = {
    "half a file": (lambda: cut_short(0.5), "cut short or damaged"),
    "nearly a file": (lambda: cut_short(0.99), "cut short or damaged"),
    "nothing": (lambda: b"", "cut short or damaged"),
    "a quota page": (
        lambda: b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>",
        "is a web page, not weights: the server sent a page (a quota of Google Drive",
    ),
    "an archive": (lambda: b"PK\x05\x06" + bytes(18), "cut short or damaged"),
    "objects": (
        lambda: {"model": osnet(), "hook": Harm()},
        "holds Python objects besides tensors, which could run code and are not loaded",
    ),
    "a whole module": (lambda: torch.nn.Linear(2, 2), "holds Python objects besides tensors"),
    "a bare pickle": (lambda: pickle.dumps(Harm(), protocol=2), "a.pth"),
    "numbers": (lambda: {"epoch": 3, "best": 0.9}, "holds no tensors with names"),
    "a list": (lambda: [torch.zeros(2)], "holds no tensors with names"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=BAD)
def bad(request):
    """What one is told of a bad file, which is called a.pth."""
    make, told = BAD[request.param]
    content = make()
    if isinstance(content, bytes):
        with open("a.pth", "wb") as file:  # noqa: PTH123
            file.write(content)
    else:
        torch.save(content, "a.pth")
    return told


def test_load_says_what_is_wrong_with_a_file(bad, folder):
    with pytest.raises(ValueError) as error:
        rt.load("a.pth")
    assert bad in str(error.value) and str(folder / "a.pth") in str(error.value)
    assert not (folder / "harm").exists()


@pytest.mark.parametrize("network", [(), OSNET], ids=["network read off", "network typed"])
def test_the_tool_says_what_is_wrong_with_a_file(bad, network, folder, type_tool):
    code, out, err = type_tool("test.py", "MODEL.WEIGHTS", "a.pth", *network, *QUICK)
    assert code == 1 and "Rank-1" not in out
    assert err.count("error: ") == 1 and bad in err and "Traceback" not in err
    assert not (folder / "harm").exists()


def test_a_network_that_fits_by_half_is_refused_and_listed(type_tool, folder):
    torch.save({"model": half_matching()}, "half.pth")
    with pytest.raises(
        ValueError, match=r"which fill no network here whole\. The nearest is osnet"
    ):
        rt.load("half.pth")
    code, out, err = type_tool("test.py", "MODEL.WEIGHTS", "half.pth", *OSNET, *QUICK)
    assert code == 1 and "mAP" not in out
    assert "half.pth does not fill osnet_x0_25 with Linear" in err
    assert "tensors matched" in err and "other shape: backbone.conv4" in err
    assert "use the config it was trained with" in err


def test_a_layer_too_many_is_never_dropped_in_silence(type_tool):
    torch.save({"model": osnet() | {"conv6.weight": torch.zeros(3)}}, "more.pth")
    with pytest.raises(ValueError, match="conv6.weight"):
        rt.load("more.pth")
    code, _, err = type_tool("test.py", "MODEL.WEIGHTS", "more.pth", *OSNET, *QUICK)
    assert code == 1 and "conv6.weight" in err


def test_a_missing_file_is_told_with_its_path(type_tool, folder):
    with pytest.raises(FileNotFoundError, match=str(folder / "none.pth")):
        rt.load("none.pth")
    code, _, err = type_tool("test.py", "MODEL.WEIGHTS", "none.pth", *OSNET, *QUICK)
    assert code == 1 and str(folder / "none.pth") in err
