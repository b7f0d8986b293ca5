"""The towers of CLIP with rule-made weights, in the names of OpenAI and of CLIP-ReID, give what
CLIP-ReID gives: all three features, tests' features, texts. See tests/golden/README.md."""

import json
from ast import literal_eval
from pathlib import Path

import golden_inputs
import numpy as np
import pytest
import torch
from golden_models import EMBEDDINGS, MANIFESTS, assert_rows
from torch import nn

from reidtools.losses import PromptLoss
from reidtools.modeling import Embedder
from reidtools.modeling.clip_files import of_objective, of_text_tower
from reidtools.modeling.embedder import facts_of
from reidtools.modeling.recognise import recognise
from reidtools.modeling.text import TextTower, of_openai
from reidtools.modeling.transformer import resize_positions
from reidtools.modeling.weights import fit
from reidtools.registry import BACKBONES, HEADS

GOLDEN = Path(__file__).parents[1] / "golden"
ENTRIES = {name: e for name, e in EMBEDDINGS.items() if name.startswith("clipreid.")}
# Those of one source side by side: they share tensors.
MODELS = sorted(
    (name.removesuffix(".image") for name in ENTRIES if name.endswith(".image")),
    key=lambda name: (name.split(".")[2], name),
)
TOKENS = "token_embedding.weight"
State = dict[str, torch.Tensor]


def rows_of(manifest: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(key, tuple(shape)) for key, shape, _ in MANIFESTS[manifest]["keys"]]


def published(model: str) -> set[str]:
    """The names in the file of an entry."""
    return {key for key, _ in rows_of(ENTRIES[f"{model}.image"]["manifest"])}


def contents_of(model: str) -> list[tuple[str, tuple[int, ...]]]:
    """Of an entry's file; of OpenAI's, what CLIP-ReID adds to them is taken from the trained."""
    rows = rows_of(ENTRIES[f"{model}.image"]["manifest"])
    if "from_openai" in model:
        added = ("cv_embed", "bottleneck", "prompt_learner.cls")
        trained = rows_of(f"clipreid_ckpt.{model.split('.')[1]}")
        rows += [row for row in trained if row[0].startswith(added)]
    return rows


@pytest.fixture(scope="module")
def before() -> dict[tuple[str, tuple[int, ...]], torch.Tensor]:
    """The tensors of the last model by name and shape, which are all that a rule goes by."""
    return {}


@pytest.fixture(scope="module", params=MODELS)
def rule_made(request, before) -> tuple[str, State]:
    """A model and its tensors, made once for its pictures and texts; no test writes to them."""
    rows = contents_of(request.param)
    made = {
        row: before[row]
        if row in before
        else torch.from_numpy(golden_inputs.det(*row).copy()).reshape(row[1])
        for row in rows
    }
    before.clear()
    before.update(made)
    return request.param, {key: tensor for (key, _), tensor in made.items()}


def embedder(model: str) -> Embedder:
    """As `load` wants it, without weights: to draw them takes longer than all else."""
    told = ENTRIES[f"{model}.image"]["params"]
    name, options = "clip_rn50", {}
    if told["NAME"] != "RN50":
        name = "clip_vit_b16"
        options = {"stride_size": (told["STRIDE"],) * 2, "sie_coe": told["SIE_COE"]}
        if told["SIE_CAMERA"]:
            options |= {"sie_camera": True, "cameras": told["camera_num"]}
    with torch.device("meta"):
        backbone = BACKBONES.build(name, {"image_size": (256, 128)}, options)
        model = Embedder(backbone, HEADS.build("ClipNecks", facts_of(backbone), {}))
    return model.to_empty(device="cpu")


def load(model: Embedder, state: State) -> None:
    """A checkpoint goes in as it is; of OpenAI's file CLIP-ReID's own parts are put beside it."""
    clip = {name: t for name, t in state.items() if name.startswith("visual.")}
    report = fit(model, clip or state)
    assert not report.unused and not report.mismatched
    names = {"cv_embed": "backbone.cv_embed", "bottleneck": "heads.neck"}
    names["bottleneck_proj"] = "heads.neck_proj"
    own = {n: t for n, t in state.items() if clip and n.startswith(("cv_embed", "bottleneck"))}
    renamed = {n.replace(n.split(".")[0], names[n.split(".")[0]], 1): t for n, t in own.items()}
    assert not model.load_state_dict(renamed, strict=False).unexpected_keys
    assert {*report.missing, *report.passthrough} <= renamed.keys()  # nothing is left empty


