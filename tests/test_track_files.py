"""The tools that work on files of track features, typed as a user types them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reidtools as rt
from reidtools.api.track_files import read_cameras
from reidtools.tracks import TrackFeatures, read_features, write_features

PLOTS = pytest.importorskip("matplotlib", reason="pip install 'reidtools[plots]'")


def people(seed, numbers, dim=16):
    """Tracks of three crops: whoever has the same place in `numbers` is the same person."""
    centres = np.random.default_rng(0).normal(size=(6, dim))
    noise = 0.05 * np.random.default_rng(seed).normal(size=(6, 3, dim))
    every = (centres[:, None] + noise).astype(np.float32)
    crops = zip(numbers, every, strict=False)
    return {number: TrackFeatures(some.mean(0), some, [1, 2, 3]) for number, some in crops}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two cameras with five and four of the same people, in their runs' own folders."""
    for name, tracks in (("lobby", people(1, [1, 2, 3, 4, 5])), ("yard", people(2, [9, 8, 7, 6]))):
        (tmp_path / name).mkdir()
        write_features(tmp_path / name / "track_features.pkl", tracks)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(place, type_tool):
    """Types a command; returns (exit code, output, errors)."""
    return lambda command: type_tool(*command.split())


BOTH = "lobby/track_features.pkl yard/track_features.pkl"


def test_reducing_keeping_the_axes_and_projecting_later(typed):
    lobby = "reduce_features.py --features lobby/track_features.pkl"
    code, out, _ = typed(f"{lobby} --output new/a.pkl --components 6 --save-pca new/pca.npz")
    assert code == 0 and "5 tracks, 6 values instead of 16" in out
    assert typed(f"{lobby} --output b.npz --pca new/pca.npz")[0] == 0
    first, again = read_features("new/a.pkl"), read_features("b.npz")
    assert list(first) == [1, 2, 3, 4, 5] and first[1].all_features.shape == (3, 6)
    assert all((first[n].all_features == again[n].all_features).all() for n in first)
    code, out, err = typed(f"{lobby} --output c.pkl")  # 15 crops
    assert code == 0 and "128 components" in err and read_features("c.pkl")[1].features.size == 14


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--features none.pkl --output x.pkl", "no file"),
        ("--features lobby/track_features.pkl --output x.txt", "must end in .pkl or .npz"),
        ("--features lobby/track_features.pkl --output x.pkl --components 0", "1 or more"),
        ("--features lobby/track_features.pkl --output x.pkl --pca p.npz --components 3", "brings"),
        ("--features lobby/track_features.pkl --output x.pkl --pca lobby/none.npz", "--save-pca"),
    ],
)
def test_mistakes_when_reducing(typed, words, message):
    code, _, err = typed(f"reduce_features.py {words}")
    assert code == 1 and "error: " in err and message in err
    assert not Path("x.pkl").exists()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_a_map_of_two_cameras(typed, method):
    pytest.importorskip("sklearn")
    code, out, _ = typed(f"visualize_features.py --features {BOTH} --method {method}")
    assert code == 0 and "9 tracks" in out
    assert Image.open("features_vis.png").size == (1800, 1500)


def test_maps_of_three_tracks_and_of_two(typed):
    write_features("three.pkl", people(1, [1, 2, 3]))
    write_features("two.pkl", people(1, [1, 2]))
    words = "visualize_features.py --method pca --output new/x.png --features"
    assert typed(f"{words} three.pkl")[0] == 0 and Path("new/x.png").is_file()
    code, _, err = typed(f"{words} two.pkl")
    assert code == 1 and "give 3 or more" in err


def test_similarity_of_one_with_itself(typed):
    assert typed("similarity.py --features a=lobby/track_features.pkl --output-dir out")[0] == 0
    found = np.load("out/similarity_a_vs_a.npy")
    assert found.dtype == np.float32 and found.shape == (5, 5)
    assert (found == found.T).all() and np.allclose(found.diagonal(), 1, atol=1e-6)
    rows = list(csv.reader(Path("out/similarity_a_vs_a.csv").read_text().splitlines()))
    assert rows[0] == ["", "1", "2", "3", "4", "5"] and [row[0] for row in rows] == rows[0]
    assert np.allclose(np.array(rows)[1:, 1:].astype(float), found, atol=1e-6)
    assert Image.open("out/similarity_a_vs_a.png").size[0] > 400


def test_similarity_of_each_pair(typed):
    write_features("gate.npz", people(3, [1, 2]))
    assert typed(f"similarity.py --features {BOTH} gate.npz --output-dir out")[0] == 0
    names = {path.stem for path in Path("out").glob("*.npy")}
    assert names == {
        f"similarity_{pair}" for pair in ("lobby_vs_yard", "lobby_vs_gate", "yard_vs_gate")
    }
    found = np.load("out/similarity_lobby_vs_yard.npy")  # columns by id: 6, 7, 8, 9
    assert found.shape == (5, 4) and found.argmax(0).tolist() == [3, 2, 1, 0]


def truth():
    """Who is who: 1 is 9, 2 is 8, 3 is 7, 4 is 6; 5 is nobody else."""
    return {
        "lobby": {str(n): n for n in (1, 2, 3, 4, 5)},
        "yard": {"9": 1, "8": 2, "7": 3, "6": 4},
    }


