"""TransReID's networks with rule-made weights, in the names of its files, give what it gives: the
global feature, the local ones, tests' features. See tests/golden/README.md."""

import golden_inputs
import pytest
import torch
from golden_models import EMBEDDINGS, MANIFESTS, assert_rows, rule_made

from reidtools.modeling import Embedder
from reidtools.modeling.embedder import facts_of
from reidtools.modeling.recognise import recognise
from reidtools.modeling.weights import fit
from reidtools.registry import BACKBONES, HEADS

ENTRIES = {name: e for name, e in EMBEDDINGS.items() if name.startswith("transreid.")}
HEAD = {"transreid.vit_base": "BNNeck", "transreid.vit_transreid_stride": "PartNecks"}


def embedder(name: str) -> Embedder:
    """As a file of the entry wants it, without weights: to draw them takes longer than all else."""
    told = ENTRIES[name]["params"]
    options = {
        "stride_size": (told["STRIDE"],) * 2,
        "sie_camera": told["SIE_CAMERA"],
        "sie_coe": told["SIE_COE"],
        "cameras": told["camera_num"],
        "jpm": told["JPM"],
        "shift_num": told["SHIFT_NUM"],
        "shuffle_groups": told["SHUFFLE_GROUP"],
        "divide_length": told["DEVIDE_LENGTH"],
    }
    with torch.device("meta"):
        size = {"image_size": tuple(told["SIZE"])}
        backbone = BACKBONES.build("transreid_vit_base", size, options)
        head = HEADS.build(HEAD[name], facts_of(backbone), {"test_feat": "before"})
    return Embedder(backbone, head).to_empty(device="cpu")


def after_the_necks(model: Embedder, features: torch.Tensor) -> torch.Tensor:
    """What tests take with TEST_FEAT after."""
    options = {"test_feat": "after"}
    head = HEADS.build(type(model.heads).__name__, facts_of(model.backbone), options).eval()
    head.load_state_dict(model.heads.state_dict())
    return head.embed(features)


def test_all_entries_are_here():
    assert ENTRIES.keys() == HEAD.keys()


@pytest.mark.parametrize("name", sorted(HEAD))
def test_pictures(name):
    entry, model = ENTRIES[name], embedder(name)
    report = fit(model, rule_made(entry["manifest"]))
    assert report.complete and not report.passthrough  # every tensor has been filled
    # With JPM two other blocks take the place of the last one, which stays in the file.
    left = (
        "classifier",
        "base.fc.",
        *(("base.blocks.11.", "base.norm.") if "stride" in name else ()),
    )
    assert all(key.startswith(left) for key in report.classifier)
    model.eval()
    seen = entry["params"]["cam_label"]
    camids = None if seen is None else torch.tensor(seen)
    tolerance = entry["tol"]["float32_rel_to_max_abs_of_row"]
    for image, expected in entry["expect"].items():
        with torch.inference_mode():
            features, embeddings = model(torch.from_numpy(golden_inputs.image(image)), camids)
            found = {"test_before": embeddings, "test_after": after_the_necks(model, features)}
            parts = model.heads.branches(features)["features"]
        names = ("global", *(f"local_{i}" for i in range(1, len(parts))))
        found |= dict(zip(names, parts, strict=True)) if len(parts) > 1 else {}
        assert found.keys() == expected.keys()
        for key, rows in expected.items():
            assert_rows(found[key], rows, tolerance)


@pytest.mark.parametrize("name", sorted(HEAD))
def test_a_published_checkpoint_says_what_it_is(name):
    keys = MANIFESTS[ENTRIES[name]["manifest"]]["keys"]
    found = recognise({key: torch.empty(shape, device="meta") for key, shape, _ in keys})
    assert (found.layout, found.backbone) == ("TransReID", "transreid_vit_base")
    assert found.head == HEAD[name]
    options = {"stride_size": (12, 12), "sie_camera": True, "cameras": 6, "jpm": True}
    assert found.backbone_options == (options if "stride" in name else {})