def test_all_entries_are_here():
    assert len(ENTRIES) == 12 and len(MODELS) == 6


def test_pictures(rule_made):
    name, state = rule_made
    entry, model = ENTRIES[f"{name}.image"], embedder(name)
    load(model, state)
    model.eval()
    seen = entry["params"]["cam_label"]
    camids = None if seen is None else torch.tensor(seen)
    tolerance = entry["tol"]["float32_rel_to_max_abs_of_row"]
    for image, expected in entry["expect"].items():
        with torch.inference_mode():
            features, embeddings = model(torch.from_numpy(golden_inputs.image(image)), camids)
            facts = model.heads.branches(features)
        found = dict(zip(("F_last", "F", "F_proj"), facts["features"], strict=True))
        found |= {"test_before": embeddings, "test_after": torch.cat(facts["embeddings"], 1)}
        assert found.keys() == expected.keys()
        assert torch.equal(facts["joint"][0], found["F_proj"])
        for key, rows in expected.items():
            assert_rows(found[key], rows, tolerance)


def test_texts(rule_made):
    name, state = rule_made
    entry = ENTRIES[f"{name}.text"]
    tower = text_tower(name, state)
    loss = PromptLoss(751, tower, None, range(751), 0)
    found = of_objective(state, [f"losses.PromptLoss.{own}" for own in loss.state_dict()])
    found = {n.removeprefix("losses.PromptLoss."): tensor for n, tensor in found.items()}
    assert "context" in found
    loss.load_state_dict(found, strict=False)
    texts = loss.prompts(torch.tensor(entry["params"]["ids"]))
    assert_rows(
        texts.detach(), entry["expect"]["text"], entry["tol"]["float32_rel_to_max_abs_of_row"]
    )


def text_tower(name: str, state: State) -> TextTower:
    """The text tower of a file, whose tensors it takes as they are; CLIP-ReID's have no tokens."""
    with torch.device("meta"):
        tower = TextTower(1024 if "RN50" in name else 512)
    if "from_openai" in name:
        theirs = of_openai({n: t for n, t in state.items() if n in published(name)})
        tower.load_state_dict(theirs, assign=True)
    else:
        found = tower.load_state_dict(of_text_tower(state), strict=False, assign=True)
        assert found.missing_keys == [TOKENS]
        # The words around the learned ones are in the file; a table that was asked would show.
        none = torch.full((), torch.nan).expand_as(tower.token_embedding.weight)
        tower.token_embedding = nn.Embedding.from_pretrained(none)
    return tower


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16", "ViT-B-16_sie_olp"])
def test_a_published_checkpoint_says_what_it_is(name):
    keys = MANIFESTS[f"clipreid_ckpt.{name}"]["keys"]
    found = recognise({key: torch.empty(shape, device="meta") for key, shape, _ in keys})
    assert (found.layout, found.head) == ("CLIP-ReID", "ClipNecks")
    assert found.backbone == ("clip_rn50" if name == "RN50" else "clip_vit_b16")
    olp = {"stride_size": (12, 12), "sie_camera": True, "cameras": 6}
    told = {key: found.backbone_options.get(key) for key in olp}
    assert told == (olp if "olp" in name else dict.fromkeys(olp))
    assert found.pixels == (None if name == "RN50" else ([0.5] * 3, [0.5] * 3))


POSITIONS = json.loads((GOLDEN / "text_and_pos.json").read_text())["pos_embed"]


@pytest.mark.parametrize("entry", POSITIONS, ids=lambda entry: entry["id"])
def test_position_tables(entry):
    """Tables of 14 x 14 for other grids; token 0 stays."""
    shape = literal_eval(entry["recipe"].split("standard_normal(")[1].split(")")[0] + ")")
    seed = int(entry["recipe"].split("default_rng(")[1].split(")")[0])
    table = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).reshape(
        -1, shape[-1]
    )
    side = round((len(table) - 1) ** 0.5)
    found = resize_positions(table, (side, side), tuple(entry["target"])).double()
    told = entry["expect"]
    assert [*found.shape] == told["shape"][-2:]
    assert np.abs(found[: len(told["first_rows"])].numpy() - told["first_rows"]).max() < 1e-5
    assert np.abs(found[-1].numpy() - told["last_row"]).max() < 1e-5
    assert found.sum().item() == pytest.approx(told["sum"], abs=1e-3)
    assert found.abs().sum().item() == pytest.approx(told["abs_sum"], rel=1e-5)
