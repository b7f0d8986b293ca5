"""Datasets fetched, checked and unpacked whole; nothing here needs a network."""

import hashlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import reidtools as rt
from reidtools.data.datasets import load_dataset
from reidtools.data.prepare.download import read_sources
from reidtools.registry import DATASETS

LIST = Path(__file__).parents[3] / "datasets" / "downloads.yml"
MARKET = "Market-1501-v15.09.15"
PARTS = ["bounding_box_train", "query", "bounding_box_test"]


@pytest.fixture
def packed(market, tmp_path):
    """Packs the small Market-1501 under the name of the original, as zip, tar or gztar."""
    shutil.copytree(market / "market1501", tmp_path / "to_pack" / MARKET)

    def pack(kind="zip"):
        return Path(shutil.make_archive(tmp_path / "archive", kind, tmp_path / "to_pack"))

    return pack


@pytest.fixture
def root(tmp_path):
    """Where datasets go; it is not there yet."""
    return tmp_path / "datasets"


@pytest.fixture
def no_network(monkeypatch):
    """Makes every way to the network a failure of the test."""

    def refuse(*_, **__):
        raise AssertionError("this downloads")

    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=refuse))
    monkeypatch.setattr("reidtools.fetching.urlopen", refuse)


def fake_gdown(monkeypatch, write):
    fake = SimpleNamespace(download=lambda id, output, **_: write(id, Path(output)))
    monkeypatch.setitem(sys.modules, "gdown", fake)


