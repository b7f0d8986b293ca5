"""tools/extract_tracks.py and what follows it, as a user types them."""

import json
import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from film import colour_model, rows

import reidtools as rt
from reidtools import build
from reidtools.api import tracks as api
from reidtools.config.load import load
from reidtools.tracks import read_features


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Drawn weights of OSNet x0.25 in torchreid's names, under the kind of name that it gives."""
    folder = tmp_path_factory.mktemp("weights")
    words = ["MODEL.BACKBONE.NAME", "osnet_x0_25", "MODEL.HEADS.NAME", "Linear"]
    torch.manual_seed(0)
    state = build.embedder(load("", words)).backbone.state_dict()
    state["classifier.weight"] = torch.zeros(751, 512)
    path = folder / "osnet_x0_25_market_256x128_amsgrad_ep180_flip.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


class Done(NamedTuple):
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, type_tool, tmp_path):
    """Type a tool and its words in an empty folder; what it says."""
    monkeypatch.chdir(tmp_path)

    def typed(tool, *words, code=0):
        ended, *said = type_tool(tool, *words)
        assert ended == code, said
        return Done(*said)

    return typed


SMALL = ("--reid-size", "64", "32", "--device", "cpu")


def test_the_documented_command(film, checkpoint, tmp_path, run):
    source, tracks = film
    words = ("--source", source, "--tracks", tracks, "--reid-model", checkpoint, *SMALL)
    words += ("--output-dir", "runs/step3", "--save-crops", "--max-crops-per-track", "4")
    done = run("step3_reid_extraction.py", *words)
    assert done.stdout.endswith(
        """
======================================================================
EXTRACTION SUMMARY
======================================================================
Total tracks:       3
Feature dimension:  512
Output directory:   runs/step3
Crops saved:        runs/step3/crops
======================================================================
"""
    )
    home = tmp_path / "runs" / "step3"
    found, twin = (read_features(home / f"track_features.{e}") for e in ("pkl", "npz"))
    assert list(found) == list(twin) == [1, 2, 3]
    assert found[1].frame_indices == [1, 3, 5, 8]
    assert found[1].all_features.shape == (4, 512)
    assert np.allclose(found[1].features, found[1].all_features.mean(0), atol=1e-6)
    assert (found[3].all_features == twin[3].all_features).all()
    about = json.loads((home / "track_metadata.json").read_text())
    assert about["3"] == {"num_frames": 4, "frame_indices": [3, 4, 6, 8], "feature_dim": 512}
    assert (home / "crops" / "track_0003" / "frame_000008_003.jpg").is_file()
    assert "osnet_x0_25" in done.stdout + done.stderr

    again = run("extract_tracks.py", *words, code=1)
    assert "is there already" in again.stderr and "--replace" in again.stderr
    run("extract_tracks.py", *words[:-1], "2", "--replace", "--normalize")
    found = read_features(home / "track_features.pkl")
    assert np.allclose(np.linalg.norm(found[1].all_features, axis=1), 1, atol=1e-5)
    assert len(list((home / "crops" / "track_0001").iterdir())) == 2

    run("apply_pose2id.py", "--features", home / "track_features.pkl", "--output", "e.pkl",
        "--scope", "all")  # fmt: skip
    enhanced = read_features(tmp_path / "e.pkl")
    assert list(enhanced) == [1, 2, 3] and enhanced[1].all_features.shape == (2, 512)
    assert np.isclose(np.linalg.norm(enhanced[2].features), 1, atol=1e-5)


