"""Our models, with rule-made weights in other toolboxes' names, give the features those give.

The weights go through the importer, so that it is tested too. See tests/golden/README.md.
"""

import golden_inputs
import pytest
import torch
from golden_models import EMBEDDINGS, MANIFESTS, assert_rows, rule_made

from reidtools.modeling import Embedder
from reidtools.modeling.weights import fit, state_of
from reidtools.registry import BACKBONES, HEADS

OURS = ("torchreid.", "ctl.", "fastreid.")
ENTRIES = {name: e for name, e in EMBEDDINGS.items() if name.startswith(OURS)}


def embedder(entry_id: str) -> Embedder:
    toolbox, name = entry_id.split(".")
    options = {"stem_relu": False} if entry_id == "ctl.resnet50" else {}
    head = {}
    if toolbox == "fastreid":
        options = {"stem_ceil": True, "with_nl": not name.startswith("bot_")}
        head = {"agw_R50": {"pool_layer": "gem_fixed"}, "sbs_R50_ibn_nl_gem": {"pool_layer": "gem"}}
        head = head.get(name, {})
        name = "resnet50_ibn_a" if "ibn" in name else "resnet50"
    backbone = BACKBONES.build(name, {}, options)
    facts = {"dim": backbone.dim, "pooled": backbone.pooled}
    neck = "Linear" if toolbox == "torchreid" else "BNNeck"
    return Embedder(backbone, HEADS.build(neck, facts, head))


def test_all_entries_are_here():
    assert len(ENTRIES) == 12


@pytest.mark.parametrize("entry_id", ENTRIES)
def test_features_equal_those_of_the_original(entry_id):
    entry, model = ENTRIES[entry_id], embedder(entry_id)
    report = fit(model, state_of({"state_dict": rule_made(entry["manifest"])}))
    assert report.complete and not report.passthrough, report.details()
    model.eval()
    maps = []
    if "backbone_map" in entry:
        last = getattr(model.backbone, "conv5", None) or model.backbone.layer4
        last.register_forward_hook(lambda module, _, output: maps.append(output))
    tolerance = entry["tol"]["float32_rel_to_max_abs_of_row"]
    for name, expected_rows in entry["expect"].items():
        with torch.inference_mode():
            _, embeddings = model(torch.from_numpy(golden_inputs.image(name)))
        assert_rows(embeddings, expected_rows, tolerance)
    for output, expected in zip(maps, entry.get("backbone_map", {}).values(), strict=True):
        assert list(output.shape) == expected["shape"]
        output = output.double()
        assert output.mean().item() == pytest.approx(expected["mean"], rel=tolerance)
        assert output.std(correction=0).item() == pytest.approx(expected["std"], rel=tolerance)
        assert output.norm().item() == pytest.approx(expected["l2"], rel=tolerance)


def test_a_relu_in_the_stem_would_be_noticed():
    entry, model = ENTRIES["ctl.resnet50"], embedder("ctl.resnet50")
    fit(model, rule_made(entry["manifest"]))
    model.eval().backbone.stem_relu = True
    with torch.inference_mode():
        _, embeddings = model(torch.from_numpy(golden_inputs.image("B")))
    with pytest.raises(AssertionError):
        assert_rows(embeddings[:1], entry["expect"]["B"][:1], 1e-3)


def test_padding_in_the_stem_would_be_noticed():
    entry, model = ENTRIES["fastreid.bot_R50"], embedder("fastreid.bot_R50")
    fit(model, rule_made(entry["manifest"]))
    model.eval().backbone.maxpool = torch.nn.MaxPool2d(3, 2, padding=1)
    with torch.inference_mode():
        _, embeddings = model(torch.from_numpy(golden_inputs.image("B")))
    with pytest.raises(AssertionError):
        assert_rows(embeddings[:1], entry["expect"]["B"][:1], 1e-3)


@pytest.mark.parametrize("entry_id", [e for e in ENTRIES if e.startswith("torchreid.")])
def test_names_in_the_state_dict_are_those_of_torchreid(entry_id):
    ours = {k: list(v.shape) for k, v in embedder(entry_id).backbone.state_dict().items()}
    theirs = {k: s for k, s, _ in MANIFESTS[entry_id]["keys"] if not k.startswith("classifier.")}
    assert ours == theirs


@pytest.mark.parametrize("entry_id", [e for e in ENTRIES if e.startswith("ctl.")])
def test_names_in_the_state_dict_are_those_of_centroids_reid(entry_id):
    ours = {k: list(v.shape) for k, v in embedder(entry_id).state_dict().items()}
    theirs = {
        k.replace("backbone.base.", "backbone.").replace(
            "bn.", "heads.neck.", k.startswith("bn.")
        ): s
        for k, s, _ in MANIFESTS[entry_id]["keys"]
        if not k.startswith(("fc_query.", "center_loss.", "backbone.base.fc."))
    }
    assert ours == theirs
