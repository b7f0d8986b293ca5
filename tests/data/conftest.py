"""Tiny dataset trees, drawn with Pillow."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Draw = Callable[..., None]


def draw_pictures(folder: Path, *names: str) -> None:
    """Write an 8x16 picture under each of the `names` in `folder`; no two look the same."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = sum(map(ord, name)) % 256
        Image.new("RGB", (8, 16), (shade, 255 - shade, 90)).save(file)


@pytest.fixture
def draw() -> Draw:
    """The function `draw_pictures(folder, *names)`."""
    return draw_pictures


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A root with a market1501 of 2 people to train and 2 to test, junk and distractors."""
    home = tmp_path / "market1501"
    draw_pictures(
        home / "bounding_box_train",
        "0002_c1s1_000451_03.jpg",
        "0002_c2s1_000301_01.jpg",
        "0007_c1s2_000100_01.jpg",
        "0000_c1s1_000001_01.jpg",  # a distractor is nobody: it cannot be learned
    )
    draw_pictures(home / "query", "0001_c1s1_001051_00.jpg", "0003_c6s1_000551_00.jpg")
    draw_pictures(
        home / "bounding_box_test",
        "-1_c1s1_000401_03.jpg",
        "-1_c3s1_000401_03.jpg",
        "-2_c1s1_000401_04.jpg",
        "0000_c2s1_000151_01.jpg",
        "0000_c5s1_000151_02.jpg",
        "0001_c2s1_000301_00.jpg",
        "0003_c1s1_000301_00.jpg",
    )
    draw_pictures(home / "gt_query", "0001_c1s1_001051_09.jpg")
    (home / "query" / "Thumbs.db").write_bytes(b"no picture")
    (home / "query" / "._0001_c1s1_001051_00.jpg").write_bytes(b"left by macOS")
    return tmp_path