def test_features_are_those_of_the_network_itself(film, checkpoint):
    """The crop of frame 2, resized and normalised by hand, gives the vector in the file."""
    import cv2

    from reidtools.data.transforms import IMAGENET_MEAN, IMAGENET_STD

    model = rt.FeatureExtractor(model_path=checkpoint, verbose=False).model
    found = dict(rt.tracks.extract(*film, model, max_crops=0))
    frame = cv2.imread(str(film[0] / "000002.png"))
    crop = cv2.resize(frame[4:16, 4:10], (128, 256), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    picture = (crop / 255 - IMAGENET_MEAN) / IMAGENET_STD
    tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()[None]
    with torch.inference_mode():
        expected = model.backbone(tensor).numpy()[0]
    assert np.allclose(found[1].all_features[1], expected, atol=1e-4 * np.abs(expected).max())
    boxes = [[4, 4, 10, 16], [40, 20, 48, 36]]
    again = model.extract_features(boxes, frame)
    assert np.allclose(again[0], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--source": "none.mp4"}, "There is no video or folder of frames"),
        ({"--tracks": "none.txt"}, "There is no file of tracks"),
        ({"--tracks": "empty.txt"}, "no row that can be used"),
        ({"--tracks": "beyond.txt"}, "nothing was made"),
        ({"--source": "broken.mp4"}, "cannot be opened as a video"),
        ({"--reid-model": "none.pth"}, "none.pth"),
        ({"--output-dir": "empty.txt"}, "cannot be made"),
        ({"--max-crops-per-track": "-3"}, "0 for all"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(
    film, checkpoint, tmp_path, run, change, words
):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "beyond.txt").write_text("900,1,0,0,9,9\n")
    (tmp_path / "broken.mp4").write_text("no video")
    given = {"--source": film[0], "--tracks": film[1], "--reid-model": checkpoint}
    given |= {"--output-dir": "out", "--max-crops-per-track": 1} | change
    typed = [word for pair in given.items() for word in pair]
    before = sorted(tmp_path.rglob("*"))
    done = run("extract_tracks.py", *typed, *SMALL, code=1)
    assert re.search(rf"^error: .*{words}", done.stderr, re.M), done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_another_architecture_is_refused(film, checkpoint, tmp_path, run):
    words = ("--source", film[0], "--tracks", film[1], "--reid-model", checkpoint)
    asked = (*words, "MODEL.BACKBONE.NAME", "osnet_x1_0")
    done = run("extract_tracks.py", *asked, code=1)
    assert "does not fill osnet_x1_0" in done.stderr
    torch.save({"a.weight": torch.zeros(3, 3)}, tmp_path / "x.pth")
    done = run("extract_tracks.py", *words[:5], tmp_path / "x.pth", code=1)
    assert "MODEL.BACKBONE.NAME" in done.stderr


@pytest.fixture
def with_colours(monkeypatch):
    monkeypatch.setattr(api, "model_of", lambda cfg: colour_model())


def test_what_was_complete_before_a_failure_is_kept(film, with_colours, tmp_path, monkeypatch):
    """The video breaks in the middle: tracks that had ended by then are in the files."""
    from reidtools.tracks import video

    lines = [line for line in rows(8).splitlines() if not line.startswith(("5,1", "6,1", "7,1"))]
    film[1].write_text("\n".join(line for line in lines if not line.startswith("8,1")))
    read = video.FrameFiles.read

    def breaking(self, wanted):
        for number, picture in read(self, wanted):
            if number == 8:
                raise OSError("The disk is gone; put it back.")
            yield number, picture

    monkeypatch.setattr(video.FrameFiles, "read", breaking)
    cfg = load("", ["TEST.IMS_PER_BATCH", "1"])
    with pytest.raises(OSError, match="put it back"):
        rt.extract_tracks(cfg, *film, tmp_path / "out")
    assert list(read_features(tmp_path / "out" / "track_features.pkl")) == [1]


def test_crops_of_another_extraction_are_not_mixed(film, with_colours, tmp_path):
    cfg = load("")
    rt.extract_tracks(cfg, *film, tmp_path / "out", save_crops=True)
    mine = tmp_path / "out" / "crops" / "track_0001" / "notes.txt"
    mine.write_text("of a person")
    with pytest.raises(ValueError, match="--replace"):
        rt.extract_tracks(cfg, *film, tmp_path / "out", save_crops=True)
    rt.extract_tracks(cfg, *film, tmp_path / "out", save_crops=True, max_crops=1, replace=True)
    assert sorted(path.name for path in mine.parent.iterdir()) == [
        "frame_000001_000.jpg",
        "notes.txt",
    ]


def test_a_replacement_that_stops_leaves_what_it_was_to_replace(
    film, with_colours, tmp_path, monkeypatch
):
    """Track 1 ends before the video breaks; the complete extraction before stays as it is."""
    from reidtools.tracks import video

    cfg = load("", ["TEST.IMS_PER_BATCH", "1"])
    rt.extract_tracks(cfg, *film, tmp_path / "out", save_crops=True)
    files = sorted((tmp_path / "out").rglob("*"))
    content = [file.read_bytes() for file in files if file.is_file()]
    lines = [line for line in rows(8).splitlines() if not line.startswith(("6,1", "7,1", "8,1"))]
    film[1].write_text("\n".join(lines))
    read = video.FrameFiles.read

    def breaking(self, wanted):
        for number, picture in read(self, wanted):
            if number == 8:
                raise OSError("The disk is gone; put it back.")
            yield number, picture

    monkeypatch.setattr(video.FrameFiles, "read", breaking)
    with pytest.raises(OSError, match="put it back"):
        rt.extract_tracks(cfg, *film, tmp_path / "out", save_crops=True, replace=True)
    partial = tmp_path / "out" / "track_features.partial.npz"
    assert list(read_features(partial)) == [1]
    partial.unlink()
    assert sorted((tmp_path / "out").rglob("*")) == files
    assert [file.read_bytes() for file in files if file.is_file()] == content