def test_association_of_two_cameras(typed):
    Path("gt.json").write_text(json.dumps(truth()))
    code, out, _ = typed(f"associate.py --features {BOTH} --ground-truth gt.json --output-dir out")
    assert code == 0 and "IDF1 100.00%, IDP 100.00%, IDR 100.00%, AssA 100.00%" in out
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()]
    assert ["lobby", "5", "5", "4"] in lines and ["all", "9", "5", "4"] in lines
    assert json.loads(Path("out/global_id_mapping.json").read_text()) == {
        "lobby": {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5},
        "yard": {"6": 4, "7": 3, "8": 2, "9": 1},
    }
    matches = json.loads(Path("out/pairwise_matches.json").read_text())
    assert [(m["cam1"], m["track1"], m["cam2"], m["track2"]) for m in matches] == [
        ("lobby", n, "yard", 10 - n) for n in (1, 2, 3, 4)
    ]
    assert all(0.9 < match["similarity"] <= 1 for match in matches)


def test_association_by_clusters(typed):
    pytest.importorskip("sklearn")
    words = f"associate.py --features {BOTH} --method dbscan --eps 0.1 --output-dir out"
    assert typed(words)[0] == 0
    clusters = json.loads(Path("out/clusters.json").read_text())
    assert list(clusters) == ["1", "2", "3", "4"]  # 5 is noise
    assert clusters["1"] == [{"camera": "lobby", "track": 1}, {"camera": "yard", "track": 9}]
    mapping = json.loads(Path("out/global_id_mapping.json").read_text())
    assert mapping["yard"]["9"] == 1 and mapping["lobby"]["5"] == 5


def test_two_people_in_one_frame_are_told(typed):
    pytest.importorskip("sklearn")
    code, _, err = typed(f"associate.py --features {BOTH} --method dbscan --eps 2 --output-dir out")
    assert code == 0 and "16 pairs of tracks have one id" in err  # 10 of the 5, 6 of the 4
    assert "lobby T1 and T2 (id 1)" in err


def test_tracks_without_a_true_id_are_told_and_left_out(typed):
    named = truth()
    named["lobby"] |= {"1": 77, "5": "guest", "44": 9}
    del named["lobby"]["2"]
    Path("gt.json").write_text(json.dumps(named))
    words = f"associate.py --features {BOTH} --ground-truth gt.json --output-dir out"
    code, out, err = typed(words)
    assert code == 0 and "it is not in the ground truth: 1 tracks (lobby T2)" in err
    assert "it has no features: 1 tracks (lobby T44)" in err
    # 8 tracks of 3 frames; id 1 holds two people, of whom one counts
    assert "IDF1 87.50%" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"roof": {"1": 1}}', "it names the cameras roof, and they are"),
        ('{"lobby": {"99": 1}}', "names none of the tracks"),
        ('{"lobby": {"1": [2]}}', "[2] is no id"),
        ('{"lobby": {"one": 1}}', "holds no true ids"),
        ("[1]", "holds no true ids"),
        ("{", "holds no true ids"),
    ],
)
def test_mistakes_in_the_ground_truth(typed, text, message):
    Path("gt.json").write_text(text)
    words = f"associate.py --features {BOTH} --ground-truth gt.json --output-dir out"
    code, _, err = typed(words)
    assert code == 1 and message in err and not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("lobby/track_features.pkl", "there is one"),
        ("lobby/track_features.pkl lobby/track_features.pkl", "as NAME=path"),
        (f"{BOTH} --threshold 1.5", "from -1 to 1"),
        (f"{BOTH} --method dbscan --eps -1", "0 to 2"),
        (f"{BOTH} --method hungary", "Did you mean 'hungarian'"),
        (f"{BOTH} --ground-truth none.json", "no file"),
        ("lobby/track_features.pkl short.pkl", "different lengths"),
    ],
)
def test_mistakes_when_associating(typed, words, message):
    write_features("short.pkl", people(1, [1, 2], dim=4))
    code, _, err = typed(f"associate.py --output-dir out --features {words}")
    assert code == 1 and err.startswith("error: ") and message in err
    assert not Path("out").exists()


def test_names_of_cameras(place):
    write_features("x=1.pkl", people(1, [1, 2]))
    write_features("gate.npz", people(1, [1, 2]))
    assert list(read_cameras([*BOTH.split(), "gate.npz"])) == ["lobby", "yard", "gate"]
    assert list(read_cameras("x=1.pkl")) == ["x=1"]  # a file that is there is no name
    assert list(read_cameras(["roof=gate.npz", "gate.npz"])) == ["roof", "gate"]
    assert list(read_cameras({"roof": "gate.npz"})) == ["roof"]
    with pytest.raises(ValueError, match="without a slash"):
        read_cameras({"a/b": "gate.npz"})
    with pytest.raises(ValueError, match="one or more"):
        read_cameras([])


def test_in_python(place):
    found = rt.associate_tracks({"in": "lobby/track_features.pkl", "out": BOTH.split()[1]}, "out")
    assert found.ids["out"] == {6: 4, 7: 3, 8: 2, 9: 1}
    assert found.conflicts == [] and found.scores is None and "IDF1" not in str(found)
