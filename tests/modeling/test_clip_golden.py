"""The towers of CLIP with rule-made weights, in the names of OpenAI and of CLIP-ReID, give what
CLIP-ReID gives: all three features, tests' features, texts. See tests/golden/README.md."""

import gzip
import json
from ast import literal_eval
from pathlib import Path

import golden_inputs
import numpy as np
import pytest
import torch

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
MANIFESTS = json.loads(gzip.decompress((GOLDEN / "manifests.json.gz").read_bytes()))
ENTRIES = {
    entry["id"]: entry
    for entry in json.loads((GOLDEN / "embeddings.json").read_text())
    if entry["id"].startswith("clipreid.")
}
MODELS = sorted(name.removesuffix(".image") for name in ENTRIES if name.endswith(".image"))
TOKENS = "token_embedding.weight"


def rule_made(manifest: str, only: tuple[str, ...] = ("",)) -> dict[str, torch.Tensor]:
    keys = [row for row in MANIFESTS[manifest]["keys"] if row[0].startswith(only)]
    return {k: torch.from_numpy(golden_inputs.det(k, s).copy()).reshape(s) for k, s, _ in keys}


def checkpoint_of(model: str) -> str:
    return f"clipreid_ckpt.{model.split('.')[1]}"


def weights_of(model: str) -> dict[str, torch.Tensor]:
    """The file of an entry; of OpenAI's, what CLIP adds to them is taken from the trained ones."""
    state = rule_made(ENTRIES[f"{model}.image"]["manifest"])
    if "from_openai" in model:
        state |= rule_made(checkpoint_of(model), ("cv_embed", "bottleneck", "prompt_learner.cls"))
    return state


def embedder(model: str) -> Embedder:
    told = ENTRIES[f"{model}.image"]["params"]
    if told["NAME"] == "RN50":
        backbone = BACKBONES.build("clip_rn50", {"image_size": (256, 128)}, {})
    else:
        options = {"stride_size": (told["STRIDE"],) * 2, "sie_coe": told["SIE_COE"]}
        if told["SIE_CAMERA"]:
            options |= {"sie_camera": True, "cameras": told["camera_num"]}
        backbone = BACKBONES.build("clip_vit_b16", {"image_size": (256, 128)}, options)
    return Embedder(backbone, HEADS.build("ClipNecks", facts_of(backbone), {}))


def load(model: Embedder, state: dict[str, torch.Tensor]) -> None:
    """A checkpoint goes in as it is; of OpenAI's file CLIP-ReID's own parts are put beside it."""
    clip = {name: t for name, t in state.items() if name.startswith("visual.")}
    assert not fit(model, clip or state).unused
    if clip:
        own = {n: t for n, t in state.items() if n.startswith(("cv_embed", "bottleneck"))}
        names = {"cv_embed": "backbone.cv_embed", "bottleneck": "heads.neck"}
        names["bottleneck_proj"] = "heads.neck_proj"
        renamed = {n.replace(n.split(".")[0], names[n.split(".")[0]], 1): t for n, t in own.items()}
        assert not model.load_state_dict(renamed, strict=False).unexpected_keys


def assert_rows(rows: torch.Tensor, expected: list[dict], tolerance: float) -> None:
    for row, told in zip(rows.double().numpy(), expected, strict=True):
        found, limit = golden_inputs.describe(row), tolerance * np.abs(row).max()
        assert found["dim"] == told["dim"]
        assert np.abs(found["first"] - told["first"]).max() <= limit
        assert found["mean"] == pytest.approx(told["mean"], abs=limit)
        assert found["std"] == pytest.approx(told["std"], abs=limit)
        assert found["l2"] == pytest.approx(told["l2"], rel=tolerance)
        assert found["probe"] == pytest.approx(told["probe"], abs=limit * np.sqrt(row.size))


def test_all_entries_are_here():
    assert len(ENTRIES) == 12 and len(MODELS) == 6


@pytest.mark.parametrize("name", MODELS)
def test_pictures(name):
    entry, model = ENTRIES[f"{name}.image"], embedder(name)
    load(model, weights_of(name))
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


@pytest.mark.parametrize("name", MODELS)
def test_texts(name):
    entry, state = ENTRIES[f"{name}.text"], weights_of(name)
    tower = TextTower(1024 if "RN50" in name else 512)
    if "from_openai" in name:
        tower.load_state_dict(of_openai({n: t for n, t in state.items() if n in openai(name)}))
    else:
        assert tower.load_state_dict(of_text_tower(state), strict=False).missing_keys == [TOKENS]
    loss = PromptLoss(751, tower, None, range(751), 0)
    found = of_objective(state, [f"losses.PromptLoss.{own}" for own in loss.state_dict()])
    found = {n.removeprefix("losses.PromptLoss."): tensor for n, tensor in found.items()}
    assert "context" in found
    loss.load_state_dict(found, strict=False)
    texts = loss.prompts(torch.tensor(entry["params"]["ids"]))
    assert_rows(
        texts.detach(), entry["expect"]["text"], entry["tol"]["float32_rel_to_max_abs_of_row"]
    )


def openai(name: str) -> set[str]:
    return {key for key, _, _ in MANIFESTS[ENTRIES[f"{name}.image"]["manifest"]]["keys"]}


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


@pytest.mark.parametrize(
    "entry",
    json.loads((GOLDEN / "text_and_pos.json").read_text())["pos_embed"],
    ids=lambda entry: entry["id"],
)
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
