"""Archives unpacked so that nothing of them can get outside the folder that is meant."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from reidtools.extras import reason
from reidtools.files import is_web_page

ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
# What the two modules and the decompressors below them raise for bytes that are not as they should.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
CURE = "download or copy it again"


def unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive`, a zip or a tar file (plain, gz, bz2, xz), into the empty `folder`.

    What it is counts, not what it is called. ValueError for a web page in its place, for another
    kind of file, a damaged or encrypted one, and for a member that would come to lie outside
    `folder` (a path with ``..``, an absolute one, a link that leads out); OSError for a full disk.
    """
    if is_web_page(archive):
        raise ValueError(
            f"{archive.name} is a web page, not an archive: the server sent a page (a quota of "
            "Google Drive, a login) instead of the file. Try again tomorrow, or download the file "
            "in a browser and give it with --file."
        )
    with archive.open("rb") as file:
        zipped = file.read(4) in ZIP  # also one that is cut short
    try:
        if zipped:
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except DAMAGED as error:
        raise ValueError(
            f"{archive.name} is cut short or damaged ({reason(error)}); {CURE}."
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip's and bz2's own, for bytes that are none of theirs
            raise ValueError(
                f"{archive.name} is cut short or damaged ({reason(error)}); {CURE}."
            ) from error
        raise OSError(
            f"{archive.name} cannot be unpacked ({error.strerror}); make room, or choose another "
            "--root."
        ) from error


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        outside = [name for name in file.namelist() if _leads_out(name)]
        if outside:  # zipfile would put it inside, under another name
            raise _refusal(archive, outside)
        if any(member.flag_bits & 1 for member in file.infolist()):
            raise ValueError(
                f"{archive.name} is encrypted; unpack it with its password, and put the folder "
                "where the dataset belongs."
            )
        try:
            file.extractall(folder)  # links become files with the name that they lead to
        except NotImplementedError as error:
            raise ValueError(
                f"{archive.name} is compressed in a way that Python cannot read ({reason(error)}); "
                "unpack it by hand, and put the folder where the dataset belongs."
            ) from error


def _unpack_tar(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as file:
            outside = [name for name in file.getnames() if _leads_out(name)]
            if outside:  # the filter would strip the root of an absolute path and go on
                raise _refusal(archive, outside)
            file.extractall(folder, filter="data")
    except tarfile.FilterError as error:  # links that lead out, devices
        raise _refusal(archive, [error.tarinfo.name]) from error
    except tarfile.ReadError as error:
        raise ValueError(
            f"{archive.name} is no zip and no tar file, or a damaged one; {CURE}, or unpack it by "
            "hand and put the folder where the dataset belongs."
        ) from error


def _leads_out(name: str) -> bool:
    """Whether a path is absolute or has ``..``, read as on Unix or as on Windows."""
    ways = (PurePosixPath(name), PureWindowsPath(name))
    return any(way.drive or way.root or ".." in way.parts for way in ways)


def _refusal(archive: Path, names: Sequence[str]) -> ValueError:
    return ValueError(
        f"{archive.name} has a member that leads out of its folder, such as {names[0]!r}, which no "
        "dataset needs; nothing was unpacked: get it from its official page."
    )
