"""Published weights: facts that hang together, networks that are here, files that are found."""

import gzip
import json
import re
from pathlib import Path

import pytest
import torch

import reidtools as rt
from reidtools import build
from reidtools.config.load import complete
from reidtools.modeling import zoo
from reidtools.modeling.weights import compare, read
from reidtools.registry import BACKBONES

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests.json.gz"
ZOO = zoo.read_zoo()
FAMILIES = {weights.family: weights for weights in ZOO.values()}
# The layout of a project's file (see tests/golden/README.md) -> published weights that have it.
MANIFESTS = {
    "torchreid.osnet_x1_0": "osnet_x1_0_market1501",
    "torchreid.osnet_x0_75": "osnet_x0_75_market1501",
    "torchreid.osnet_x0_5": "osnet_x0_5_msmt17",
    "torchreid.osnet_x0_25": "osnet_x0_25_msmt17_combineall",
    "torchreid.osnet_ibn_x1_0": "osnet_ibn_x1_0_duke_market_cuhk03",
    "torchreid.osnet_ain_x1_0": "osnet_ain_x1_0_msmt17_combineall",
    "fastreid.bot_R50": "market_bot_R50",
    "fastreid.bot_R50_ibn": "market_bot_R50-ibn",
    "fastreid.agw_R50": "market_agw_R50",
    "fastreid.sbs_R50_ibn_nl_gem": "market_sbs_R50-ibn",
    "clipreid_ckpt.RN50": "clip_reid_rn50_market1501",
    "clipreid_ckpt.ViT-B-16": "clip_reid_vit_market1501",
    "transreid.vit_base": "transreid_baseline_market1501",
    "transreid.vit_transreid_stride": "transreid_market1501",
    "ctl.resnet50": "ctl_resnet50_market1501",
}


