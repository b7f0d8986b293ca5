"""tools/describe.py: every component, recipe and weight is told, and the page is up to date."""

import json
from pathlib import Path

import pytest

import reidtools as rt
from reidtools.api.inventory import KINDS, component, components, outline, recipes, summary
from reidtools.api.zoo_page import page
from reidtools.modeling.zoo import read_zoo

ROOT = Path(__file__).parents[1]
EVERY = [(kind, name) for kind in KINDS for name in KINDS[kind].registry]


def test_the_page_is_what_the_tool_makes(tmp_path, type_tool):
    """After a new component or recipe: python tools/describe.py --markdown docs/model_zoo.md."""
    code, out, err = type_tool("describe.py", "--markdown", tmp_path / "zoo" / "page.md")
    assert code == 0, err
    assert out == f"{tmp_path / 'zoo' / 'page.md'}\n"
    made = (tmp_path / "zoo" / "page.md").read_text()
    assert made == page() == (ROOT / "docs" / "model_zoo.md").read_text()


def test_the_page_has_everything():
    text = page()
    for _, name in EVERY:
        assert f"| `{name}` |" in text, name
    for name in read_zoo():
        assert f"[`{name}`](" in text, name
    for recipe in recipes():
        assert f"[{recipe.name}](../configs/{recipe.name})" in text
    columns = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert min(columns) > 0 and "None" not in text


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{k}-{n}" for k, n in EVERY])
def test_everything_says_what_it_is(kind, name):
    one = next(one for one in components(kind) if one.name == name)
    assert one.summary.endswith(".") and len(one.summary) > 3
    assert "options" not in one.summary and "arXiv" not in one.summary
    assert one.papers or kind in ("samplers", "datasets", "temporal poolings"), "who made it?"


@pytest.mark.parametrize("name", KINDS["backbones"].registry)
def test_a_backbone_tells_its_size_and_where_its_weights_come_from(name):
    built = outline(name)
    assert built.dim > 0 and built.parameters > 10_000
    assert built.origin.startswith(("https://", "timm's ", "OpenAI's "))


def test_sizes_that_papers_tell():
    """OSNet x1.0 has 2.2 M (Zhou et al.), ResNet-50 without classifier 23.5 M weights."""
    assert outline("osnet_x1_0").dim == 512
    assert round(outline("osnet_x1_0").parameters / 1e6, 1) == 2.2
    assert round(outline("resnet50").parameters / 1e6, 1) == 23.5


def test_a_component_is_read_from_its_signature_and_docstring():
    def hinge(dim, *, margin=0.3, sizes=(1, 2)):
        """Push apart (A et al., 2017, arXiv:1703.07737). And more.

        Long words. https://example.org/hinge
        """

    one = component("losses", "hinge", hinge)
    assert one.summary == "Push apart (A et al., 2017)."
    assert one.papers == ("arXiv:1703.07737",) and one.facts == ("dim",)
    assert one.options == {"MARGIN": 0.3, "SIZES": [1, 2]}


def test_the_words_of_a_family_are_told_with_each_member(type_tool):
    _, out, _ = type_tool("describe.py", "osnet_x0_5")
    assert "options: see `OSNet`" in out and "mean pooling and Linear-BatchNorm-ReLU" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "One thing: this (B et al. 2019, arXiv:1905.00953). Two.",
            "One thing: this (B et al. 2019).",
        ),
        ("Of 2.2 M values; options: see `X`. arXiv:1905.00953", "Of 2.2 M values."),
        ("Ends in a colon:\n\nlist", "Ends in a colon."),
        ("Of\ntwo lines.", "Of two lines."),
        ("", ""),
    ],
)
def test_a_summary_is_the_first_sentence(text, said):
    assert summary(text) == said


def test_tables_of_all_kinds(type_tool):
    code, out, err = type_tool("describe.py")
    assert (code, err) == (0, "")
    heads = (
        "Backbones (",
        "Heads (",
        "Losses (",
        "Samplers (",
        "Datasets (",
        "Temporal poolings (",
    )
    for head in (*heads, "Recipes (", "Weights ("):
        assert out.count(f"\n{head}") + out.startswith(head) == 1
    assert f"Weights ({len(read_zoo())})" in out
    assert "all have WEIGHT 1.0)" in out


