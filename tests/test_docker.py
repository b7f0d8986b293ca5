"""The image and the compose file, read without an engine."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
KNOWN = "FROM ENV WORKDIR RUN COPY USER EXPOSE CMD".split()


def instructions():
    """(word, rest) of each instruction of the Dockerfile, its continued lines joined."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def of(word):
    return [rest for name, rest in instructions() if name == word]


def test_the_image_is_slim_pinned_and_not_root():
    assert {name for name, _ in instructions()} <= set(KNOWN)  # ADD, which fetches, is not among
    (base,) = of("FROM")
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+", base)
    order = [name for name, _ in instructions()]
    assert order[0] == "FROM" and order.index("USER") > max(
        place for place, name in enumerate(order) if name in ("RUN", "COPY")
    )
    (user,) = of("USER")
    assert user.split(":")[0] not in ("0", "root")
    assert of("EXPOSE") == ["6006 8080"]


def test_torch_is_the_build_for_cpus():
    first, *others = [run for run in of("RUN") if "pip install" in run]
    assert "/whl/cpu" in first and "torch" in first
    assert all("torch" not in run for run in others)
    assert "PIP_NO_CACHE_DIR=1" in of("ENV")[0]


def test_neither_data_nor_weights_get_in():
    copied = [source for rest in of("COPY") for source in rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    assert not {".", "datasets", "logs", "output_dir"} & set(copied)
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and line[0] != "#"]
    assert rules[0] == "*" and {f"!{source}" for source in copied} <= set(rules)
    assert any(fnmatch("best.pth", rule.rpartition("/")[2]) for rule in rules[1:])


@pytest.fixture
def services():
    return yaml.safe_load((ROOT / "compose.yml").read_text())["services"]


def test_the_dashboards_are_for_this_machine_only(services):
    boards = services["dashboards"]
    assert boards["ports"] == ["127.0.0.1:6006:6006", "127.0.0.1:8080:8080"]
    assert boards["build"] == "." and boards["init"] is True
    assert boards["volumes"] == ["./logs:/app/logs"]
    assert (ROOT / boards["command"][1]).is_file()
    compile(boards["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_a_training_finds_the_dashboards_by_their_name(services):
    (address,) = services["reid"]["environment"].values()
    assert address == "http://dashboards:8080"
    assert "dashboards:*" in services["dashboards"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert {volume.split(":")[0] for volume in services["reid"]["volumes"]} == {
        *("./datasets", "./logs", "./output_dir"),
    }
    assert all((ROOT / volume.split(":")[0]).is_dir() for volume in services["reid"]["volumes"])