@pytest.fixture
def away(tmp_path, monkeypatch):
    """An empty working folder, and a cache of torch that is empty, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub._hub_dir", None)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(path, what, **_):
        raise AssertionError(f"this downloads {what}")

    monkeypatch.setattr(zoo, "fetch", refuse)


def test_every_file_says_where_it_comes_from():
    for weights in ZOO.values():
        assert bool(weights.url) != bool(weights.id), weights.name
        assert weights.address.startswith("https://") and "{" not in weights.address
        assert re.fullmatch(r"([0-9a-f]{64})?", weights.sha256), weights.name
        assert weights.source.startswith("https://") and weights.paper.startswith("arXiv:")
    addresses = [weights.address for weights in ZOO.values()]
    assert len(set(addresses)) == len(addresses)


def test_no_file_name_means_two_weights():
    files = [file for weights in ZOO.values() for file in weights.files]
    assert len(set(files)) == len(files)


def test_figures_are_percent_with_rank_1_above_map():
    for weights in ZOO.values():
        for values in weights.figures.values():
            assert 2 <= len(values) <= 3 and list(values) == sorted(values, reverse=True)
            assert 10 < values[-1] < values[0] < 100, weights.name


def test_some_facts_as_their_projects_tell_them():
    """FastReID's MODEL_ZOO.md, torchreid's MODEL_ZOO, the README of SOLIDER-REID."""
    best = ZOO["market_sbs_R101-ibn"]
    assert best.figures == {"market1501": (96.3, 90.3, 70.0)} and best.size == (384, 128)
    assert best.url == (
        "https://github.com/JDAI-CV/fast-reid/releases/download/v0.1.1/market_sbs_R101-ibn.pth"
    )
    assert ZOO["osnet_x1_0_market1501"].figures == {"market1501": (94.2, 82.6)}
    assert ZOO["solider_swin_base_msmt17"].figures == {"msmt17": (90.7, 77.1)}
    assert ZOO["transreid_msmt17"].config["MODEL"]["BACKBONE"]["CAMERAS"] == 15
    assert "CAMERAS" not in ZOO["transreid_baseline_msmt17"].config["MODEL"]["BACKBONE"]


@pytest.mark.parametrize("family", FAMILIES)
def test_its_network_is_here(family):
    config = complete(FAMILIES[family].config)
    with torch.device("meta"):
        model = build.embedder(config)
    assert model.dim > 0


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_the_network_takes_every_tensor_of_its_project_s_files(manifest):
    layouts = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    state = {key: torch.empty(shape, device="meta") for key, shape, _ in layouts[manifest]["keys"]}
    weights = ZOO[MANIFESTS[manifest]]
    with torch.device("meta"):
        model = build.embedder(complete(weights.config))
    fitted, _ = compare(model, state)
    tables = {"backbone.sie_embed"}  # a row for each camera: as many as in what it was trained on
    assert {name for name, *_ in fitted.mismatched} <= tables
    assert not fitted.unused and set(fitted.missing) <= tables
    assert fitted.layout == weights.layout


def test_backbones_know_their_weights():
    for weights in ZOO.values():
        name = weights.config["MODEL"]["BACKBONE"]["NAME"]
        assert name in BACKBONES and weights in zoo.of_backbone(name)


# --- files ---------------------------------------------------------------------------------------


LONG = "osnet_x1_0_msmt17_combineall_256x128_amsgrad_ep150_stp60_lr0.0015_b64_fb10_softmax_labelsmooth_flip_jitter.pth"  # noqa: E501
PLACES = (
    "osnet_x1_0_msmt17_combineall.pth",
    LONG,
    "models/osnet_x1_0_msmt17_combineall.pth",
    f"models/{LONG}",
    "torch/hub/checkpoints/osnet_x1_0_msmt17_combineall.pth",
    f"torch/hub/checkpoints/{LONG}",
    "torch/checkpoints/osnet_x1_0_msmt17_combineall.pth",
)


def test_where_a_file_is_looked_for_and_what_counts_first(away, no_network):
    """The folder at hand, models/, torch's cache, FastReID's; our name before the publisher's."""
    for place in reversed(PLACES):
        (away / place).parent.mkdir(parents=True, exist_ok=True)
        (away / place).write_text("")
        found, new = zoo.get("osnet_x1_0_msmt17_combineall")
        assert (away / found).resolve() == (away / place).resolve() and not new
    assert zoo.local("zoo:osnet_x1_0_msmt17_combineall") == PLACES[0]


def test_a_file_that_is_nowhere_goes_to_torch_s_cache(away, monkeypatch):
    asked = []

    def write(path, what, **origin):
        asked.append((what, origin))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    monkeypatch.setattr(zoo, "fetch", write)
    path, new = zoo.get("market_bot_R50")
    assert path == away / "torch/hub/checkpoints/market_bot_R50.pth" and new
    assert zoo.get("market_bot_R50") == (path, False)
    path, new = zoo.get("ctl_resnet50_market1501", away / "w")
    assert path == away / "w/ctl_resnet50_market1501.ckpt" and new
    (what, bot), (_, ctl) = asked
    assert what == "market_bot_R50" and bot["url"].endswith("/v0.1.1/market_bot_R50.pth")
    assert bot["drive_id"] == "" and ctl["drive_id"] == "1ZFywKEytpyNocUQd2APh2XqTe8X0HMom"
    assert bot["cure"].startswith(f"put it at {away}")


def test_an_unknown_name_says_which_may_be_meant(no_network):
    with pytest.raises(LookupError, match=r"called 'market_bot_r5'\. Did you mean market_bot_R50"):
        zoo.get("market_bot_r5")
    with pytest.raises(LookupError, match=r"describe\.py weights lists all"):
        rt.load("zoo:qqqqqqqq")
    with pytest.raises(LookupError, match="Did you mean osnet_x0_25_market1501"):
        rt.get_config("", ["MODEL.WEIGHTS", "zoo:osnet_x0_25_market15"])


