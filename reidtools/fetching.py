"""Files from elsewhere, by an address or from Google Drive: gone on with, checked, or not there."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from reidtools.files import is_web_page, locked, make_folder, sha256_of

BLOCK = 1 << 20
SILENCE = 60  # seconds without a byte until a connection counts as broken


def fetch(
    path: Path, what: str, *, url: str = "", drive_id: str = "", sha256: str = "", cure: str
) -> None:
    """Download the file `path`, which is called `what`, from `url` or the Google Drive `drive_id`.

    What a broken connection leaves lies in a hidden folder beside it, from which the next call goes
    on; so `path` is whole or is not there. Of two processes that want the same file one downloads.
    OSError for what does not come, and ValueError for a web page in its place, which is what Google
    Drive sends when its quota is spent; both end in the `cure`: what to do with a file that was
    downloaded in a browser. ValueError for another sum than `sha256`, see `check_sum`.
    """
    where = url or f"https://drive.google.com/file/d/{drive_id}/view"
    make_folder(path.parent)
    work = path.with_name(f".{path.name}.partial")
    with locked(work, wait=True):
        if path.is_file():  # another process was at it
            return
        part = work / path.name
        try:
            if drive_id:
                _from_drive(drive_id, part)
            else:
                _from_address(url, part)
            if not part.is_file():
                raise OSError("nothing came")
        except Exception as error:  # each downloader has errors of its own
            why = textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" …")
            raise OSError(
                f"{what} could not be downloaded ({why.rstrip('.')}). Check the connection, or "
                f"download {where} in a browser and {cure}."
            ) from error
        _tag_of(part).unlink(missing_ok=True)
        try:
            if is_web_page(part):
                raise ValueError(
                    f"What came for {what} is a web page, not the file: the server sent a page (a "
                    f"quota of Google Drive, a login) instead. Wait, or download {where} in a "
                    f"browser and {cure}."
                )
            check_sum(part, sha256)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)  # nothing that one could go on from


def check_sum(file: Path, wanted: str) -> None:
    """ValueError unless the SHA-256 of `file` is `wanted`, or begins so; nothing wanted is right.

    File names like torch's, ``resnet18-f37072fd.pth``, tell the first digits.
    """
    if not wanted:
        return
    found = sha256_of(file)
    if not found.startswith(wanted.lower()):
        raise ValueError(
            f"{file.name} has the SHA-256 {found}, not {wanted.lower()}: it is cut short, "
            "or another version. Download it again, or give the sum of that version."
        )


def _tag_of(part: Path) -> Path:
    """Where it is kept which version of the file `part` is the beginning of."""
    return part.with_name("version")


def _from_drive(drive_id: str, part: Path) -> None:
    import gdown

    gdown.download(id=drive_id, output=str(part), quiet=not sys.stderr.isatty(), resume=True)


def _from_address(url: str, part: Path) -> None:
    """Download what `part` lacks, or all of it where the server's file is another one by now."""
    tag, have = _tag_of(part), part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "reidtools"}
    if have and tag.is_file():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
    try:
        response = urlopen(Request(url, headers=headers), timeout=SILENCE)
    except HTTPError as error:
        if error.code != 416 or "Range" not in headers:
            raise
        tag.unlink()  # there is no such rest: what lies here is no beginning of the file
        return _from_address(url, part)
    with response:
        start = f"bytes {have}-"
        goes_on = getattr(response, "status", None) == 206 and (
            response.headers.get("Content-Range", "").startswith(start)
        )
        have = have if goes_on else 0
        tag.unlink(missing_ok=True)
        if version := response.headers.get("ETag") or response.headers.get("Last-Modified"):
            tag.write_text(version)
        length = response.headers.get("Content-Length")
        whole = have + int(length) if length else None
        with part.open("ab" if goes_on else "wb") as file:
            _copy(response.read, file.write, have, whole)
    found = part.stat().st_size
    if whole is not None and found != whole:
        raise OSError(f"the connection broke after {found} of {whole} bytes; try again to go on")


def _copy(
    read: Callable[[int], bytes], write: Callable[[bytes], object], have: int, whole: int | None
) -> None:
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    with tqdm(total=whole, initial=have, unit="B", unit_scale=True, disable=quiet) as bar:
        while block := read(BLOCK):
            write(block)
            bar.update(len(block))
