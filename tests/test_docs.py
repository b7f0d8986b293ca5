"""What the README and CONTRIBUTING say works, works."""

import contextlib
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(file, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), flags=re.S)


PAGES = (
    "README.md",
    "datasets/README.md",
    *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
)
COMMANDS = [
    line
    for file in PAGES
    for block in blocks(file, "bash")
    for line in block.splitlines()
    if line.startswith("python tools/")
]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("README.md", "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["vectors"].shape[1] == 512
    assert names["features"].grad is not None


def test_the_python_of_the_evaluation_page_runs():
    names = {}
    for block in blocks("docs/evaluation.md", "python"):
        exec(compile(block, "evaluation.md", "exec"), names)
    assert 0.5 < names["found"].mAP < 1 and names["found"].num_valid == 100


def test_the_python_of_the_galleries_page_runs():
    names = {}
    for block in blocks("docs/galleries.md", "python"):
        exec(compile(block, "galleries.md", "exec"), names)
    assert names["found"].indices[0].tolist() == [0, 1]


def test_the_python_of_the_sequences_page_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    for block in blocks("docs/sequences.md", "python"):
        exec(compile(block, "sequences.md", "exec"), names)
    assert names["pooled"].shape == names["features"].shape == (2, 512)


def test_the_python_of_the_tracks_page_runs(tmp_path, capsys):
    import torch

    from reidtools import build
    from reidtools.config.load import load

    network = build.embedder(load("", ["MODEL.BACKBONE.NAME", "osnet_x0_25"])).backbone
    torch.save(network.state_dict(), tmp_path / "osnet_x0_25.pth")
    names = {"checkpoint": tmp_path / "osnet_x0_25.pth"}
    for block in blocks("docs/tracks.md", "python"):
        exec(compile(block, "tracks.md", "exec"), names)
    assert names["embeddings"].shape == (2, 512)
    assert "7 (512,) [1, 2]" in capsys.readouterr().out


def test_the_loss_of_contributing_is_one():
    (block,) = blocks("CONTRIBUTING.md", "python")
    registered = block.replace("@LOSSES\n", "")  # nothing stays registered after this test
    names = {}
    exec(compile(registered, "CONTRIBUTING.md", "exec"), names)
    assert names["NormLoss"](length=2.0)(names["torch"].zeros(3, 4)) == 4


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_every_command_is_understood(command, tmp_path, monkeypatch, capsys):
    """Its tool prints the config it would work with; one without a config misses its data."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    _, tool, *words = shlex.split(command)
    monkeypatch.syspath_prepend(ROOT / "tools")
    has_config = Path(tool).name not in (
        *("makelr.py", "prepare_grouped.py", "prepare_mars.py", "prepare_prw.py"),
        *("prepare_fastreid_data.py", "apply_pose2id.py", "associate.py", "reduce_features.py"),
        *("similarity.py", "visualize_features.py", "prepare_captions.py", "download.py"),
    )
    monkeypatch.setattr(sys, "argv", [tool, *words, *(["--print-config"] if has_config else [])])
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(ROOT / tool), run_name="__main__")
    said = capsys.readouterr()
    # argparse's own errors begin with the tool's name.
    told = "BACKBONE:" in said.out if has_config else said.err.startswith("error: ")
    assert told, said
    assert not list(tmp_path.glob("[!c]*"))


def test_links_lead_somewhere():
    for file in (ROOT / page for page in PAGES):
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", file.read_text()):
            name, _, heading = target.partition("#")
            page = file.parent / name if name else file
            assert page.exists(), f"{file.name} links to {target}"
            heads = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M) if heading else []
            words = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert not heading or heading in words, f"{file.name} links to {target}"
