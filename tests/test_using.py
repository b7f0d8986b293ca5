"""Folders of pictures in, files out: embeddings, nearest pictures, answers."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_api import folder, settings  # noqa: F401  (its folder is used here as well)

import reidtools as rt
from reidtools import build

TOY = "datasets/toy"


@pytest.fixture
def checkpoint(folder):  # noqa: F811
    """A checkpoint of an embedder as it was built, and the toy people."""
    cfg = settings()
    rt.check(cfg)
    torch.manual_seed(0)
    torch.save({"model": build.embedder(cfg).state_dict(), "config": cfg.dump()}, "small.pth")
    return "small.pth"


def given(checkpoint, source, **changes):
    pairs = {"MODEL.PRETRAIN_PATH": checkpoint, "DATASETS.ROOT_DIR": source} | changes
    return rt.get_config("", [word for pair in pairs.items() for word in pair])


def loaded(name):
    return np.load(f"output_dir/{name}.npy")


def test_embeddings_are_those_of_python(checkpoint, folder):  # noqa: F811
    files = rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"))
    names = ("embeddings.npy", "paths.npy", "embeddings.json")
    assert [str(path) for path in files] == [f"output_dir/{name}" for name in names]
    vectors, paths = loaded("embeddings"), loaded("paths").tolist()
    pictures = sorted((folder / TOY / "bounding_box_test").glob("*.jpg"))
    assert paths == [f"{TOY}/bounding_box_test/{path.name}" for path in pictures]
    assert vectors.dtype == np.float32 and vectors.shape == (len(paths), 512)
    own = rt.embed(rt.load(checkpoint, "cpu"), paths).vectors.numpy()
    assert np.allclose(vectors, own, atol=1e-5)
    rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"), normalize=True)
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    assert np.allclose(loaded("embeddings"), unit, atol=1e-5)


def test_one_picture_folders_below_and_people(checkpoint, folder):  # noqa: F811
    rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"))
    vectors, paths = loaded("embeddings"), loaded("paths")
    rt.create_embeddings(given(checkpoint, str(paths[3])))
    assert np.allclose(loaded("embeddings"), vectors[3:4], atol=1e-5)

    rt.create_embeddings(given(checkpoint, TOY), in_subfolders=True)
    assert len(loaded("paths")) == len(list((folder / TOY).glob("*/*.jpg")))

    rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"), centroids=True)
    people = [path.rpartition("/")[2].partition("_")[0] for path in paths.tolist()]
    assert loaded("paths").tolist() == sorted({name for name in people if name != "-1"})
    for vector, name in zip(loaded("embeddings"), loaded("paths"), strict=True):
        mean = vectors[[own == name for own in people]].mean(0)
        assert np.allclose(vector, mean, atol=1e-5)


def test_similar_pictures(checkpoint):
    rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"))
    gallery, paths = loaded("embeddings"), loaded("paths")
    rt.find_similar(given(checkpoint, f"{TOY}/query"), "output_dir", 3)
    found = json.loads(Path("output_dir/results.json").read_text())
    same = np.load("output_dir/results.npy", allow_pickle=True).item()
    queries = loaded("query_paths").tolist()
    assert list(found) == list(same) == queries
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    for query, vector in zip(queries, loaded("query_embeddings"), strict=True):
        assert abs(np.linalg.norm(vector) - 1) < 1e-5
        distances = 1 - unit @ vector
        nearest = np.argsort(distances, kind="stable")[:3]
        assert np.allclose(found[query]["distances"], distances[nearest], atol=1e-5)
        assert found[query]["indices"] == same[query]["indices"].tolist() == nearest.tolist()
        assert found[query]["paths"] == paths[nearest].tolist()
    rt.find_similar(given(checkpoint, f"{TOY}/query"), "output_dir", 0)
    assert len(json.loads(Path("output_dir/results.json").read_text())[queries[0]]["paths"]) == len(
        paths
    )


def test_who_is_it(checkpoint):
    found = rt.infer(given(checkpoint, f"{TOY}/bounding_box_test"), f"{TOY}/query")
    rows = list(csv.reader(Path("output_dir/result.csv").read_text().splitlines()))
    assert rows[0] == ["query filename", "predicted class", "predicted path", "distance"]
    assert len(rows) - 1 == len(found.query_paths)
    right = sum(int(row[0].split("_")[0]) == int(row[1]) for row in rows[1:])
    assert found.accuracy == (right, len(rows) - 1)
    tested = rt.evaluate(given(checkpoint, "datasets", **{"DATASETS.NAMES": "toy"}))
    figures = tested.figures["toy"]
    assert found.cross_camera.total == figures["valid queries"]
    assert found.cross_camera.ratio == pytest.approx(figures["Rank-1"] / 100)
    lines = str(found).splitlines()
    assert lines[1].startswith("Pred: ") and lines[1].endswith(f"GT: {int(rows[1][0][:4])}")
    assert lines[-2].startswith("Without same-camera and same-frame hits: Accuracy: ")
    assert lines[-1] == str(found.accuracy)


def test_a_query_in_the_gallery_finds_itself_unless_told_not_to(checkpoint):
    cfg = given(checkpoint, f"{TOY}/query")
    found = rt.infer(cfg, f"{TOY}/query")
    assert found.accuracy.ratio == 1 and found.hits.distances.max() < 1e-5
    other = rt.infer(cfg, f"{TOY}/query", exclude_same_camera=True)
    rows = list(csv.reader(Path("output_dir/result.csv").read_text().splitlines()))[1:]
    for query, person, hit, _ in rows:
        same = int(query.split("_")[0]) == int(person)
        assert not (same and query.split("_")[1][:2] == hit.split("_")[1][:2])
    assert other.accuracy.ratio == other.cross_camera.ratio == found.cross_camera.ratio


def test_names_that_tell_nothing(checkpoint, folder):  # noqa: F811
    (folder / "holiday").mkdir()
    for i, path in enumerate(sorted((folder / TOY / "query").glob("*.jpg"))):
        shutil.copy(path, folder / f"holiday/photo{i}.jpg")
    found = rt.infer(given(checkpoint, "holiday"), "holiday")
    assert found.accuracy is None and found.cross_camera is None
    assert "no accuracy" in str(found).splitlines()[-1]
    assert list(csv.reader(Path("output_dir/result.csv").read_text().splitlines()))[1][1] == ""
    with pytest.raises(ValueError, match="Leave out --exclude-same-camera"):
        rt.infer(given(checkpoint, "holiday"), "holiday", exclude_same_camera=True)
    with pytest.raises(ValueError, match="no centroids"):
        rt.create_embeddings(given(checkpoint, "holiday"), centroids=True)


def test_pictures_that_are_none_are_told_and_left_out(checkpoint, folder, capsys):  # noqa: F811
    gallery = folder / TOY / "bounding_box_test"
    pictures = sorted(gallery.glob("*.jpg"))
    pictures[2].write_bytes(b"")
    pictures[4].write_bytes(pictures[4].read_bytes()[:40])
    rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"))
    assert f"2 of {len(pictures)} files are no pictures" in capsys.readouterr().err
    kept = [path.name for path in pictures if path not in (pictures[2], pictures[4])]
    assert [path.rpartition("/")[2] for path in loaded("paths").tolist()] == kept
    before = loaded("embeddings")
    with pytest.raises(OSError, match=pictures[2].name):
        rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"), strict=True)
    for path in pictures:
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"(?s)no pictures.*another folder"):
        rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"))
    assert np.array_equal(loaded("embeddings"), before)  # nothing was lost


def test_what_cannot_be_done_says_why_and_writes_nothing(checkpoint, folder):  # noqa: F811
    (folder / "empty").mkdir()
    np.save("empty/embeddings.npy", np.ones((2, 3), np.float32))
    np.save("empty/paths.npy", np.array(["a.jpg", "b.jpg"]))
    other = settings(MODEL__BACKBONE="{NAME: resnet18, PRETRAIN: false}")
    torch.save({"model": build.embedder(other).state_dict()}, "resnet.pth")
    query = f"{TOY}/query"
    with pytest.raises(ValueError, match="no pictures.*in empty"):
        rt.create_embeddings(given(checkpoint, "empty"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rt.infer(given(checkpoint, query), "nowhere")
    with pytest.raises(ValueError, match="vectors of 3 values.*makes 512"):
        rt.find_similar(given(checkpoint, query), "empty")
    with pytest.raises(ValueError, match=r"resnet\.pth does not fill osnet_x0_25.*5 of 490"):
        rt.infer(settings(MODEL__WEIGHTS="resnet.pth", DATASETS__ROOT=query), query)
    with pytest.raises(ValueError, match="MODEL.WEIGHTS"):
        rt.create_embeddings(settings(DATASETS__ROOT=query))
    torn = (folder / "empty/embeddings.npy").read_bytes()[:-4]
    (folder / "empty/embeddings.npy").write_bytes(torn)
    with pytest.raises(ValueError, match="create_embeddings"):
        rt.find_similar(given(checkpoint, query), "empty")
    assert (
        not list((folder / "output_dir").glob("*.npy")) if (folder / "output_dir").exists() else 1
    )


def test_ranked_lists_as_pictures(checkpoint, folder):  # noqa: F811
    cv2 = pytest.importorskip("cv2")
    changes = {"DATASETS.NAMES": "toy", "TEST.VISUALIZE": "yes"}
    report = rt.evaluate(given(checkpoint, "datasets", **changes))
    queries = {path.stem for path in (folder / TOY / "query").glob("*.jpg")}
    drawn = list((folder / "output_dir/visrank").iterdir())
    assert {path.stem for path in drawn} == queries
    assert cv2.imread(str(drawn[0])).shape == (256, 11 * 128 + 10 * 2 + 8, 3)
    query, gallery, ranked = report.ranked["toy"]
    place = next(i for i, path in enumerate(query.paths) if drawn[0].stem in path)
    right = query.pids[place] == gallery.pids[ranked.topk[place, 0]]
    blue, green, red = cv2.imread(str(drawn[0]))[128, 128 + 2 + 8 + 1]
    assert (int(green) > 100, int(red) > 100, int(blue) > 100) == (bool(right), not right, False)
    rt.evaluate(
        given(
            checkpoint,
            "datasets",
            **changes,
            **{"TEST.VISUALIZE_MAX_NUMBER": "1", "OUTPUT_DIR": "b"},
        )
    )
    assert len(list((folder / "b/visrank").iterdir())) == 1


def test_a_gallery_of_another_model_is_refused(checkpoint):
    rt.create_embeddings(given(checkpoint, f"{TOY}/bounding_box_test"))
    saved = torch.load(checkpoint, weights_only=True)
    next(iter(saved["model"].values())).mul_(1.1)
    torch.save(saved, "other.pth")
    with pytest.raises(ValueError, match=r"made with .*small\.pth .*other\.pth .*weights differ"):
        rt.find_similar(given("other.pth", f"{TOY}/query"), "output_dir")
    assert not Path("output_dir/results.npy").exists()
    Path("output_dir/embeddings.json").unlink()  # as SNU_ReID leaves it: nothing is known
    rt.find_similar(given("other.pth", f"{TOY}/query"), "output_dir")


def test_pictures_may_be_made_coarse(checkpoint):
    sharp = rt.create_embeddings(given(checkpoint, f"{TOY}/query")) and loaded("embeddings")
    coarse = given(checkpoint, f"{TOY}/query", **{"TEST.GALLERY_SCALE": "4"})
    assert not np.allclose(rt.create_embeddings(coarse) and loaded("embeddings"), sharp, atol=1e-3)
    with pytest.raises(ValueError, match=r"TEST\.GALLERY_SCALE: .* 17"):
        rt.create_embeddings(given(checkpoint, f"{TOY}/query", **{"TEST.GALLERY_SCALE": "17"}))