def everything(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_becomes_the_dataset(packed, root, tmp_path, kind, no_network, type_tool):
    words = ("--name", "market1501", "--root", root, "--file", packed(kind))
    code, out, err = type_tool("download.py", *words)
    assert code == 0, err
    assert out.startswith(f"{root / MARKET}: unpacked, 16 files. For academic research only")
    assert [path.name for path in root.iterdir()] == [MARKET]  # nothing hidden is left
    assert everything(root / MARKET) == everything(tmp_path / "to_pack" / MARKET)
    assert len(load_dataset("market1501", root).train) == 3
    code, out, _ = type_tool("download.py", "--name", "market1501", "--root", root)
    assert (code, out) == (0, f"{root / MARKET}: already downloaded\n")


@pytest.mark.parametrize("name", [MARKET, "market1501", "Market1501", "Market-1501", "."])
def test_what_is_there_is_not_fetched(market, root, name, no_network):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (market / "market1501").rename(root / name)
    done = rt.download("market1501", root)
    assert (done.folder, done.new) == (root / name, False)


def test_the_list_and_the_datasets_agree_on_names(tmp_path):
    """What a dataset says that it looked for, where there is nothing, is what the list calls it."""
    for name, source in read_sources(LIST).items():
        if name in DATASETS:
            with pytest.raises(FileNotFoundError) as told:
                load_dataset(name, tmp_path)
            folders = [str(tmp_path / folder) for folder in (source.folder, *source.also)]
            looked = str(told.value).partition(" in: ")[2].partition(". Put")[0].split(", ")
            assert sorted(looked) == sorted([*folders, str(tmp_path)]), name


def test_google_drive_is_asked_for_the_id_of_the_list(packed, root, monkeypatch):
    asked = []

    def write(drive_id, output):
        asked.append(drive_id)
        shutil.copy(packed(), output)

    fake_gdown(monkeypatch, write)
    done = rt.download("market1501", root)
    assert (done.new, done.folder, asked) == (True, root / MARKET, ["0B8-rUzbwVRk0c054eEozWG9COHM"])
    shutil.rmtree(root)
    rt.download("market1501", root, drive_id="another")
    assert asked[1:] == ["another"]


def test_an_address_of_ones_own(packed, root, type_tool):
    archive = packed()
    total = hashlib.sha256(archive.read_bytes()).hexdigest().upper()
    words = ("--name", "market1501", "--root", root, "--url", archive.as_uri())
    code, _, err = type_tool("download.py", *words, "--sha256", "0" * 64)
    assert code == 1 and f"has the SHA-256 {total.lower()}, not 000" in err and not root.exists()
    code, out, err = type_tool("download.py", *words, "--sha256", total)
    assert code == 0 and "16 files" in out, err


def test_a_list_of_ones_own_and_its_sum(packed, root, tmp_path, type_tool):
    archive, listing = packed("gztar"), tmp_path / "list.yml"
    total = hashlib.sha256(archive.read_bytes()).hexdigest()
    entry = f"mine: {{folder: my_data, url: '{archive.as_uri()}', sha256: '%s'}}"
    words = ("--name", "mine", "--root", root, "--list", listing)
    listing.write_text(entry % ("1" * 64))
    code, _, err = type_tool("download.py", *words)
    assert code == 1 and "It is" not in err and "another version" in err and not root.exists()
    listing.write_text(entry % total)
    assert type_tool("download.py", *words)[0] == 0
    assert {path.name for path in (root / "my_data").iterdir()} == {*PARTS, "gt_query"}
    listing.write_text(entry % ("1" * 64))  # is that of the list's own archive
    shutil.rmtree(root)
    assert type_tool("download.py", *words, "--file", archive)[0] == 0


def test_what_google_drive_sends_when_it_will_not(root, monkeypatch):
    page = b"\n<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>"
    fake_gdown(monkeypatch, lambda _, output: output.write_bytes(page))
    with pytest.raises(ValueError, match=r"is a web page, .* in a browser and give it with --file"):
        rt.download("market1501", root)
    assert not root.exists()

    def fail(_, output):
        output.write_bytes(b"PK\x03\x04 half")
        raise RuntimeError("Failed to retrieve file url:\n\n\tToo many users have viewed it.\n")

    fake_gdown(monkeypatch, fail)
    with pytest.raises(
        OSError, match=r"\(Failed to retrieve file url: Too many users have viewed it\)\. Check .*"
    ) as told:
        rt.download("market1501", root)
    assert "drive.google.com/file/d/0B8-rUzbwVRk0c054eEozWG9COHM/view in a browser" in str(
        told.value
    )
    assert not root.exists()
    fake_gdown(monkeypatch, lambda *_: None)
    with pytest.raises(OSError, match="nothing came"):
        rt.download("market1501", root)


def test_an_address_that_is_nowhere(root, tmp_path):
    with pytest.raises(OSError, match="could not be downloaded .*No such file"):
        rt.download("market1501", root, url=(tmp_path / "none.zip").as_uri())
    with pytest.raises(OSError, match="could not be downloaded .*unknown url type"):
        rt.download("market1501", root, url="market.zip")
    assert not root.exists()


def test_what_one_must_ask_for_says_whom(root, no_network, packed, type_tool):
    for name, where in (
        ("msmt17", "Ask for it at https://www.pkuvmc.com/dataset.html; then unpack it to"),
        ("cuhk_pedes", "https://github.com/ShuangLI59/"),
        ("dukemtmcreid", "withdrawn it"),
    ):
        code, out, err = type_tool("download.py", "--name", name, "--root", root)
        assert (code, out) == (1, "") and where in err and "--file ARCHIVE" in err
    assert not root.exists()
    done = rt.download("msmt17", root, file=packed())  # who has been given the archive
    assert done.folder == root / "MSMT17_V1" and (done.folder / "query").is_dir()


def test_a_name_that_is_in_no_list(root, packed, no_network):
    with pytest.raises(LookupError, match=r"Did you mean 'market1501'\? .* give --url, --id"):
        rt.download("market1502", root)
    assert rt.download("my_shop", root, file=packed()).folder == root / "my_shop"
    with pytest.raises(ValueError, match="plain name of a folder"):
        rt.download("../elsewhere", root, file=packed())
    with pytest.raises(ValueError, match="one place; give one of --url, --id and --file"):
        rt.download("market1501", root, file="a.zip", url="file:///b.zip")


def test_a_folder_that_is_not_the_dataset_is_left_alone(root, packed, no_network):
    (root / MARKET / "query").mkdir(parents=True)
    with pytest.raises(
        ValueError, match="has no bounding_box_train and no bounding_box_test; complete it, or"
    ):
        rt.download("market1501", root, file=packed())
    (root / MARKET / "query").rmdir()  # an empty folder is nothing
    assert rt.download("market1501", root, file=packed()).new
    (root / "MSMT17_V1").write_text("")
    with pytest.raises(ValueError, match="is a file in the place of msmt17; rename it"):
        rt.download("msmt17", root, file=packed())
    (root / "MSMT17_V1").unlink()
    (root / "MSMT17_V1").symlink_to(root / "gone")
    with pytest.raises(ValueError, match="a link that leads nowhere"):
        rt.download("msmt17", root, file=packed())


def test_the_archive_of_something_else(root, tmp_path, draw):
    draw(tmp_path / "to_pack", "holiday/beach.jpg")
    archive = Path(shutil.make_archive(tmp_path / "photos", "zip", tmp_path / "to_pack"))
    with pytest.raises(ValueError, match=r"photos\.zip has no folder with .*query.*, but holiday;"):
        rt.download("market1501", root, file=archive)
    with pytest.raises(FileNotFoundError, match="is a folder, not an archive"):
        rt.download("market1501", root, file=tmp_path / "to_pack")
    with pytest.raises(FileNotFoundError, match="none.zip is not there"):
        rt.download("market1501", root, file=tmp_path / "none.zip")
    assert not root.exists()


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_half_an_archive_leaves_nothing(packed, root, kind):
    archive = packed(kind)
    content = archive.read_bytes()
    for size in (len(content) // 2, 300, 0):
        archive.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"damaged .*|no tar file, or a damaged one|is empty"):
            rt.download("market1501", root, file=archive)
        assert not root.exists()


def test_a_byte_that_has_changed_is_seen(packed, root):
    archive = packed()
    content = bytearray(archive.read_bytes())
    picture = content.index(b"0007_c1s2_000100_01.jpg")
    content[picture + 200] ^= 255
    archive.write_bytes(content)
    with pytest.raises(ValueError, match="cut short or damaged"):
        rt.download("market1501", root, file=archive)
    assert not root.exists()


def test_stopping_leaves_nothing(root, monkeypatch):
    def stop(_, output):
        output.write_bytes(b"PK\x03\x04 half")
        raise KeyboardInterrupt

    fake_gdown(monkeypatch, stop)
    (root / "other").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        rt.download("market1501", root)
    assert everything(root) == {"other"}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[a", ValueError, "is not YAML"),
        ("- a", ValueError, "is no list of datasets"),
        ("x: {url: u}", ValueError, "x in .* has no folder"),
        (
            "x: {folder: x, ulr: u}",
            LookupError,
            r"In x in .*Unknown key 'ulr'\. Did you mean 'url'",
        ),
        ("x: {folder: x, id: 12}", ValueError, "id of x in .* is 12; write a text, numbers in"),
        ("x: {folder: x, holds: query}", ValueError, "is 'query'; write a list of texts"),
        ("x: {folder: ../x}", ValueError, "has the folder '../x'; write a plain name"),
        (None, FileNotFoundError, "There is no list of datasets at .*; name one with --list"),
    ],
)
def test_a_list_with_a_mistake(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "list.yml").write_text(text)
    with pytest.raises(error, match=message):
        read_sources(tmp_path / "list.yml")