@pytest.mark.parametrize("word", ["losses", "loss", "LOSS"])
def test_a_table_of_one_kind(type_tool, word):
    _, out, _ = type_tool("describe.py", word)
    assert out.startswith("Losses (") and "TripletLoss" in out and "resnet50" not in out
    assert "MARGIN 0.3" in out and "arXiv:1703.07737" in out


def test_tables_are_as_wide_as_the_terminal(type_tool, monkeypatch):
    for columns in (90, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = type_tool("describe.py", "losses")
        assert max(map(len, out.splitlines())) <= columns


def test_a_backbone_whole(type_tool):
    _, out, _ = type_tool("describe.py", "resnet50")
    assert out.startswith("backbone resnet50\n\nResNet-50")
    for told in (
        "  LAST_STRIDE      1\n",
        "  PRETRAIN_PATH    ''\n",
        "From arXiv:1512.03385",
        "2048 values a feature, 23.5 million parameters",
        "PRETRAIN true takes https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "weights market_bot_R50\n",
        "Rank-1 / mAP / mINP  94.4 / 86.1 / 59.4",
        "use                  MODEL.WEIGHTS zoo:market_bot_R50\n",
    ):
        assert told in out, told


def test_weights_whole(type_tool):
    _, out, _ = type_tool("describe.py", "weights", "OSNET_AIN_x1_0_msmt17_combineall")
    assert out.startswith("weights osnet_ain_x1_0_msmt17_combineall\n")
    for told in (
        "torchreid OSNet-AIN x1.0 (torchreid layout)",
        "market1501 70.1 / 43.3; dukemtmcreid 71.1 / 52.7",
        "(gdown 1SigwBE6mPdqiJMqhuIY4aqC7--5CsMal)",
        "8a07e8da38946f7cee37f4561617bf8b6d2fe8f3a4027852893ea092e46d919f",
        "256 x 128",
        "Figures are of cosine distances.",
    ):
        assert told in out, told


def test_a_recipe_whole(type_tool):
    for word in ("base", "base.yml"):
        _, out, _ = type_tool("describe.py", "recipe", word)
        assert out.startswith("recipe configs/base.yml\n\n# The bag-of-tricks recipe")


def test_for_programs(type_tool):
    _, out, _ = type_tool("describe.py", "--json")
    told = json.loads(out)
    assert list(told) == [*KINDS, "recipes", "weights"]
    resnet = next(one for one in told["backbones"] if one["name"] == "resnet50")
    assert resnet["options"]["LAST_STRIDE"] == 1 and "market_bot_R50" in resnet["weights"]
    _, out, _ = type_tool("describe.py", "market_sbs_R50", "--json")
    (sbs,) = json.loads(out)
    assert sbs["size"] == [384, 128] and sbs["figures"] == {"market1501": [95.4, 88.2, 64.8]}
    assert sbs["config"]["MODEL"]["HEADS"]["NAME"] == "BNNeck"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["resnet5"], "Unknown name 'resnet5'. Did you mean 'resnet50'?"),
        (["losses", "resnet50"], "Unknown name 'resnet50'."),
        (["loss", "TripletLos"], "Did you mean 'TripletLoss'?"),
        (["resnet50", "resnet101"], "resnet50 resnet101 are several things; name one"),
    ],
)
def test_words_that_mean_nothing(type_tool, words, answer):
    code, out, err = type_tool("describe.py", *words)
    assert (code, out) == (1, "") and answer in err


def test_a_package_without_configs_beside_it(monkeypatch, tmp_path):
    monkeypatch.setattr("reidtools.api.describing.recipes", lambda: recipes(tmp_path))
    assert "Recipes" not in rt.describe() and rt.describe(["recipes"]) == ""


def test_recipes_below_come_after(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "a.yml").write_text("# A, laid over another:\n#   python x\nA: 1\n")
    (tmp_path / "b.yml").write_text("B: 1\n")
    (tmp_path / "c.yml").write_text("# C has a head\n# of two lines. And more.\nC: 1\n")
    assert list(recipes(tmp_path)) == [
        ("b.yml", ""),
        ("c.yml", "C has a head of two lines."),
        ("recipes/a.yml", "A, laid over another."),
    ]
