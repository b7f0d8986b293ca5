"""What all tests share: one thread, quiet logging, golden inputs on the import path, tools."""

import logging
import runpy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "golden"))

# Networks this small gain nothing from a second thread, and lose much where cores are busy.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A tool sends its log to the console of its own test, and no later one."""
    yield
    logger = logging.getLogger("reidtools")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def type_tool(monkeypatch, capsys):
    """Types a tool and its words, in this process; its exit code, output and errors."""
    tools = Path(__file__).parents[1] / "tools"
    monkeypatch.syspath_prepend(tools)

    def typed(tool, *words):
        monkeypatch.setattr(sys, "argv", [tool, *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            runpy.run_path(str(tools / tool), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return (code or 0, *capsys.readouterr())

    return typed
