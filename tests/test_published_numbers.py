"""A file as its toolbox wrote it gives the vectors that the toolbox gives, by its path alone.

Weights are rule-made and pictures already normalised; see tests/golden/README.md.
"""

import golden_inputs
import numpy as np
import pytest
import torch
from golden_models import EMBEDDINGS, assert_rows, rule_made

import reidtools as rt
from reidtools.api.testing import filled

# What their training keeps around the weights.
WRAPPED = {
    "torchreid.osnet_ain_x1_0": lambda state: {
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "epoch": 250,
        "rank1": np.float64(70.1),
    },
    "fastreid.bot_R50_ibn": lambda state: {"model": state, "epoch": 119},
    "fastreid.agw_R50": lambda state: {"model": state, "optimizer": {"state": {}}},
    "fastreid.sbs_R50_ibn_nl_gem": lambda state: {"model": state},
    "ctl.resnet50": lambda state: {"state_dict": state, "global_step": 7},
    "transreid.vit_base": lambda state: state,
    "transreid.vit_transreid_stride": lambda state: state,
}
FASTREID = """
MODEL:
  META_ARCHITECTURE: Baseline
  BACKBONE: {NAME: build_resnet_backbone, DEPTH: 50x, LAST_STRIDE: 1, WITH_NL: true}
  HEADS: {NAME: EmbeddingHead, WITH_BNNECK: true, POOL_LAYER: GeneralizedMeanPooling}
"""


def write(entry_id, folder):
    state = rule_made(EMBEDDINGS[entry_id]["manifest"])
    torch.save(WRAPPED[entry_id](state), folder / "model_final.pth")
    return folder / "model_final.pth"


def check(entry_id, model):
    entry = EMBEDDINGS[entry_id]
    cameras = entry["params"].get("cam_label")
    camids = None if cameras is None else torch.tensor(cameras)
    with torch.inference_mode():
        vectors = model.eval()(torch.from_numpy(golden_inputs.image("B")), camids)[1]
    expected = entry["expect"]["B"]
    rows = expected if isinstance(expected, list) else expected["test_before"]
    assert_rows(vectors, rows, 1e-4)


@pytest.mark.parametrize("entry_id", WRAPPED)
def test_a_file_alone(entry_id, tmp_path):
    check(entry_id, rt.load(write(entry_id, tmp_path)))


def test_a_file_with_the_yaml_of_its_toolbox(tmp_path):
    (tmp_path / "agw.yml").write_text(FASTREID)
    weights = write("fastreid.agw_R50", tmp_path)
    cfg = rt.get_config(tmp_path / "agw.yml", ["MODEL.WEIGHTS", str(weights)])
    check("fastreid.agw_R50", filled(cfg))
