"""Files as others give them out, TorchScript of OpenAI, and as others want them: a plain state dict
with notes beside it."""

import warnings

import pytest
import torch
from torch import nn

import reidtools.modeling  # noqa: F401  registers the backbones
from reidtools.files import sha256_of
from reidtools.modeling import weights
from reidtools.modeling.weights import pretrained, read, state_of, with_notes
from reidtools.registry import BACKBONES


def save_as_torchscript(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is old, and so are the files
        torch.jit.script(model).save(path)


class Named(nn.Module):
    """A small network whose tensors are called as CLIP's are."""

    def __init__(self, part):
        super().__init__()
        self.add_module(part, nn.Module())
        getattr(self, part).conv1 = nn.Conv2d(3, 2, 1, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def forward(self, x):
        return x


def test_the_torchscript_in_which_openai_gives_clip_out_is_read(tmp_path, monkeypatch):
    model = Named("visual").half()
    save_as_torchscript(model, tmp_path / "RN50.pt")
    with pytest.raises(ValueError, match="is a file of TorchScript"):  # which can run code
        read(tmp_path / "RN50.pt")
    monkeypatch.setitem(weights.CLIP_FILES, "RN50.pt", sha256_of(tmp_path / "RN50.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # nobody can give these files another form
        state = state_of(read(tmp_path / "RN50.pt"))
    assert state.keys() == {"visual.conv1.weight", "logit_scale"}
    assert torch.equal(state["visual.conv1.weight"], model.visual.conv1.weight)
    assert type(state["logit_scale"]) is torch.Tensor


def test_other_torchscript_is_a_network_and_no_weights(tmp_path):
    save_as_torchscript(Named("backbone"), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt is a file of TorchScript.*name the checkpoint"):
        read(tmp_path / "a.pt")


def test_notes_lie_beside_a_state_dict_that_everybody_can_load(tmp_path):
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    torch.save(
        with_notes(source.state_dict(), config="SEED: 1", stage="stage1"), tmp_path / "a.pth"
    )
    plain = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(plain) == ["weight", "bias"]
    target.load_state_dict(plain, strict=True)
    assert torch.equal(target.weight, source.weight)
    content = read(tmp_path / "a.pth")
    assert (content["config"], content["stage"]) == ("SEED: 1", "stage1")
    assert list(state_of(content)) == ["weight", "bias"]


def test_what_pytorch_itself_notes_is_not_taken_for_ours(tmp_path):
    torch.save(nn.BatchNorm1d(2).state_dict(), tmp_path / "a.pth")  # it notes a version
    assert "running_mean" in read(tmp_path / "a.pth")


def test_clip_that_cannot_be_downloaded_may_be_put_where_openai_s_package_has_it(
    tmp_path, monkeypatch
):
    def refuse(url, *options, **more):
        raise OSError("Name or service not known")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    tower = BACKBONES.build("clip_rn50", {"image_size": (32, 16)}, {"width": 2, "joint_dim": 8})
    place = rf"put the file at {tmp_path}/\.cache/clip/RN50\.pt"
    cures = r"MODEL\.BACKBONE\.PRETRAIN_PATH, or train from scratch with MODEL\.BACKBONE\.PRETRAIN"
    with pytest.raises(
        OSError, match=rf"CLIP's RN50 \(Name or service not known\); {place}, .*{cures} False"
    ):
        pretrained(tower)
