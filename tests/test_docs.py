"""What the README and CONTRIBUTING say works, works."""

import re
import shlex
from pathlib import Path

import pytest

from reidtools.api import get_config
from reidtools.config.cli import parse

ROOT = Path(__file__).parents[1]


def blocks(file, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), flags=re.S)


COMMANDS = [
    line
    for file in ("README.md", "docs/evaluation.md")
    for block in blocks(file, "bash")
    for line in block.splitlines()
    if line.startswith("python ")
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


def test_the_loss_of_contributing_is_one():
    (block,) = blocks("CONTRIBUTING.md", "python")
    registered = block.replace("@LOSSES\n", "")  # nothing stays registered after this test
    names = {}
    exec(compile(registered, "CONTRIBUTING.md", "exec"), names)
    assert names["NormLoss"](length=2.0)(names["torch"].zeros(3, 4)) == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, tool, *words = shlex.split(command)
    assert Path(tool).is_file()
    more = {"--far": {"type": float}} if "calibrate" in tool else None
    args = parse("A tool.", words, trains="train_net" in tool, more=more)
    get_config(args.config_file, args.opts)


def test_links_lead_somewhere():
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "datasets/README.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", file.read_text()):
            assert (file.parent / target).exists(), f"{file.name} links to {target}"
