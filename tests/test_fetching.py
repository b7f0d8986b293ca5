"""Downloads that go on where they stopped, from a server on this machine; no network is needed."""

import hashlib
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from reidtools.fetching import check_sum, fetch
from reidtools.files import locked

CONTENT = bytes(range(256)) * 40
SUM = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\n<!DOCTYPE html><title>Google Drive - Quota exceeded</title>"


class Server:
    """A server of one file that may break off, change the file, or know no ranges."""

    def __init__(self):
        self.content, self.version, self.ranges, self.asked = CONTENT, '"1"', True, []
        self.breaks_after = None  # bytes of one answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/weights.pth"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        start = 0
        if request.path != "/weights.pth":
            request.send_error(404)
            return
        if wanted and self.ranges and request.headers.get("If-Range") == self.version:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(self.content):
                request.send_error(416)
                return
        rest = self.content[start:]
        request.send_response(206 if start else 200)
        if start:
            size = len(self.content)
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.version:
            request.send_header("ETag", self.version)
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        request.wfile.write(rest[: self.breaks_after])


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights.pth"


def get(server, target, **options):
    fetch(target, "w", url=server.url, cure=f"put it at {target}", **options)


def broken(server, target, after):
    """A download of which the first `after` bytes come."""
    server.breaks_after = after
    with pytest.raises(OSError, match=rf"after {after} of 10240 bytes; try again to go on\)"):
        get(server, target)
    server.breaks_after = None
    assert not target.exists()


def test_a_file_is_there_whole_and_nothing_beside_it(server, target):
    get(server, target, sha256=SUM)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_a_download_goes_on_where_it_broke(server, target):
    broken(server, target, 4000)
    get(server, target, sha256=SUM)
    assert server.asked == [None, "bytes=4000-"]
    assert target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def test_a_file_that_has_changed_meanwhile_is_begun_anew(server, target):
    broken(server, target, 4000)
    server.content, server.version = CONTENT[::-1], '"2"'
    get(server, target)
    assert target.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("change", [{"ranges": False}, {"version": ""}])
def test_a_server_that_cannot_go_on_gives_all_of_it_again(server, target, change):
    vars(server).update(change)
    broken(server, target, 4000)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[1] == (None if "version" in change else "bytes=4000-")


def test_a_rest_that_the_server_does_not_have_is_begun_anew(server, target):
    """What lies here is longer than the file by now, whose version is told as the same."""
    broken(server, target, 4000)
    server.content = CONTENT[:3000]
    get(server, target)
    assert target.read_bytes() == CONTENT[:3000] and server.asked[1:] == ["bytes=4000-", None]


def test_another_sum_leaves_nothing(server, target):
    with pytest.raises(ValueError, match=rf"weights\.pth has the SHA-256 {SUM}, not 0000ffff"):
        get(server, target, sha256="0000FFFF")
    assert not list(target.parent.iterdir())


def test_the_first_digits_of_a_sum_will_do(tmp_path):
    (tmp_path / "a.pth").write_bytes(CONTENT)
    check_sum(tmp_path / "a.pth", SUM[:8].upper())
    check_sum(tmp_path / "a.pth", "")
    with pytest.raises(ValueError, match="cut short, or another version"):
        check_sum(tmp_path / "a.pth", SUM[1:9])


def test_a_web_page_in_place_of_the_file(server, target):
    server.content = PAGE
    with pytest.raises(ValueError, match=r"is a web page, not the file.*quota.*put it at .*pth\."):
        get(server, target)
    assert not list(target.parent.iterdir())


def test_an_address_that_is_nowhere_says_where_a_browser_finds_it(server, target):
    server.url += "x"
    with pytest.raises(
        OSError,
        match=rf"w could not be downloaded \(HTTP Error 404: Not Found\).*"
        rf"download {re.escape(server.url)} in a browser and put it at",
    ):
        get(server, target)
    assert not list(target.parent.iterdir())


def test_google_drive_goes_on_too(target, monkeypatch):
    """gdown keeps the beginning of a file beside the output, which has the same name every time."""
    calls = []

    def download(id, output, quiet, resume):
        calls.append((id, output, resume))
        part = Path(f"{output}.part")
        if not part.exists():
            part.write_bytes(CONTENT[:100])
            raise RuntimeError("Too many users have viewed it")
        part.write_bytes(part.read_bytes() + CONTENT[100:])
        part.rename(output)

    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=download))
    with pytest.raises(OSError, match=r"Too many users.*drive\.google\.com/file/d/abc/view"):
        fetch(target, "w", drive_id="abc", cure="put it there")
    fetch(target, "w", drive_id="abc", sha256=SUM, cure="put it there")
    assert calls[0] == calls[1] and calls[0][0] == "abc" and calls[0][2] is True
    assert target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def test_the_second_of_two_waits_and_takes_what_the_first_has_brought(server, target):
    """As all processes of a training on several GPUs do."""
    with ThreadPoolExecutor(1) as threads:
        with locked(target.parent / ".weights.pth.partial"):
            second = threads.submit(get, server, target)
            assert not wait([second], timeout=0.3).done
            target.write_bytes(b"theirs")
        second.result(timeout=20)
    assert target.read_bytes() == b"theirs" and not server.asked
    assert not (target.parent / ".weights.pth.partial").exists()


def test_what_another_process_has_brought_is_left_as_it_is(server, target):
    target.parent.mkdir()
    target.write_bytes(b"theirs")
    get(server, target)
    assert target.read_bytes() == b"theirs" and not server.asked
