import pytest
import torch

from reidtools.modeling import Embedder
from reidtools.modeling.weights import fit, load_pretrained
from reidtools.registry import BACKBONES, HEADS

timm = pytest.importorskip("timm")


def tiny(image_size):
    """The smallest ViT of timm; the same class as vit_small_patch16."""
    return BACKBONES["timm"](image_size, timm_name="vit_tiny_patch16_224").eval()


def test_the_vector_is_the_class_token():
    torch.manual_seed(0)
    backbone = BACKBONES["vit_small_patch16"]((64, 32)).eval()
    images = torch.randn(2, 3, 64, 32)
    assert torch.equal(backbone(images), backbone.model.forward_features(images)[:, 0])


@pytest.mark.parametrize("size", [(250, 128), (256, 100)])
def test_pictures_must_be_made_of_patches(size):
    with pytest.raises(ValueError, match=r"patches of 16 x 16.*set INPUT.SIZE_TRAIN"):
        BACKBONES["vit_small_patch16"](size)


def test_options_reach_the_model():
    backbone = BACKBONES["vit_small_patch16"]((32, 32), drop_path=0.2, dropout=0.3)
    blocks = backbone.model.blocks
    assert blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)  # grows with depth, from 0
    assert backbone.model.pos_drop.p == blocks[0].mlp.drop1.p == pytest.approx(0.3)


@pytest.mark.parametrize("old", [(224, 224), (64, 32), (96, 32)])
@pytest.mark.parametrize("new", [(64, 64), (48, 16), (64, 32)])
def test_position_tables_are_resampled_between_grids(old, new):
    source, target = tiny(old), tiny(new)
    # Positions of patches that are linear in their row keep their ends and their middle.
    rows, columns = old[0] // 16, old[1] // 16
    heights = torch.linspace(0, 1, rows).repeat_interleave(columns)
    with torch.no_grad():
        source.model.pos_embed[0, 0] = 7.0
        source.model.pos_embed[0, 1:] = heights[:, None]
    assert fit(target, source.state_dict()).complete
    table = target.model.pos_embed[0, :, 0]
    grid = table[1:].view(new[0] // 16, new[1] // 16)
    assert table[0].item() == 7.0
    assert grid.mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.allclose(grid, grid[:, :1], atol=1e-5)
    assert (grid[1:, 0] > grid[:-1, 0]).all()


def test_a_table_of_unknown_shape_is_reported():
    source = tiny((80, 16)).state_dict()  # 5 x 1 patches
    report = fit(tiny((64, 32)), source)
    assert report.mismatched == [("backbone.model.pos_embed", (1, 6, 192), (1, 9, 192))]
    assert not report.complete


def test_timm_files_fit_with_and_without_a_head():
    published = timm.create_model("vit_tiny_patch16_224", img_size=(64, 64)).state_dict()
    backbone = tiny((64, 32))
    report = fit(Embedder(backbone, HEADS["BNNeck"](192, True)), published)
    assert report.complete
    assert report.classifier == ["head.weight", "head.bias"]
    assert torch.equal(backbone.model.cls_token, published["cls_token"])


def test_maps_of_a_model_that_keeps_channels_last_come_channels_first():
    backbone = BACKBONES["timm"]((64, 64), timm_name="swin_tiny_patch4_window7_224")
    assert (backbone.dim, backbone.pooled) == (768, False)
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, 768, 2, 2)


def test_unknown_timm_names_are_errors_that_name_the_nearest():
    with pytest.raises(LookupError, match=r"no model 'resnt50'.*resnet50"):
        BACKBONES["timm"]((64, 32), timm_name="resnt50")


def test_a_timm_model_that_is_neither_map_nor_vector_is_an_error():
    with pytest.raises(ValueError, match=r"coat_tiny makes no map .* change TIMM_NAME"):
        BACKBONES["timm"]((64, 32), timm_name="coat_tiny")


def test_drop_path_where_there_is_none_is_an_error():
    with pytest.raises(ValueError, match="set DROP_PATH to 0"):
        BACKBONES["timm"]((64, 32), timm_name="vgg11", drop_path=0.1)


def test_what_timm_cannot_download_is_an_error_that_says_what_to_do(monkeypatch):
    backbone = tiny((64, 32))

    def no_connection(*args, **kwargs):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(timm, "create_model", no_connection)
    with pytest.raises(OSError, match=r"vit_tiny_patch16_224 \(no route to host\).*PRETRAIN_PATH"):
        load_pretrained(backbone)