def test_pictures_are_those_of_the_published_weights():
    assert zoo.pictures_of("zoo:market_sbs_R50") == {"SIZE_TRAIN": [384, 128]}
    assert zoo.pictures_of("elsewhere/duke_mgn_R50-ibn.pth") == {"SIZE_TRAIN": [384, 128]}
    assert zoo.pictures_of("zoo:osnet_x1_0_market1501") == zoo.pictures_of("my.pth") == {}


@pytest.fixture
def osnet(away, no_network):
    """Random weights of an OSNet in the place of torchreid's."""
    torch.manual_seed(0)
    state = BACKBONES["osnet_x0_25"]().state_dict() | {"classifier.weight": torch.zeros(4, 512)}
    (away / "models").mkdir()
    torch.save({"state_dict": state, "epoch": 3}, "models/osnet_x0_25_msmt17.pth")
    return "zoo:osnet_x0_25_msmt17"


def test_a_name_of_the_zoo_is_a_file_of_weights(osnet):
    assert read(osnet)["epoch"] == 3
    cfg = rt.get_config("", ["MODEL.WEIGHTS", osnet])
    assert cfg.MODEL.WEIGHTS == "models/osnet_x0_25_msmt17.pth"
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_25" and cfg.MODEL.HEADS.NAME == "Linear"
    model = rt.load(osnet, "cpu")
    same = rt.load("models/osnet_x0_25_msmt17.pth", "cpu")
    pictures = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model(pictures)[1], same(pictures)[1])


def test_a_config_file_may_name_it(osnet, tmp_path):
    (tmp_path / "mine.yml").write_text(
        f"MODEL: {{BACKBONE: {{NAME: osnet_x0_25}}, HEADS: {{NAME: Linear}}, WEIGHTS: '{osnet}'}}"
    )
    cfg = rt.get_config(tmp_path / "mine.yml")
    assert cfg.MODEL.WEIGHTS == "models/osnet_x0_25_msmt17.pth"


def test_sizes_of_published_weights_count_without_a_config(away, no_network):
    """A ResNet-50 under the name of FastReID's SBS, whose pictures are 384 x 128."""
    torch.save(BACKBONES["resnet18"]().state_dict(), "market_sbs_R50.pth")
    assert rt.get_config("", ["MODEL.WEIGHTS", "zoo:market_sbs_R50"]).INPUT.SIZE_TRAIN == [384, 128]
    typed = ["MODEL.WEIGHTS", "zoo:market_sbs_R50", "INPUT.SIZE_TRAIN", "[64, 32]"]
    assert rt.get_config("", typed).INPUT.SIZE_TRAIN == [64, 32]


# --- the tool ------------------------------------------------------------------------------------


def test_the_tool_says_where_a_file_is(osnet, type_tool, monkeypatch):
    wrong = zoo.named("osnet_x0_25_msmt17").sha256
    code, out, err = type_tool("download.py", "--weights", "osnet_x0_25_msmt17")
    assert (code, out) == (1, "") and f", not {wrong}: " in err and "remove it first" in err
    known = dict(zoo.read_zoo())
    known["osnet_x0_25_msmt17"] = known["osnet_x0_25_msmt17"]._replace(sha256="")
    monkeypatch.setattr(zoo, "read_zoo", lambda: known)
    code, out, err = type_tool("download.py", "--weights", osnet)
    assert (code, err) == (0, "")
    assert out == (
        "models/osnet_x0_25_msmt17.pth: already downloaded, nobody tells its SHA-256. Take it with "
        "MODEL.WEIGHTS zoo:osnet_x0_25_msmt17\n"
    )


def test_the_tool_takes_a_dataset_or_weights(type_tool, no_network, away):
    assert type_tool("download.py", "--weights", "a", "--name", "b")[0] == 2
    assert type_tool("download.py", "--root", "a")[0] == 2
    code, _, err = type_tool("download.py", "--weights", "market_bot_R50", "--url", "file:///a")
    assert code == 1 and "goes --root only" in err
    code, _, err = type_tool("download.py", "--weights", "market_bot_R5")
    assert code == 1 and "Did you mean market_bot_R50" in err