def test_an_installed_package_needs_no_list_for_ones_own_archive(
    packed, root, tmp_path, monkeypatch
):
    monkeypatch.setattr("reidtools.api.downloads.LIST", tmp_path / "none.yml")
    with pytest.raises(FileNotFoundError, match="no list of datasets"):
        rt.download("market1501", root)
    assert rt.download("market1501", root, file=packed()).folder == root / "market1501"


def test_the_list_of_the_project_is_complete():
    sources = read_sources(LIST)
    assert {"market1501", "msmt17", "cuhk_pedes", "dukemtmcreid", "cuhk03"} <= sources.keys()
    for name, source in sources.items():
        assert source.note, name  # what its licence wants
        assert source.id or source.url or source.ask or "withdrawn" in source.note, name
    assert sources["market1501"].holds == tuple(PARTS)


def test_a_second_process_that_was_quicker_is_not_overwritten(packed, root, monkeypatch):
    def write(_, output):
        (root / MARKET).mkdir()
        (root / MARKET / "theirs.txt").write_text("")
        shutil.copy(packed(), output)

    fake_gdown(monkeypatch, write)
    with pytest.raises(OSError, match="cannot be put in its place .*; remove what is there"):
        rt.download("market1501", root)
    assert everything(root) == {MARKET, f"{MARKET}/theirs.txt"}
