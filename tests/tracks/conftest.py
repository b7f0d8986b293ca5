import cv2
import pytest
from film import colour_model, rows, scene


@pytest.fixture
def model():
    return colour_model()


@pytest.fixture
def film(tmp_path):
    """A folder of eight frames, without loss, and the file of its tracks."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 9):
        cv2.imwrite(str(folder / f"{number:06d}.png"), scene(number))
    tracks = tmp_path / "mot.txt"
    tracks.write_text(rows(8))
    return folder, tracks
