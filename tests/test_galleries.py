"""Galleries from end to end on drawn people: build, add, remove, ask; and the seed's scripts."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat
from test_api import folder, settings  # noqa: F401  (its folder is used here as well)

import reidtools as rt
from reidtools import build

TOY = "datasets/toy"
GALLERY, QUERY = f"{TOY}/bounding_box_test", f"{TOY}/query"


@pytest.fixture
def checkpoint(folder):  # noqa: F811
    """A checkpoint of an embedder as it was built, and the toy people."""
    return made("small.pth", 0)


def made(name, seed, **changes):
    cfg = settings(**changes)
    rt.check(cfg)
    torch.manual_seed(seed)
    torch.save({"model": build.embedder(cfg).state_dict(), "config": cfg.dump()}, name)
    return name


def given(checkpoint, *more):
    return rt.get_config("", ["MODEL.WEIGHTS", checkpoint, *more])


def test_build_search_add_remove(checkpoint):
    built = rt.build_gallery(given(checkpoint), "g", GALLERY)
    pictures = sorted(Path(GALLERY).glob("*.jpg"))
    assert built.paths == [str(path) for path in pictures]
    assert built.pids.tolist() == [int(path.name.split("_")[0]) for path in pictures]

    queries = sorted(Path(QUERY).glob("*.jpg"))
    found = rt.search_gallery(None, "g", [queries[0], f"{QUERY}/*.jpg", QUERY], 3)
    assert found.query_paths == [str(path) for path in queries]
    model = rt.load(checkpoint, "cpu")
    own, everyone = (
        torch.nn.functional.normalize(rt.embed(model, paths).vectors)
        for paths in (queries, pictures)
    )
    best, rows = (own @ everyone.T).topk(3)
    assert np.allclose(1 - found.hits.distances, best, atol=1e-5)
    assert found.hits.indices.tolist() == rows.tolist()
    text = str(found).splitlines()
    assert text[:2] == [f"Query image: {queries[0]}", "Top 3 similar images:"]
    assert text[2] == f"1: {pictures[rows[0, 0]]}, Score: {best[0, 0]:.4f}" and text[5] == ""
    rows = list(csv.reader(Path("output_dir/result.csv").read_text().splitlines()))
    assert rows[1][2] == Path(found.paths[0][0]).name
    saved = json.loads(Path("output_dir/results.json").read_text())
    assert saved[str(queries[0])]["paths"] == found.paths[0]

    rt.add_to_gallery(given(checkpoint), "g", QUERY)
    found = rt.search_gallery(None, "g", [queries[0]], 1)
    assert found.paths == [[str(queries[0])]] and found.hits.distances.max() < 1e-5
    rt.add_to_gallery(given(checkpoint), "g", QUERY)  # nothing new
    gallery = rt.remove_from_gallery("g", [f"{QUERY}/*"])
    assert gallery.paths == built.paths and rt.Gallery.open("g").generation == 3
    assert len(rt.search_gallery(None, "g", [queries[0]], 1000).paths[0]) == len(pictures)


def test_a_gallery_of_a_dataset_or_of_embeddings_is_that_of_its_pictures(checkpoint, capsys):
    known = rt.build_gallery(given(checkpoint), "a", "toy")
    assert (known.pids >= 0).all() and set(known.camids) == {0, 1}
    rt.create_embeddings(given(checkpoint, "DATASETS.ROOT", GALLERY))
    kept = rt.build_gallery(given(checkpoint), "b", "output_dir", kind="hnsw")
    assert set(kept.paths) >= set(map(str, Path(GALLERY).glob("0*.jpg")))
    rows = [kept.paths.index(str(Path(path).relative_to(Path.cwd()))) for path in known.paths]
    assert np.allclose(known.vectors().vectors, kept.vectors().vectors[rows], atol=1e-5)
    other = made("other.pth", 1)
    with pytest.raises(ValueError, match=r"made with .*small\.pth .*other\.pth .*weights differ"):
        rt.build_gallery(given(other), "c", "output_dir")
    rt.build_gallery(given(checkpoint), "c", "output_dir")
    Path("output_dir/embeddings.json").unlink()  # then a picture tells
    with pytest.raises(ValueError, match=r"is not the one that other\.pth makes .*use the weights"):
        rt.build_gallery(given(other), "e", "output_dir")
    shutil.rmtree(GALLERY)
    rt.build_gallery(given(checkpoint), "d", "output_dir")
    assert "cannot be checked" in capsys.readouterr().err


def test_pictures_resized_otherwise_are_refused(checkpoint):
    rt.build_gallery(given(checkpoint), "g", GALLERY)
    other = given(checkpoint, "INPUT.INTERPOLATION", "bicubic")
    with pytest.raises(ValueError, match=r"pixels is .*'bicubic'\] (here|there)"):
        rt.add_to_gallery(other, "g", QUERY)
    rt.add_to_gallery(given(checkpoint, "INPUT.INTERPOLATION", "area"), "g", QUERY)


def test_another_model_is_refused_and_both_are_named(checkpoint):
    rt.build_gallery(given(checkpoint), "g", GALLERY)
    other = made("other.pth", 1)
    says = r"small\.pth \(\w{12}\).*other\.pth \(\w{12}\).*build it again"
    with pytest.raises(ValueError, match=says):
        rt.add_to_gallery(given(other), "g", QUERY)
    with pytest.raises(ValueError, match=says):
        rt.search_gallery(given(other), "g", [QUERY])
    with pytest.raises(ValueError, match="flip is off there and raw here"):
        rt.search_gallery(rt.gallery_config("g", (), ["TEST.FLIP", "raw"]), "g", [QUERY])
    Path("small.pth").rename("moved.pth")
    with pytest.raises(FileNotFoundError, match=r"small\.pth, are not there; say with MODEL\.WEIG"):
        rt.gallery_config("g")
    cfg = rt.gallery_config("g", (), ["MODEL.WEIGHTS", "moved.pth"])
    assert len(rt.search_gallery(cfg, "g", [QUERY]).paths) > 0


def test_in_python(checkpoint):
    model = rt.load(checkpoint, "cpu")
    two_people("mine")
    rt.build_gallery(given(checkpoint), "g", "mine", in_subfolders=True)
    gallery = rt.Gallery.open("g")
    assert [gallery.person(row) for row in range(4)] == ["3", "3", "anna", "anna"]
    array = np.array(Image.open("mine/anna/0.png"))
    found = rt.search(gallery, model, [array, "mine/anna/1.png"], 1)
    assert found.query_paths == ["picture 0", "mine/anna/1.png"]
    assert found.paths == [["mine/anna/0.png"], ["mine/anna/1.png"]]
    both = rt.search("g", model, ["mine/anna/0.png", "mine/anna/1.png"], 0, fuse=True)
    assert both.query_paths == ["mine/anna/0.png + mine/anna/1.png"] and len(both.paths[0]) == 4

    folder_of = rt.index(model, QUERY, "h")
    assert len(folder_of) == len(rt.embed(model, QUERY)) == len(rt.Gallery.open("h"))
    alone = rt.index(model, [array], kind="ivf")
    assert alone.paths == ["picture 0"] and alone.folder is None
    vectors = rt.embed(model, [array, array[::-1, ::-1]]).vectors
    assert torch.allclose(vectors[0], rt.embed(model, ["mine/anna/0.png"]).vectors[0], atol=1e-5)
    with pytest.raises(ValueError, match=r"uint8 \(height, width, 3\), RGB; this array is float"):
        rt.embed(model, [array / 255])
    with pytest.raises(ValueError, match="h holds a gallery already"):
        rt.index(model, QUERY, "h")


def test_what_is_hidden_and_who_is_unknown(checkpoint):
    rt.build_gallery(given(checkpoint), "g", GALLERY)
    gallery = rt.Gallery.open("g")
    query = sorted(Path(QUERY).glob("*.jpg"))[0]
    words = {"hide_same_camera": True, "hide_junk": True, "picture": True}
    found = rt.search_gallery(None, "g", [query], 50, **words)
    camera = int(re.search(r"_c(\d)", query.name)[1])
    shown = [path for path in gallery.paths if f"_c{camera}" not in path and "/-1_" not in path]
    assert sorted(found.paths[0]) == sorted(shown)
    strip = Image.open(f"output_dir/ranked/{query.stem}.png")
    assert strip.size[0] == 128 * (len(gallery) + 1) + 2 * len(gallery) + 8
    shutil.copy(query, "photo.jpg")
    with pytest.raises(ValueError, match=r"photo\.jpg tells no camera"):
        rt.search_gallery(None, "g", ["photo.jpg"], hide_same_camera=True)

    rt.calibrate(given(checkpoint, "OUTPUT_DIR", "cal"), 0.2)
    nearest = rt.search_gallery(None, "g", [query], 1).hits.distances[0, 0].item()
    content = json.loads(Path("cal/calibration.json").read_text())
    for threshold, unknown in ((nearest + 1e-3, False), (nearest - 1e-3, True)):
        Path("cal/calibration.json").write_text(json.dumps({**content, "threshold": threshold}))
        found = rt.search_gallery(None, "g", [query], 2, calibration="cal/calibration.json")
        assert (found.people == ["unknown"]) == unknown
        assert str(found).splitlines()[4] == f"Person: {found.people[0]}"
        row = list(csv.reader(Path("output_dir/result.csv").read_text().splitlines()))[1]
        assert row[1] == found.people[0]
    for change, says in (
        ({"fingerprint": "0" * 64}, "calibrate that"),
        ({"metric": "euclidean"}, "TEST.METRIC cosine"),
    ):
        Path("cal/calibration.json").write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=says):
            rt.search_gallery(None, "g", [query], calibration="cal/calibration.json")


def test_what_cannot_be_done_says_why_and_writes_nothing(checkpoint, folder):  # noqa: F811
    (folder / "empty").mkdir()
    cfg = given(checkpoint)
    with pytest.raises(ValueError, match="no pictures.*in empty"):
        rt.build_gallery(cfg, "g", "empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rt.build_gallery(cfg, "g", "nowhere")
    with pytest.raises(LookupError, match="kind of gallery"):
        rt.build_gallery(cfg, "g", GALLERY, kind="flt")
    with pytest.raises(FileNotFoundError, match="no gallery in"):
        rt.search_gallery(None, "g", [QUERY])
    assert not Path("g").exists()
    rt.build_gallery(cfg, "g", GALLERY)
    Path("note.txt").write_text("no picture")
    Path("torn.jpg").write_bytes(b"no picture")
    for query, says in (
        ("note.txt", "is no picture"),
        ("torn.jpg", "no pictures and are left out"),
        ("none.jpg", "no file or folder"),
        ("q/*.jpg", "check the pattern"),
    ):
        with pytest.raises((ValueError, OSError), match=says):
            rt.search_gallery(None, "g", [query])
    with pytest.raises(ValueError, match=r"called x\*; name"):
        rt.remove_from_gallery("g", ["x*"])
    with pytest.raises(ValueError, match="delete its folder"):
        rt.remove_from_gallery("g", ["*"])
    with pytest.raises(ValueError, match="holds a gallery already"):
        rt.build_gallery(cfg, "g", GALLERY)
    assert rt.build_gallery(cfg, "g", QUERY, replace=True).generation == 2


def test_the_call_of_torchreid(checkpoint):
    extract = rt.FeatureExtractor(model_name="osnet_x0_25", model_path=checkpoint, device="cpu")
    paths = sorted(map(str, Path(QUERY).glob("*.jpg")))[:3]
    features = extract(paths)
    assert torch.equal(features, rt.embed(rt.load(checkpoint, "cpu"), paths).vectors)
    assert torch.equal(extract(paths[0]), extract(np.array(Image.open(paths[0]))))
    assert extract(torch.zeros(3, 32, 16)).shape == (1, 512)
    # A bare state dict under torchreid's names, with a classifier.
    state = torch.load(checkpoint, weights_only=True)["model"]
    bare = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    torch.save({"state_dict": {**bare, "classifier.weight": torch.zeros(4, 512)}}, "bare.pth.tar")
    own = rt.FeatureExtractor("osnet_x0_25", "bare.pth.tar", (32, 16), device="cpu", verbose=False)
    assert own(paths).shape == (3, 512)
    read_off = rt.FeatureExtractor(model_path="bare.pth.tar", image_size=(32, 16), device="cpu")
    assert torch.equal(read_off(paths), own(paths))
    with pytest.raises(ValueError, match="is a osnet_x0_25, not a osnet_x0_5; leave"):
        rt.FeatureExtractor("osnet_x0_5", "bare.pth.tar", device="cpu")
    with pytest.raises(ValueError, match="is a osnet_x0_25, not a resnet50; leave"):
        rt.FeatureExtractor("resnet50", checkpoint)
    with pytest.raises(ValueError, match="There is no model: give a file"):
        rt.FeatureExtractor()


def test_the_seeds_index(checkpoint):
    cfg, index = rt.experiment_config("", (), ["MODEL.WEIGHTS", checkpoint])
    assert index == Path("index/small.mat")
    with pytest.raises(FileNotFoundError, match=r"no index .*small\.mat; make it again"):
        rt.search_index(cfg, index, [QUERY], load=True)
    first = rt.search_index(cfg, index, [QUERY], 3, save=True)
    again = rt.search_index(cfg, index, [QUERY], 3, load=True)
    assert again.paths == first.paths
    assert np.allclose(again.hits.distances, first.hits.distances, atol=1e-6)
    ranked = rt.evaluate_index(cfg, index, load=True, save=True)  # adds the queries
    figures = rt.evaluate(given(checkpoint)).figures["toy"]
    assert rt.top_line(ranked) == (
        f"Top-1 accuracy: {figures['Rank-1']:.2f}%, Top-5 accuracy: {figures['Rank-5']:.2f}%, "
        f"Top-10 accuracy: {figures['Rank-10']:.2f}%, mAP: {figures['mAP']:.2f}%"
    )
    shutil.rmtree("datasets")
    assert rt.top_line(rt.evaluate_index(cfg, index, load=True)) == rt.top_line(ranked)
    cfg = given(checkpoint, "TEST.AP_RULE", "trapezoid")
    assert rt.evaluate_index(cfg, index, load=True).mAP != ranked.mAP
    Image.new("RGB", (20, 40)).save("a.jpg")
    cfg = given(checkpoint, "DATASETS.NAMES", "market1501")
    (hit,) = rt.search_index(cfg, index, ["a.jpg"], 1, load=True).paths[0]
    assert re.fullmatch(r"\d{4}_c\d_row\d+", hit)


def test_an_index_of_another_model_is_refused_and_one_that_tells_none_is_told(checkpoint, capsys):
    cfg, other = given(checkpoint), given(made("other.pth", 1))
    index = Path("index/small.mat")
    rt.evaluate_index(cfg, index, save=True)
    says = r"small\.mat was made with .*small\.pth \(\w{12}\).*other\.pth \(\w{12}\)"
    with pytest.raises(ValueError, match=says):
        rt.search_index(other, index, [QUERY], load=True)
    with pytest.raises(ValueError, match=says):
        rt.evaluate_index(other, index, load=True)
    with pytest.raises(ValueError, match=says):
        rt.build_gallery(other, "g", index)
    content = {key: value for key, value in loadmat(index).items() if key[:2] != "__"}
    del content["about"]
    savemat(index, content)  # as the seed writes it
    capsys.readouterr()
    rt.evaluate_index(cfg, index, load=True, save=True)
    assert "does not tell its model" in capsys.readouterr().err
    assert "about" not in loadmat(index)  # nor is it known now


def test_a_loaded_index_embeds_no_picture_of_the_gallery(checkpoint, monkeypatch):
    cfg, index, seen = given(checkpoint), Path("index/small.mat"), []
    test_batches = build.test_batches

    def counted(cfg, samples, *more):
        seen.extend(sample.paths[0] for sample in samples)
        return test_batches(cfg, samples, *more)

    monkeypatch.setattr(build, "test_batches", counted)
    rt.evaluate_index(cfg, index, save=True)
    assert len(seen) == 12  # 4 queries, 8 of the gallery
    seen.clear()
    rt.evaluate_index(cfg, index, load=True)
    assert not seen
    query = str(sorted(Path(QUERY).glob("*.jpg"))[0])
    rt.search_index(cfg, index, [query], load=True)
    assert seen == [query]


def test_a_gallery_and_an_index_are_made_of_each_other(checkpoint):
    built = rt.build_gallery(given(checkpoint), "g", GALLERY)
    assert rt.export_gallery("g", "index/x.mat") == Path("index/x.mat")
    again = rt.build_gallery(given(checkpoint), "h", "index/x.mat", kind="ivf")
    assert np.allclose(again.vectors().vectors, built.vectors().vectors, atol=1e-6)
    assert (again.pids == built.pids).all() and (again.camids == built.camids).all()
    assert again.about == built.about
    pid, camera = built.pids[3], built.camids[3] + 1
    assert rt.Gallery.open("h").path(3) == f"{pid:04d}_c{camera}_row3"
    with pytest.raises(FileNotFoundError, match=r"no index .*none\.mat"):
        rt.build_gallery(given(checkpoint), "i", "none.mat")


def two_people(home):
    """Two grey pictures each of anna and of 0000003."""
    for person, start in (("anna", 0), ("0000003", 90)):
        Path(f"{home}/{person}").mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (20, 40), (start + 80 * i, 50, 99)).save(f"{home}/{person}/{i}.png")


def test_the_folder_of_one_person_is_added_to_what_is_known_of_that_person(checkpoint):
    two_people("mine")
    cfg = given(checkpoint)
    rt.build_gallery(cfg, "g", "mine", in_subfolders=True)
    assert len(rt.add_to_gallery(cfg, "g", Path("mine").absolute(), in_subfolders=True)) == 4
    for person in ("anna", "0000003", "berta"):
        Path(f"new/{person}").mkdir(parents=True)
        Image.new("RGB", (20, 40), (9, 9, 99)).save(f"new/{person}/9.png")
        rt.add_to_gallery(cfg, "g", f"new/{person}")
    Image.new("RGB", (20, 40), (9, 90, 99)).save("new/anna/10.png")
    gallery = rt.add_to_gallery(cfg, "g", "new/anna/10.png")
    assert [gallery.person(row) for row in range(4, 8)] == ["anna", "3", "", "anna"]
    own = rt.index(rt.load(checkpoint, "cpu"), "mine", in_subfolders=True)
    assert [own.person(row) for row in range(4)] == ["3", "3", "anna", "anna"]


def test_a_folder_dataset_that_is_not_registered(checkpoint):
    two_people("datasets/my_people/train")
    with pytest.raises(ValueError, match="my_people has no gallery pictures; name"):
        rt.build_gallery(given(checkpoint, "DATASETS.ROOT", "datasets"), "g", "my_people")
    two_people("datasets/my_people/gallery")
    gallery = rt.build_gallery(given(checkpoint, "DATASETS.ROOT", "datasets"), "g", "my_people")
    assert len(gallery) == 4 and all("gallery" in path for path in gallery.paths)
    assert gallery.pids.tolist() == [0, 0, 1, 1]


def test_a_fused_query_is_called_by_all_of_its_pictures(checkpoint):
    rt.build_gallery(given(checkpoint), "g", GALLERY)
    queries = sorted(Path(QUERY).glob("*.jpg"))[:2]
    rt.search_gallery(None, "g", queries, 1, fuse=True)
    rows = list(csv.reader(Path("output_dir/result.csv").read_text().splitlines()))
    assert rows[1][0] == f"{queries[0].name} + {queries[1].name}" and len(rows) == 2


def test_the_tools(checkpoint, type_tool):
    tool = type_tool
    query = sorted(Path(QUERY).glob("*.jpg"))[0]
    words = ("--query", query, "--topk", 2, "--picture", "MODEL.WEIGHTS", checkpoint)
    code, out, _ = tool("search.py", "--gallery", "g", "--build", GALLERY, *words)
    start = out.index("Query image")
    assert out[start:].startswith(f"Query image: {query}\nTop 2 similar images:\n1: {TOY}/")
    assert code == 0 and re.search(r"\n2: \S+\.jpg, Score: \d\.\d{4}\n\n", out)
    assert Path("output_dir/ranked", f"{query.stem}.png").is_file()
    code, out, _ = tool("search.py", "--gallery", "g", "--add", QUERY, "--query", query, QUERY)
    assert code == 0 and f"1: {query}, Score: 1.0000\n" in out
    code, out, _ = tool("search.py", "--gallery", "g", "--remove", f"{QUERY}/*", "SEED", 2)
    assert code == 0 and "Removed 4 pictures" in out
    code, out, _ = tool("search.py", "--gallery", "g", "--export", "index/x.mat")
    assert code == 0 and Path("index/x.mat").is_file()
    words = ("--build", "index/x.mat", "MODEL.WEIGHTS", checkpoint)
    code, out, _ = tool("search.py", "--gallery", "h", *words, "--query", query)
    assert code == 0 and re.search(r"\n1: \S+_row\d+, Score: ", out)
    code, _, said = tool("search.py", "--gallery", "g")
    assert code == 1 and said.startswith("error: There is nothing to do")
    code, out, _ = tool("search.py", "--gallery", "none", "--query", "a", "--print-config")
    assert code == 0 and "BACKBONE:" in out

    Path("models/hog").mkdir(parents=True)
    shutil.copy(checkpoint, "models/hog/best.pth")
    code, _, said = tool("eval.py", "--exp_name", "hog", "--load_index")
    assert code == 1 and "make it again with --save_index" in said
    code, out, _ = tool("eval.py", "--exp_name", "hog", "--save_index")
    assert code == 0 and Path("index/hog.mat").is_file()
    line = out.splitlines()[-1]
    assert re.fullmatch(r"(Top-\d+ accuracy: [\d.]+%, ){3}mAP: [\d.]+%", line)
    words = ("--query_paths", query, "--load_index", "--exp_name", "hog", "MODEL.DEVICE", "cpu")
    code, out, _ = tool("inference.py", *words)
    assert code == 0 and "Top 5 similar images:" in out


def test_damage_does_not_become_valid_by_writing_it_again(checkpoint):
    rt.build_gallery(given(checkpoint), "g", GALLERY)
    (file,) = Path("g").glob("*.faiss")
    data = bytearray(file.read_bytes())
    data[-100:] = bytes(100)
    file.write_bytes(data)
    before = sorted(path.name for path in Path("g").iterdir())
    for write in (
        lambda: rt.remove_from_gallery("g", [str(next(Path(GALLERY).glob("0*.jpg")))]),
        lambda: rt.add_to_gallery(given(checkpoint), "g", QUERY),
    ):
        with pytest.raises(ValueError, match="restore it from a copy, or build"):
            write()
    assert sorted(path.name for path in Path("g").iterdir()) == before


def test_hits_are_told_where_pictures_have_moved(checkpoint, folder, capsys):  # noqa: F811
    rt.build_gallery(given(checkpoint), "g", GALLERY)
    query = str(sorted(Path(QUERY).glob("*.jpg"))[0])
    (folder / GALLERY).rename(folder / "moved")
    found = rt.search_gallery(None, "g", [query], 2, picture=True)
    assert len(found.paths[0]) == 2 and Path("output_dir/result.csv").is_file()
    assert "search from the folder in which the gallery was built" in capsys.readouterr().err
