"""The architecture is a test: imports point strictly down, rooms of one level do not meet."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "reidtools"
LAYERS = [
    "registry files extras",
    "fetching processes",
    "ops",
    "data modeling losses solver engine evaluation",
    "retrieval tracks visualize export",
    "config",
    "batches",
    "texts",
    "learning",
    "build",
    "reports",
    "assess",
    "api",
]
EDGE = {"config", "batches", "texts", "learning", "build", "reports", "assess", "api", "__init__"}
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms.split()}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def home(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import; write it out"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            assert all(alias.name != "*" for alias in node.names), f"{file}: import *"
    return {name.split(".")[1] for name in names if name.startswith("reidtools.")}


def test_every_room_has_a_level():
    assert {home(file) for file in SOURCES} - {"__init__"} <= LEVEL.keys()


def test_imports_point_down():
    upward = [
        f"{file.relative_to(PACKAGE)} imports {room}"
        for file in SOURCES
        if home(file) != "__init__"
        for room in imported_rooms(file)
        if room != home(file) and LEVEL[room] >= LEVEL[home(file)]
    ]
    assert not upward, upward


def test_configs_live_at_the_edge():
    speaks = [
        str(file.relative_to(PACKAGE))
        for file in SOURCES
        if home(file) not in EDGE and re.search(r"\bcfg\b|\byacs\b", file.read_text())
    ]
    assert not speaks, speaks
